//! Ends an async function that nobody waits for any more, at its next `await`: on a thread of this process, which cannot be
//! ended by force.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

thread_local! {
    /// That of the calls which this thread runs, where they can be stopped.
    static SIGNAL: RefCell<Option<Arc<StopSignal>>> = const { RefCell::new(None) };
}

/// Tells async functions that nobody waits for them.
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

/// Runs calls whose async functions end when the signal is set.
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

/// The output of a future, or none if the call that this thread runs is stopped first. The future is dropped then.
pub(crate) async fn until_stopped<F: Future>(future: F) -> Option<F::Output> {
    // Without unwinding, a call could end with its process only.
    let signal =
        if cfg!(panic = "abort") { None } else { SIGNAL.try_with(|signal| signal.borrow().clone()).ok().flatten() };
    let Some(signal) = signal else { return Some(future.await) };
    let mut future = pin!(Some(future));
    poll_fn(|cx| {
        if signal.is_set_or_register(cx.waker()) {
            // Here, inside the event loop that the future may need.
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
