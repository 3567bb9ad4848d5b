//! Ctrl-C and the other signals that ask a program to end: calls are cancelled, `main` may finish, and a line reports
//! how many tasks were done.
//!
//! A program that handles such a signal itself keeps its handler: wren does not replace an existing handler. If the
//! program installs one later, wren detects that its own handler is no longer installed, and does nothing.

use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{executor, history, platform, start, terminal};

/// How long `main` may continue after the first signal, for instance to save its results.
const PATIENCE: Duration = Duration::from_secs(5);

const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// The file descriptor that the handler writes to; -1 before there is a reader.
static WRITE_END: AtomicI32 = AtomicI32::new(-1);

/// The process whose thread waits for signals.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// The signal that asked this program to end; 0 before.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Passes the signal to the thread of [`watch`]. A signal handler may do little more.
extern "C" fn handle(signal: libc::c_int) {
    // SAFETY: all three functions may be called in a signal handler.
    unsafe {
        if libc::getpid() != PROCESS.load(Ordering::Relaxed) {
            // This process is a fork: the waiting thread belongs to its parent.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
            return;
        }
    }
    let descriptor = WRITE_END.load(Ordering::Relaxed);
    if let Ok(signal) = u8::try_from(signal)
        && descriptor >= 0
    {
        // SAFETY: the descriptor is never closed. Only the thread of `watch` reads from the other end.
        let write_end = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let _ = rustix::io::write(write_end, &[signal]);
    }
}

/// Returns the current action of the system for a signal.
fn action(signal: libc::c_int) -> Option<libc::sigaction> {
    // SAFETY: all bytes zero are a valid `sigaction`, which is only written to; nothing is installed.
    unsafe {
        let mut now: libc::sigaction = zeroed();
        (libc::sigaction(signal, null(), &raw mut now) == 0).then_some(now)
    }
}

fn handler() -> libc::sighandler_t {
    handle as extern "C" fn(libc::c_int) as libc::sighandler_t
}

/// Returns whether this handler is still the installed one for a signal.
fn is_ours(signal: libc::c_int) -> bool {
    action(signal).is_some_and(|now| now.sa_sigaction == handler())
}

/// Installs the handler for a signal that still has its default action.
fn install(signal: libc::c_int) {
    if action(signal).is_none_or(|now| now.sa_sigaction != libc::SIG_DFL) {
        return;
    }
    // SAFETY: all bytes zero are a valid `sigaction`: no flags, and no other signals blocked. The handler only calls
    // functions that are allowed in a signal handler.
    unsafe {
        let mut ours: libc::sigaction = zeroed();
        ours.sa_sigaction = handler();
        ours.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const ours, null_mut());
    }
}

/// Waits for signals on a thread of its own, so that a `main` that blocks can be interrupted too. After the first
/// signal, calls end with [`Error::Cancelled`](crate::Error::Cancelled), and `main` may continue for [`PATIENCE`]. A
/// second signal ends the program immediately.
pub(crate) fn watch() {
    static PIPE: OnceLock<OwnedFd> = OnceLock::new();
    // Without a pipe or a thread, signals keep their default action: they end the program, and its workers end with it.
    let Ok((read, write)) = platform::pipe() else { return };
    let wait = move || {
        while let Some(signal) = next(&read, None) {
            // If the program has installed its own handler since, that handler decides.
            if is_ours(signal) {
                RECEIVED.store(signal, Ordering::Release);
                terminal::end_bars();
                // On a thread of its own, so that a delay in it does not delay the end of the program.
                let _ = thread::Builder::new().name("wren-cancel".into()).spawn(executor::cancel_all);
                let _ = next(&read, Some(PATIENCE));
                start::wait_for_pending();
                print_tally();
                std::process::exit(i32::from(exit_code(signal)));
            }
        }
    };
    if thread::Builder::new().name("wren-interrupt".into()).stack_size(1 << 20).spawn(wait).is_ok() {
        PROCESS.store(i32::try_from(std::process::id()).unwrap_or(0), Ordering::Release);
        WRITE_END.store(PIPE.get_or_init(|| write).as_raw_fd(), Ordering::Release);
        SIGNALS.into_iter().for_each(install);
    }
}

/// Waits for the next signal. Returns `None` if none arrives within the limit.
fn next(read: &OwnedFd, limit: Option<Duration>) -> Option<libc::c_int> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    loop {
        let ready = poll(&mut [PollFd::new(read, PollFlags::IN)], limit.as_ref());
        let mut signal = [0];
        match rustix::io::read(read, &mut signal) {
            Ok(1) => return Some(signal[0].into()),
            // The wait or the read was interrupted, or the wakeup was spurious.
            _ if !matches!(ready, Ok(0)) => {}
            _ => return None,
        }
    }
}

fn exit_code(signal: libc::c_int) -> u8 {
    // The exit code that shells report for a signal.
    128 + u8::try_from(signal).unwrap_or(0)
}

fn print_tally() {
    terminal::note(&format!("interrupted; {}", history::tally()));
    terminal::finish();
}

/// If a signal asked the program to end, prints how many tasks were done and returns the exit code.
pub(crate) fn report_signal() -> Option<ExitCode> {
    let signal = RECEIVED.load(Ordering::Acquire);
    (signal != 0).then(|| {
        print_tally();
        ExitCode::from(exit_code(signal))
    })
}
