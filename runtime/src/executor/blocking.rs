//! Runs futures to their end on the calling thread.

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

/// Runs a future to its end on this thread: for `main` functions, tests and remote functions that
/// are not `async`. On a thread that a remote function started, such as one of rayon's, the calls that it waits for run
/// on that thread, so that threads that wait for each other's calls never wait for ever. Nothing else of the future goes
/// on meanwhile, such as a `tokio::time::timeout` around the call; the call's own `timeout` does.
/// Tasks that the future spawned (`tokio::spawn`) and that have not ended are stopped when it is at its end.
///
/// ```
/// #[wren::remote]
/// fn square(x: u64) -> u64 { x * x }
///
/// assert_eq!(wren::block_on(square(12)).unwrap(), 144);
/// ```
///
/// # Panics
/// Inside an async function, as `tokio`'s own `block_on` does, and so in an `atexit` handler if an async function calls
/// `std::process::exit`; and where the system has no more file descriptors for an event loop.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    // A thread's variables end one by one: wren's may still be there where tokio's are not.
    if Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed()) {
        return without_runtime(future.into_future());
    }
    // One runtime a thread: making one costs more than a short call. A nested use makes its own.
    let Ok(committer) = RUNTIME.try_with(Cell::take) else { return without_runtime(future.into_future()) };
    let runtime = committer.map_or_else(platform::new_runtime, Ok);
    let runtime = runtime.unwrap_or_else(|e| panic!("the system gives no event loop: {e}"));
    let mut used = Used(Some(runtime));
    let output = match &used.0 {
        Some(runtime) => waiter::block_on(runtime, future),
        None => without_runtime(future.into_future()),
    };
    used.keep();
    output
}

/// Runs the future of an async function to its end. If the call is stopped before, the future is dropped, and a panic
/// goes up to whoever runs the call.
#[doc(hidden)]
pub fn run_async<F: Future>(future: F) -> F::Output {
    block_on(until_stopped(future)).unwrap_or_else(|| resume_unwind(Box::new("the call was stopped")))
}

/// A runtime that a future ran on.
struct Used(Option<Runtime>);

impl Used {
    /// Keeps it for the thread's next use, unless tasks are left on it: they would go on in that.
    fn keep(&mut self) {
        if let Some(runtime) = self.0.take_if(|runtime| runtime.metrics().num_alive_tasks() == 0) {
            // Where the thread is about to end, nobody will use it.
            let _ = RUNTIME.try_with(|committer| committer.set(Some(runtime)));
        }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Tasks end; threads that block are not waited for, whether the future ended or panicked.
            runtime.shutdown_background();
        }
    }
}

/// Runs a future where the thread is about to end, and tokio knows of it no more. Calls need nothing of tokio's.
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
