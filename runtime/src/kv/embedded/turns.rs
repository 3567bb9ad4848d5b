//! Turns of writers. In LMDB, writers wait for a lock of its own, forever if the holder was stopped (SIGSTOP, a
//! debugger). Here they first wait for a file lock, for a limited time, and an error names the process that holds it.

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a writer waits for its turn. A turn takes some microseconds, or as long as the disk with `sync=true`.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Shortest and longest pause between two attempts to take a lock that another process holds.
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);

/// The lock of a folder's writers.
#[derive(Debug)]
pub(super) struct Turns {
    /// Locked by processes (`fcntl`), so that a waiting process can ask for the id of the holder. Threads of the same
    /// process lock the mutex.
    file: Mutex<File>,
}

/// A writer's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(MutexGuard<'a, File>);

impl Turns {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let file = File::options().create(true).truncate(false).write(true).open(folder.join("writer.lock"))?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// After `patience`, a message that names the process holding the lock; also if the file cannot be locked.
    pub(super) fn take(&self, patience: Duration) -> Result<Turn<'_>, String> {
        let start = Instant::now();
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A process that writes in a loop leaves little time between two turns. The holder of `NEXT` keeps that process
        // from taking another turn first.
        wait(&file, NEXT, start, patience)?;
        let turn = wait(&file, TURN, start, patience);
        let _ = lock(&file, libc::F_SETLK, libc::F_UNLCK, NEXT);
        turn.map(|()| Turn(file))
    }
}

/// The bytes of the file that are locked: by the writer whose turn is next, and by the writer whose turn it is.
const NEXT: libc::off_t = 1;
const TURN: libc::off_t = 0;

fn wait(file: &File, place: libc::off_t, start: Instant, patience: Duration) -> Result<(), String> {
    let mut pause = SHORTEST;
    loop {
        match lock(file, libc::F_SETLK, libc::F_WRLCK, place) {
            Ok(_) => return Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES | libc::EINTR)) => {}
            Err(error) => return Err(format!("cannot lock its writer.lock: {error}")),
        }
        if start.elapsed() >= patience {
            return Err(held(file, patience));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Unlocking a held lock cannot fail.
        let _ = lock(&self.0, libc::F_SETLK, libc::F_UNLCK, TURN);
    }
}

fn held(file: &File, patience: Duration) -> String {
    let holder = lock(file, libc::F_GETLK, libc::F_WRLCK, TURN).ok().map_or(0, |found| found.l_pid);
    match holder {
        1.. => format!(
            "process {holder} has been writing for {patience:?}, so no other process can write; if it was stopped, \
             `kill -CONT {holder}` resumes it and `kill -KILL {holder}` ends it; neither damages any value"
        ),
        // The holder is on another machine or in another container.
        _ => format!(
            "another process has been writing for {patience:?}, so no other process can write; it may be stopped"
        ),
    }
}

/// Runs a lock command of `fcntl` on one byte of the file, for this process.
fn lock(file: &File, command: libc::c_int, kind: libc::c_int, place: libc::off_t) -> io::Result<libc::flock> {
    // SAFETY: all bytes zero are a valid `flock`. The call reads it and, for F_GETLK, writes to it.
    unsafe {
        let mut request: libc::flock = zeroed();
        request.l_type = kind as libc::c_short;
        request.l_whence = libc::SEEK_SET as libc::c_short;
        request.l_start = place;
        request.l_len = 1;
        match libc::fcntl(file.as_raw_fd(), command, &raw mut request) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn long_waits_name_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let turns = Turns::open(folder.path()).unwrap();
        drop(turns.take(Duration::ZERO).unwrap());
        let script = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); \
                      print('held', flush=True); time.sleep(100)";
        let mut holder = Command::new("python3");
        holder.args(["-c", script]).arg(folder.path().join("writer.lock")).stdout(Stdio::piped());
        let mut holder = holder.spawn().unwrap();
        io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
        let message = turns.take(Duration::from_millis(30)).map(drop).unwrap_err();
        assert!(message.starts_with(&format!("process {} has been writing for 30ms", holder.id())), "{message}");
        holder.kill().unwrap();
        holder.wait().unwrap();
        drop(turns.take(Duration::from_secs(60)).unwrap());
    }
}
