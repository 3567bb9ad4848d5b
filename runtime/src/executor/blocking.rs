//! Runs futures to completion on the calling thread.

use std::cell::Cell;
use std::future::{Future, IntoFuture};
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::{Handle, Runtime};

use super::waiter;
use crate::function::until_stopped;
use crate::platform;

thread_local! {
    static RUNTIME: Cell<Option<Runtime>> = const { Cell::new(None) };
}

/// Runs a future to completion on this thread: for `main` functions, tests and remote functions that are not `async`.
/// On a thread that a remote function started, such as one of rayon's, the calls that it waits for run on that thread,
/// so threads that wait for each other's calls never deadlock. While such a call runs, the rest of the future makes no
/// progress, such as a `tokio::time::timeout` around the call; the call's own `timeout` still applies. Tasks that the
/// future spawned (`tokio::spawn`) and that have not ended are stopped when the future completes.
///
/// ```
/// #[wren::remote]
/// fn square(x: u64) -> u64 { x * x }
///
/// assert_eq!(wren::block_on(square(12)).unwrap(), 144);
/// ```
///
/// # Panics
/// Inside an async function, like `tokio`'s own `block_on`. This includes an `atexit` handler, if an async function
/// calls `std::process::exit`. Also if the async runtime cannot be created, because the system has no more file
/// descriptors.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    // Thread-locals are destroyed one by one: wren's may still exist when tokio's are gone.
    if Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed()) {
        return without_runtime(future.into_future());
    }
    // One runtime for each thread, because creating one takes longer than a short call. A nested call creates its own.
    let Ok(kept) = RUNTIME.try_with(Cell::take) else { return without_runtime(future.into_future()) };
    let runtime = kept.map_or_else(platform::new_runtime, Ok);
    let runtime = runtime.unwrap_or_else(|e| panic!("cannot create the async runtime: {e}"));
    let mut used = Used(Some(runtime));
    let output = match &used.0 {
        Some(runtime) => waiter::block_on(runtime, future),
        None => without_runtime(future.into_future()),
    };
    used.keep();
    output
}

/// Runs the future of an async function to completion. If the call is stopped first, drops the future and unwinds to
/// the code that runs the call.
#[doc(hidden)]
pub fn run_async<F: Future>(future: F) -> F::Output {
    block_on(until_stopped(future)).unwrap_or_else(|| resume_unwind(Box::new("the call was stopped")))
}

/// A runtime that a future ran on.
struct Used(Option<Runtime>);

impl Used {
    /// Keeps the runtime for the thread's next use, unless tasks are left on it: they would continue during that use.
    fn keep(&mut self) {
        if let Some(runtime) = self.0.take_if(|runtime| runtime.metrics().num_alive_tasks() == 0) {
            // If the thread is about to end, the runtime is not needed any more.
            let _ = RUNTIME.try_with(|kept| kept.set(Some(runtime)));
        }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Stops the tasks, and does not wait for blocked threads, whether the future completed or panicked.
            runtime.shutdown_background();
        }
    }
}

/// Runs a future on a thread that is about to end and has lost tokio's thread-locals. Calls do not need tokio.
fn without_runtime<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}
