//! The thread that starts worker processes.
//!
//! Starting a program takes milliseconds, which is too long for a thread that holds the executor's lock. Linux also
//! sends each worker a signal when the thread that started it ends (`end_with_parent`), so this thread lives as long as
//! the program.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

type Work = Box<dyn FnOnce() + Send>;

/// Runs `start` on the thread.
///
/// # Errors
/// If the system cannot create the thread. A later call may succeed.
pub(super) fn spawn(start: impl FnOnce() + Send + 'static) -> io::Result<()> {
    static THREAD: Mutex<Option<Sender<Work>>> = Mutex::new(None);
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = match &*thread {
        Some(sender) => sender,
        None => {
            let (sender, receiver) = channel::<Work>();
            let run = move || {
                for start in receiver {
                    // A panic here is a bug in wren. The thread continues, so that later workers can be started.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(start));
                }
            };
            thread::Builder::new().name("wren-spawner".into()).spawn(run)?;
            thread.insert(sender)
        }
    };
    sender.send(Box::new(start)).map_err(|_| io::Error::other("the thread that starts workers has ended"))
}
