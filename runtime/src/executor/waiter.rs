//! The waiting side of [`block_on`](crate::block_on): on a thread that may be inside a remote function, the waiting
//! thread runs the calls itself.
//!
//! Threads that a function starts, such as rayon's, may all wait for calls at once. If those calls need the same
//! threads, as functions that use rayon do, no thread is left to run them. So a waiting thread runs the calls that it
//! waits for. It does not run calls of other threads, because they may take long, or need a lock that this thread
//! holds.

use std::cell::{Cell, RefCell};
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};

use tokio::runtime::Runtime;

use super::Executor;
use crate::backend::{self, Queued};
use crate::config::Config;
use crate::error::{Error, Result};

thread_local! {
    /// Number of nested `block_on` calls on this thread: each runs inside a remote call that the previous one runs.
    static WAITING: Cell<usize> = const { Cell::new(0) };

    /// The executor of each nesting level, with its queue of batches. Created on first use.
    static EXECUTORS: RefCell<Vec<(Executor, Queued)>> = const { RefCell::new(Vec::new()) };
}

/// Returns the executor of the innermost `block_on` on this thread, or `None` if there is none.
pub(super) fn executor_of_this_thread() -> Option<Result<Executor>> {
    let level = WAITING.get().checked_sub(1)?;
    let executor = EXECUTORS.try_with(|executors| {
        let mut executors = executors.borrow_mut();
        while executors.len() <= level {
            executors.push(open()?);
        }
        Ok(executors[level].0.clone())
    });
    // The thread-local is gone if the thread is about to end.
    executor.ok()
}

fn open() -> Result<(Executor, Queued)> {
    let mut config = Config::load()?;
    config.backend = Some("inline".to_owned());
    config.workers = 1;
    let mut queued = None;
    let executor = Executor::open_on(config, None, None, super::MOST_LEVEL, None, |context| {
        let (backend, of_backend) = backend::open_for_waiter(context);
        queued = Some(of_backend);
        Ok(backend)
    })?;
    let queued: Queued = queued.ok_or_else(|| Error::Backend("no backend was opened".to_owned()))?;
    queued.set_awaited(true);
    Ok((executor, queued))
}

/// Runs a future to completion, together with the calls that [`Executor::current`] assigned to this thread.
pub(crate) fn block_on<F: IntoFuture>(runtime: &Runtime, future: F) -> F::Output {
    struct Level(usize);
    impl Drop for Level {
        fn drop(&mut self) {
            WAITING.set(self.0);
            // Calls that are still queued, because their future is awaited elsewhere, run on other threads from now on.
            set_awaited(self.0, false);
        }
    }
    let level = Level(WAITING.get());
    WAITING.set(level.0 + 1);
    set_awaited(level.0, true);
    let mut future = pin!(future.into_future());
    loop {
        // `run_one` is not called inside of `runtime.block_on`, because a function may use a runtime of its own.
        let output = runtime.block_on(poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if has_work_or_register(level.0, cx.waker()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }));
        match output {
            Some(output) => return output,
            None => run_one(level.0),
        }
    }
}

fn of_level(level: usize) -> Option<(Executor, Queued)> {
    // The thread-local is gone if the thread is about to end.
    EXECUTORS.try_with(|executors| executors.borrow().get(level).cloned()).ok().flatten()
}

fn set_awaited(level: usize, is_awaited: bool) {
    if let Some((_, queued)) = of_level(level) {
        queued.set_awaited(is_awaited);
    }
}

fn has_work_or_register(level: usize, waker: &Waker) -> bool {
    of_level(level).is_some_and(|(_, queued)| queued.has_any_or_register(waker))
}

fn run_one(level: usize) {
    // `EXECUTORS` is not borrowed here, because the call may open an executor for a deeper level.
    if let Some((executor, queued)) = of_level(level) {
        queued.run_one();
        executor.reactor().pump();
    }
}
