//! A thread that waits for calls by [`block_on`](crate::block_on), and runs them itself where it may be inside a remote
//! function.
//!
//! Threads of a function's own, such as rayon's, may all wait for calls at once. If those calls then need the same
//! threads, as functions that use rayon do, nobody is left to run them: a thread that waits must run what it waits for.
//! It runs no other thread's calls, which may take long, or want a lock that it holds.

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
    /// How many `block_on` wait on this thread, each inside a call that the one before runs.
    static WAITING: Cell<usize> = const { Cell::new(0) };

    /// What runs the calls of each of them, made when it is first needed.
    static EXECUTORS: RefCell<Vec<(Executor, Queued)>> = const { RefCell::new(Vec::new()) };
}

/// The executor of the `block_on` that waits on this thread, if one does.
pub(super) fn executor_of_this_thread() -> Option<Result<Executor>> {
    let level = WAITING.get().checked_sub(1)?;
    let executor = EXECUTORS.try_with(|executors| {
        let mut executors = executors.borrow_mut();
        while executors.len() <= level {
            executors.push(open()?);
        }
        Ok(executors[level].0.clone())
    });
    // None where the thread is about to end.
    executor.ok()
}

fn open() -> Result<(Executor, Queued)> {
    let mut config = Config::load()?;
    config.backend = Some("inline".to_owned());
    config.workers = 1;
    let mut queued = None;
    let executor = Executor::open_on(config, None, None, super::MOST_LEVEL, None, |setup| {
        let (backend, of_backend) = backend::run_by_who_waits(setup);
        queued = Some(of_backend);
        Ok(backend)
    })?;
    let queued: Queued = queued.ok_or_else(|| Error::Backend("no backend was opened".to_owned()))?;
    queued.set_awaited(true);
    Ok((executor, queued))
}

/// Runs a future to its end, and the calls that [`Executor::current`] left to this thread.
pub(crate) fn block_on<F: IntoFuture>(runtime: &Runtime, future: F) -> F::Output {
    struct Level(usize);
    impl Drop for Level {
        fn drop(&mut self) {
            WAITING.set(self.0);
            // What was begun here and goes on elsewhere is run by others.
            set_awaited(self.0, false);
        }
    }
    let level = Level(WAITING.get());
    WAITING.set(level.0 + 1);
    set_awaited(level.0, true);
    let mut future = pin!(future.into_future());
    loop {
        // A function may want a runtime of its own, so that it runs outside of this one.
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
    // A thread that is about to end has none.
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
    // The call may open an executor for a deeper level.
    if let Some((executor, queued)) = of_level(level) {
        queued.run_one();
        executor.reactor().pump();
    }
}
