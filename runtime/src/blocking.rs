//! Runs futures to their end on the calling thread.

use std::cell::Cell;
use std::future::IntoFuture;
use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::executor;

thread_local! {
    static RUNTIME: Cell<Option<Runtime>> = const { Cell::new(None) };
}

pub(crate) fn new_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Runs a future to its end on this thread: for `main` functions, tests and remote functions that
/// are not `async`. On a thread that a remote function started, such as one of rayon's, the calls that it waits for run
/// on that thread, so that threads that wait for each other's calls never wait for ever.
///
/// ```
/// #[wren::remote]
/// fn square(x: u64) -> u64 { x * x }
///
/// assert_eq!(wren::block_on(square(12)).unwrap(), 144);
/// ```
///
/// # Panics
/// Inside an async function, as `tokio`'s own `block_on` does; and where the system has no more
/// file descriptors for an event loop.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    // One runtime a thread: making one costs more than a short call. A nested use makes its own.
    let kept = RUNTIME.take();
    let runtime = kept.map_or_else(new_runtime, Ok);
    let runtime = runtime.unwrap_or_else(|e| panic!("the system gives no event loop: {e}"));
    let output = executor::block_on(&runtime, future);
    RUNTIME.set(Some(runtime));
    output
}
