//! Ctrl-C, and what else asks a program to end: calls are cancelled, `main` may finish, it is said what was done.
//!
//! A program that handles such a signal itself keeps it: wren takes none that somebody has, and where somebody takes
//! one later, wren's handler finds that it is no longer the one that is installed, and does nothing.

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

/// How long `main` may go on after the first signal, for instance to save what it has.
const PATIENCE: Duration = Duration::from_secs(5);

const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Where the handler writes; -1 before there is a reader.
static TO: AtomicI32 = AtomicI32::new(-1);

/// The process whose thread waits for signals.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// The signal that asked this program to end; 0 before.
static ASKED: AtomicI32 = AtomicI32::new(0);

/// Tells the thread. A handler may do little more.
extern "C" fn handle(signal: libc::c_int) {
    // SAFETY: all three may be called in a handler.
    unsafe {
        if libc::getpid() != PROCESS.load(Ordering::Relaxed) {
            // A fork: the thread that waits is its parent's.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
            return;
        }
    }
    let to = TO.load(Ordering::Relaxed);
    if let Ok(signal) = u8::try_from(signal)
        && to >= 0
    {
        // SAFETY: the descriptor is never closed. What is written is for the thread of `watch` alone.
        let to = unsafe { BorrowedFd::borrow_raw(to) };
        let _ = rustix::io::write(to, &[signal]);
    }
}

/// What the system does with a signal.
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

/// Whether a signal comes to this handler alone: nobody has installed another since.
fn is_ours(signal: libc::c_int) -> bool {
    action(signal).is_some_and(|now| now.sa_sigaction == handler())
}

/// Takes a signal that nobody has taken.
fn take(signal: libc::c_int) {
    if action(signal).is_none_or(|now| now.sa_sigaction != libc::SIG_DFL) {
        return;
    }
    // SAFETY: all bytes zero are a valid `sigaction`: no flags, and no other signals blocked. The handler only writes to a
    // descriptor, which it may do at any time.
    unsafe {
        let mut ours: libc::sigaction = zeroed();
        ours.sa_sigaction = handler();
        ours.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const ours, null_mut());
    }
}

/// Waits for signals on a thread of its own, so that a `main` that blocks can be interrupted too. After the first, calls
/// end with [`Error::Cancelled`](crate::Error::Cancelled), and `main` has [`PATIENCE`]; the second ends the program at once.
pub(crate) fn watch() {
    static PIPE: OnceLock<OwnedFd> = OnceLock::new();
    // Without pipe or thread, signals end the program as they always do, and workers end with it.
    let Ok((read, write)) = platform::pipe() else { return };
    let wait = move || {
        while let Some(signal) = next(&read, None) {
            // Who has taken the signal since decides what it means.
            if is_ours(signal) {
                ASKED.store(signal, Ordering::Release);
                // On a thread of its own: whatever holds that up does not hold up the end.
                let _ = thread::Builder::new().name("wren-cancel".into()).spawn(executor::cancel_all);
                let _ = next(&read, Some(PATIENCE));
                start::finish_last_words();
                say();
                std::process::exit(i32::from(exit_code(signal)));
            }
        }
    };
    if thread::Builder::new().name("wren-interrupt".into()).stack_size(1 << 20).spawn(wait).is_ok() {
        PROCESS.store(i32::try_from(std::process::id()).unwrap_or(0), Ordering::Release);
        TO.store(PIPE.get_or_init(|| write).as_raw_fd(), Ordering::Release);
        SIGNALS.into_iter().for_each(take);
    }
}

/// The next signal, or none within the limit.
fn next(read: &OwnedFd, limit: Option<Duration>) -> Option<libc::c_int> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    loop {
        let ready = poll(&mut [PollFd::new(read, PollFlags::IN)], limit.as_ref());
        let mut signal = [0];
        match rustix::io::read(read, &mut signal) {
            Ok(1) => return Some(signal[0].into()),
            // Interrupted, or woken for nothing.
            _ if !matches!(ready, Ok(0)) => {}
            _ => return None,
        }
    }
}

fn exit_code(signal: libc::c_int) -> u8 {
    // As shells have it.
    128 + u8::try_from(signal).unwrap_or(0)
}

fn say() {
    terminal::note(&format!("interrupted; {}", history::tally()));
    terminal::finish();
}

/// Where a signal asked the program to end: says what was done, and gives the code to end with.
pub(crate) fn farewell() -> Option<ExitCode> {
    let signal = ASKED.load(Ordering::Acquire);
    (signal != 0).then(|| {
        say();
        ExitCode::from(exit_code(signal))
    })
}
