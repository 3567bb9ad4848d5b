//! The worker's socket to its driver: how the worker receives it before `main`, sleeps on it, and takes descriptors
//! from it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::exit;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::ENV;
use super::end::give_up;
use crate::history::spans;
use crate::platform::{self, Guarded};

/// The driver's socket after it has been moved to a descriptor that the program does not use; 0 before.
static SOCKET: AtomicI32 = AtomicI32::new(0);

/// Runs before `main`. A worker receives its socket as standard input, because there is no other way to pass it to a
/// program. This function moves the socket before `main` can read from it, and leaves standard input empty.
#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = take_socket;

extern "C" fn take_socket() {
    let Some(driver) = std::env::var(ENV).ok().and_then(|name| name.rsplit('.').next()?.parse::<u32>().ok()) else {
        return;
    };
    let stdin = rustix::stdio::stdin();
    // Programs that a remote function starts inherit the variable too.
    if !platform::is_socket_of(stdin, driver) {
        return;
    }
    let moved = || {
        let socket = Guarded::copy(stdin)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        Ok::<_, io::Error>(socket.as_fd_unchecked().as_raw_fd())
    };
    match moved() {
        Ok(socket) => SOCKET.store(socket, Ordering::Release),
        // A worker that cannot reach its driver must not become another driver.
        Err(_) => {
            // SAFETY: this ends the process, and runs no code of the program.
            unsafe { libc::_exit(1) }
        }
    }
}

/// Returns the socket that `take_socket` moved, the first time; `None` if this process was not started as a worker.
pub(super) fn taken() -> Option<BorrowedFd<'static>> {
    let fd @ 1.. = SOCKET.swap(0, Ordering::AcqRel) else { return None };
    // SAFETY: `take_socket` opened it only for this function, and nothing closes it by its number.
    Some(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The socket to the driver. The driver uses it to wake this process, and to send descriptors of memory to map.
pub(super) struct Socket {
    pub(super) guarded: Guarded,
    /// Descriptors that have arrived, in the order in which they were sent.
    received: Mutex<VecDeque<OwnedFd>>,
}

impl Socket {
    pub(super) fn new(guarded: Guarded) -> Self {
        Self { guarded, received: Mutex::default() }
    }

    fn received(&self) -> MutexGuard<'_, VecDeque<OwnedFd>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next descriptor that the driver sends.
    pub(super) fn next_descriptor(&self) -> OwnedFd {
        loop {
            if let Some(fd) = self.received().pop_front() {
                return fd;
            }
            self.sleep();
        }
    }

    /// Sleeps until the driver writes to the socket. Ends this process if the socket is closed.
    pub(super) fn sleep(&self) {
        let mut bytes = [0; 64];
        let Some(fd) = self.guarded.get() else {
            give_up(
                "a function closed file descriptors that it had not opened, including wren's; the worker is replaced",
            );
        };
        match platform::receive(fd, &mut bytes) {
            Ok((0, _)) => {
                // The watching thread ends this process and the processes that functions started. If there is no such
                // thread, this one ends the process.
                std::thread::sleep(Duration::from_secs(1));
                spans::flush();
                exit(0);
            }
            Ok((_, fds)) => self.received().extend(fds),
            Err(Errno::INTR) => {}
            Err(error) => give_up(&format!("cannot read the driver's socket: {error}")),
        }
    }
}
