//! The end of a worker process: with its driver, or because the worker cannot continue.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group, kill_process};

use super::socket::Socket;
use crate::history::spans;
use crate::platform;

/// Stack size of the thread that watches the driver, in bytes. Exporting spans needs more.
const WATCH_STACK: usize = if cfg!(feature = "otel") { 512 << 10 } else { 64 << 10 };

/// Whether this process is being ended. The processes that its functions started are killed first, and a function whose
/// child was killed may return. That is not a result of its call.
pub(super) static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Prints the reason and ends this worker. The driver forwards the output.
pub(super) fn give_up(why: &str) -> ! {
    eprintln!("wren: {why}");
    spans::flush();
    exit(1)
}

/// Starts a thread that waits for the end of the driver, whatever its cause. The thread then ends the processes that
/// functions started, and this process, even if it is running a remote function.
pub(super) fn end_with_the_driver(socket: Arc<Socket>, mark: Arc<str>) {
    let watch = move || {
        loop {
            platform::wait_for_hangup(socket.guarded.as_fd_unchecked());
            IS_ENDING.store(true, Ordering::SeqCst);
            spans::flush();
            if platform::has_children() {
                platform::kill_marked(&mark);
            }
            if getpgrp() == getpid() {
                let _ = kill_current_process_group(Signal::KILL);
            }
            // Not `exit`, because handlers that run at exit must not delay the end.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    };
    let _ = std::thread::Builder::new().name("wren-watch".into()).stack_size(WATCH_STACK).spawn(watch);
}
