//! Turns of those who write. LMDB has them wait in a lock of its own, for ever where its holder was stopped (SIGSTOP, a
//! debugger); here they wait in a file's lock first, for a while, and learn who holds it.

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a writer waits for its turn. A turn takes some microseconds, or what the disk takes with `sync=true`.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Pauses between two looks at a lock that another process holds.
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);

/// The lock of a folder's writers.
#[derive(Debug)]
pub(super) struct Turns {
    /// Locked by the process (`fcntl`), so that who waits can ask for its number. The threads of one take the mutex.
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
    /// In words, after `patience`: which process holds the lock.
    pub(super) fn take(&self, patience: Duration) -> Result<Turn<'_>, String> {
        let begun = Instant::now();
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Who writes in a loop leaves little time between two turns: whoever is next keeps it from a third.
        wait(&file, NEXT, begun, patience)?;
        let turn = wait(&file, TURN, begun, patience);
        let _ = lock(&file, libc::F_SETLK, libc::F_UNLCK, NEXT);
        turn.map(|()| Turn(file))
    }
}

/// The bytes of the file that are locked: by who is next, and by whose turn it is.
const NEXT: libc::off_t = 1;
const TURN: libc::off_t = 0;

fn wait(file: &File, place: libc::off_t, begun: Instant, patience: Duration) -> Result<(), String> {
    let mut pause = SHORTEST;
    loop {
        match lock(file, libc::F_SETLK, libc::F_WRLCK, place) {
            Ok(_) => return Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES | libc::EINTR)) => {}
            Err(error) => return Err(format!("its writer.lock cannot be locked: {error}")),
        }
        if begun.elapsed() >= patience {
            return Err(held(file, patience));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // It cannot fail for a lock that is held.
        let _ = lock(&self.0, libc::F_SETLK, libc::F_UNLCK, TURN);
    }
}

fn held(file: &File, patience: Duration) -> String {
    let holder = lock(file, libc::F_GETLK, libc::F_WRLCK, TURN).ok().map_or(0, |found| found.l_pid);
    match holder {
        1.. => format!(
            "process {holder} has been writing for {patience:?}, so that nobody else can: if it was stopped, `kill -CONT \
             {holder}` lets it go on, and `kill -KILL {holder}` ends it; no value is harmed by either"
        ),
        // Of another machine or container.
        _ => format!("another process has been writing for {patience:?}, so that nobody else can: it may be stopped"),
    }
}

/// Asks for a lock of one byte, for this process.
fn lock(file: &File, command: libc::c_int, kind: libc::c_int, place: libc::off_t) -> io::Result<libc::flock> {
    // SAFETY: all bytes zero are a valid `flock`. The call reads it and, for F_GETLK, writes to it.
    unsafe {
        let mut asked: libc::flock = zeroed();
        asked.l_type = kind as libc::c_short;
        asked.l_whence = libc::SEEK_SET as libc::c_short;
        asked.l_start = place;
        asked.l_len = 1;
        match libc::fcntl(file.as_raw_fd(), command, &raw mut asked) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(asked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn who_waits_for_too_long_learns_for_whom() {
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
        drop(turns.take(Duration::from_secs(5)).unwrap());
    }
}
