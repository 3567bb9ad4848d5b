//! Event loops.

use std::io;

use tokio::runtime::{Builder, Runtime};

use super::{depth, set_depth};

/// An event loop for the calling thread. Threads that it starts (`spawn_blocking`) are inside the calls that this one is.
pub(crate) fn new_runtime() -> io::Result<Runtime> {
    let depth = depth();
    Builder::new_current_thread().enable_all().on_thread_start(move || set_depth(depth)).build()
}
