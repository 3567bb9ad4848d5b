//! A pseudo-terminal of a given size, and a model of what it shows.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::PATIENCE;

/// A program that runs in a terminal, and what the terminal shows.
pub(super) struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<(Mutex<Shown>, Condvar)>,
    reader: JoinHandle<()>,
}

struct Shown {
    screen: vt100::Parser,
    /// Everything that the program wrote.
    bytes: Vec<u8>,
}

impl Terminal {
    /// Runs a program in a terminal of this size.
    pub(super) fn run(mut command: Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let open = || File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        command.stdin(open()).stdout(open()).stderr(open());
        // SAFETY: the closure only makes two system calls, which are allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // A session of its own, with the terminal as its controlling terminal, so that Ctrl-C is a signal.
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        // Closes this process's descriptors of the terminal. Reading ends when the program's are closed, too.
        drop(command);
        let duplicate = |fd: &OwnedFd| File::from(fd.as_fd().try_clone_to_owned().unwrap());
        let (mut output, keyboard) = (duplicate(&master), duplicate(&master));
        let size = |size| NonZeroU16::new(size).unwrap();
        let shown = Shown { screen: vt100::Parser::new(size(rows), size(columns), 0), bytes: Vec::new() };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        let to_show = shown.clone();
        let reader = thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut piece) {
                let mut shown = to_show.0.lock().unwrap();
                shown.screen.process(&piece[..count]);
                shown.bytes.extend_from_slice(&piece[..count]);
                to_show.1.notify_all();
            }
        });
        Self { child, keyboard, shown, reader }
    }

    /// Waits until the screen fulfils the condition, and returns its lines.
    pub(super) fn wait_until(&self, condition: impl Fn(&str) -> bool) -> String {
        let (shown, changed) = &*self.shown;
        let is_early = |shown: &mut Shown| !condition(&shown.screen.screen().contents());
        let (shown, waited) = changed.wait_timeout_while(shown.lock().unwrap(), PATIENCE, is_early).unwrap();
        let contents = shown.screen.screen().contents();
        assert!(!waited.timed_out(), "the terminal still shows:\n{contents}");
        contents
    }

    pub(super) fn press(&mut self, key: u8) {
        self.keyboard.write_all(&[key]).unwrap();
    }

    /// Waits for the end of the program. Returns its exit status, the lines of the screen, and all bytes.
    pub(super) fn end(mut self) -> (ExitStatus, String, Vec<u8>) {
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        let shown = self.shown.0.lock().unwrap();
        (status, shown.screen.screen().contents(), shown.bytes.clone())
    }
}
