//! Stops an async function at its next `await` when its result is no longer needed. This is for functions that run on a
//! thread of this process, which cannot be stopped by force.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

thread_local! {
    /// The signal of the calls that this thread runs, if they can be stopped.
    static SIGNAL: RefCell<Option<Arc<StopSignal>>> = const { RefCell::new(None) };
}

/// A signal that makes async functions stop because their results are no longer needed.
#[derive(Debug, Default)]
pub(crate) struct StopSignal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_set: bool,
    waker: Option<Waker>,
}

impl StopSignal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self) {
        let mut state = self.lock();
        state.is_set = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn is_set_or_register(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if !state.is_set && state.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        state.is_set
    }
}

/// Runs calls whose async functions stop when the signal is set.
pub(crate) fn stopped_by<T>(signal: &Arc<StopSignal>, run: impl FnOnce() -> T) -> T {
    struct Outer(Option<Arc<StopSignal>>);
    impl Drop for Outer {
        fn drop(&mut self) {
            SIGNAL.set(self.0.take());
        }
    }
    let _outer = Outer(SIGNAL.replace(Some(signal.clone())));
    run()
}

/// Returns the output of a future, or `None` if the call that this thread runs is stopped first. In that case, the
/// future is dropped.
pub(crate) async fn until_stopped<F: Future>(future: F) -> Option<F::Output> {
    // A stopped call ends by unwinding. Without unwinding, it could only end together with its process.
    let signal =
        if cfg!(panic = "abort") { None } else { SIGNAL.try_with(|signal| signal.borrow().clone()).ok().flatten() };
    let Some(signal) = signal else { return Some(future.await) };
    let mut future = pin!(Some(future));
    poll_fn(|cx| {
        if signal.is_set_or_register(cx.waker()) {
            // The future is dropped here, inside the async runtime that it may need.
            future.set(None);
            return Poll::Ready(None);
        }
        match future.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx).map(Some),
            None => Poll::Ready(None),
        }
    })
    .await
}
