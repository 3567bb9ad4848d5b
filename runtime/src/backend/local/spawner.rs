//! The thread that starts worker processes.
//!
//! Starting a program takes milliseconds, and nobody holds the scheduler's lock for that. And a worker ends when the
//! thread that started it ends, whatever its functions did to its descriptors, so that this thread lives as long as
//! the program.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

type Work = Box<dyn FnOnce() + Send>;

/// Runs `start` on the thread.
///
/// # Errors
/// Where the system gives no thread. It may later.
pub(super) fn spawn(start: impl FnOnce() + Send + 'static) -> io::Result<()> {
    static THREAD: Mutex<Option<Sender<Work>>> = Mutex::new(None);
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = match &*thread {
        Some(sender) => sender,
        None => {
            let (sender, receiver) = channel::<Work>();
            let run = move || {
                for start in receiver {
                    // What panics there is a defect, and the next worker is started all the same.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(start));
                }
            };
            thread::Builder::new().name("wren-spawner".into()).spawn(run)?;
            thread.insert(sender)
        }
    };
    sender.send(Box::new(start)).map_err(|_| io::Error::other("the thread that starts workers has ended"))
}
