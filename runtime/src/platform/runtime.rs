//! Async runtimes.

use std::io;

use tokio::runtime::{Builder, Runtime};

use super::{depth, set_depth};

/// Creates an async runtime for the calling thread. Threads that the runtime starts (`spawn_blocking`) have the same
/// call depth as the calling thread.
pub(crate) fn new_runtime() -> io::Result<Runtime> {
    let depth = depth();
    Builder::new_current_thread().enable_all().on_thread_start(move || set_depth(depth)).build()
}
