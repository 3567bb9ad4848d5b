//! Panics of remote functions as failures, with message, place and backtrace.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

use crate::error::Failure;

thread_local! {
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// The latest panics of threads that functions started: who joins one may let its panic go on (`resume_unwind`), as rayon
/// does.
static ELSEWHERE: Mutex<VecDeque<Failure>> = Mutex::new(VecDeque::new());

/// How many of those are remembered.
const MOST_ELSEWHERE: usize = 16;

/// Makes panics inside remote functions quiet: they come back as errors, and are shown there. All
/// other panics are reported as before.
pub(crate) fn install_hook() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IN_CALL.get() {
                let failure = failure_of(info);
                LAST.with_borrow_mut(|last| *last = Some(failure));
            } else {
                let mut elsewhere = ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner);
                if elsewhere.len() == MOST_ELSEWHERE {
                    elsewhere.pop_front();
                }
                elsewhere.push_back(failure_of(info));
                drop(elsewhere);
                previous(info);
            }
        }));
    });
}

fn failure_of(info: &PanicHookInfo<'_>) -> Failure {
    let backtrace = Backtrace::capture();
    Failure::Panicked {
        message: message_of(info.payload()),
        location: info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string),
        backtrace: (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string()),
    }
}

pub(crate) fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text (`panic_any`)".to_owned())
}

/// Runs a call; a panic inside it is its failure.
#[inline]
pub(crate) fn captures_panics(call: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let outer = IN_CALL.replace(true);
    // Nothing of the call's is looked at after a panic but the output buffer, which is truncated.
    let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(failure_by(payload)));
    IN_CALL.set(outer);
    result
}

/// The failure by a panic that ended a call.
#[cold]
fn failure_by(payload: Box<dyn Any + Send>) -> Failure {
    let message = message_of(&*payload);
    // Not that of another panic, which the function caught: this one may have come from another thread.
    let is_it = |failure: &Failure| matches!(failure, Failure::Panicked { message: known, .. } if *known == message);
    let here = LAST.with_borrow_mut(Option::take).filter(is_it);
    let known = here.or_else(|| {
        let elsewhere = ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner);
        elsewhere.iter().rev().find(|failure| is_it(failure)).cloned()
    });
    // What was thrown may panic as it is dropped, and what that throws as well.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    known.unwrap_or_else(|| Failure::Panicked { message, location: "an unknown place".to_owned(), backtrace: None })
}
