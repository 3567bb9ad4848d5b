//! Turns panics of remote functions into failures, with message, location and backtrace.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Mutex, Once, OnceLock, PoisonError};

use crate::error::Failure;

thread_local! {
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
    /// The latest panics of this thread; if it runs a call, only those since the call started.
    static HERE: RefCell<Recent> = const { RefCell::new(Recent(VecDeque::new())) };
}

/// A function that receives the message and the location of a panic that ends this worker.
type Sink = Box<dyn Fn(&str, &str) + Send + Sync>;

static FATAL_PANICS: OnceLock<Sink> = OnceLock::new();

/// The latest panics of threads that functions started. A function that joins such a thread may resume its panic
/// (`resume_unwind`), as rayon does.
static ELSEWHERE: Mutex<Recent> = Mutex::new(Recent(VecDeque::new()));

/// Maximum number of panics that are remembered, of a thread and of other threads.
const MOST: usize = 16;

/// Panics, latest last.
struct Recent(VecDeque<Panic>);

#[derive(Clone)]
struct Panic {
    message: String,
    location: String,
    backtrace: Option<String>,
}

impl From<Panic> for Failure {
    fn from(Panic { message, location, backtrace }: Panic) -> Self {
        Self::Panicked { message, location, backtrace }
    }
}

impl Recent {
    fn push(&mut self, panic: Panic) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(panic);
    }

    fn find(&self, message: &str) -> Option<Panic> {
        self.0.iter().rev().find(|panic| panic.message == message).cloned()
    }
}

/// Silences panics inside remote functions, because they are returned as errors and reported there. All other panics
/// are reported as before.
pub(crate) fn install_hook() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let panic = panic_of(info);
            let ending = ends_the_process(&panic.message);
            let in_call = IN_CALL.get();
            let _ = HERE.try_with(|here| {
                let mut here = here.borrow_mut();
                if let Some(ending) = ending {
                    report_fatal(&ending.cause(here.0.make_contiguous(), &panic));
                }
                here.push(panic.clone());
            });
            if !in_call {
                ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).push(panic);
            }
            // In a worker, the driver reports the panic.
            if !in_call || ending.is_some() && FATAL_PANICS.get().is_none() {
                previous(info);
            }
        }));
    });
}

/// Sets the function that reports panics which end this worker to its driver, by message and location.
pub(crate) fn report_fatal_panics(to: impl Fn(&str, &str) + Send + Sync + 'static) {
    let _ = FATAL_PANICS.set(Box::new(to));
}

fn report_fatal(panic: &Panic) {
    match FATAL_PANICS.get() {
        Some(report) => report(&panic.message, &panic.location),
        None => eprintln!("{}, at {}", panic.message, panic.location),
    }
}

/// The reason why the process aborts after a panic.
#[derive(Clone, Copy)]
enum AbortCause {
    /// The panic itself aborts the process.
    Itself,
    /// The previous panic reached a function that cannot unwind.
    CannotUnwind,
    /// A destructor panicked while the previous panic unwound.
    InDestructor,
}

/// Returns why the process aborts after a panic with that message; `None` if it does not. The messages are those of the
/// standard library. If they change, only SIGABRT is reported.
fn ends_the_process(message: &str) -> Option<AbortCause> {
    const MESSAGES: [&str; 4] = [
        "unsafe precondition(s) violated",
        "misaligned pointer dereference",
        "null pointer dereference occurred",
        "trying to construct an enum from an invalid value",
    ];
    match message {
        "panic in a function that cannot unwind" => Some(AbortCause::CannotUnwind),
        "panic in a destructor during cleanup" => Some(AbortCause::InDestructor),
        _ if cfg!(panic = "abort") || MESSAGES.iter().any(|start| message.starts_with(start)) => {
            Some(AbortCause::Itself)
        }
        _ => None,
    }
}

impl AbortCause {
    /// Returns the panic that caused the abort, with the panics that followed in its message. `before` are the panics
    /// of the thread before `last`.
    fn cause(self, before: &[Panic], last: &Panic) -> Panic {
        match (self, before) {
            (Self::CannotUnwind, [.., cause]) => Panic {
                message: format!("{}, and the process aborted: {}", cause.message, last.message),
                ..cause.clone()
            },
            (Self::InDestructor, [.., cause, second]) => Panic {
                message: format!(
                    "{}, and the process aborted: a destructor panicked during unwinding: {}, at {}",
                    cause.message, second.message, second.location
                ),
                ..cause.clone()
            },
            _ => last.clone(),
        }
    }
}

fn panic_of(info: &PanicHookInfo<'_>) -> Panic {
    let backtrace = Backtrace::capture();
    Panic {
        message: message_of(info.payload()),
        location: info.location().map_or_else(|| "an unknown location".to_owned(), ToString::to_string),
        backtrace: (backtrace.status() == BacktraceStatus::Captured).then(|| shortened(&backtrace.to_string())),
    }
}

/// Maximum length of a backtrace, in bytes.
const LONGEST_BACKTRACE: usize = 32 << 10;

/// Removes the frames of the panic itself and those of wren, as the standard library does for a thread. Keeps them if
/// `RUST_BACKTRACE` is `full`.
fn shortened(backtrace: &str) -> String {
    let is_full = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "full");
    let text = if is_full { backtrace } else { of_function(backtrace) };
    text[..text.floor_char_boundary(LONGEST_BACKTRACE)].trim_end().to_owned()
}

/// Returns the frames between those of the panic and those of wren, as far as they are found by their names.
fn of_function(backtrace: &str) -> &str {
    const PANICKING: [&str; 3] = ["rust_begin_unwind", "core::panicking::", "std::panicking::begin_panic"];
    let mut at = 0;
    let mut frames = Vec::new();
    for line in backtrace.split_inclusive('\n') {
        // Other lines are the positions of frames.
        if line.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
            frames.push((at, line));
        }
        at += line.len();
    }
    let end = frames.iter().position(|(_, frame)| frame.contains("::captures_panics")).unwrap_or(frames.len());
    let panic = frames[..end].iter().rposition(|(_, frame)| PANICKING.iter().any(|name| frame.contains(name)));
    let start_of = |index: usize| frames.get(index).map_or(backtrace.len(), |(at, _)| *at);
    &backtrace[panic.map_or(0, |panic| start_of(panic + 1))..start_of(end)]
}

pub(crate) fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not a string (`panic_any`)".to_owned())
}

/// Runs a call, and returns a panic inside it as a failure.
#[inline]
pub(crate) fn captures_panics(call: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let outer = IN_CALL.replace(true);
    if !outer {
        // A panic that the thread's last call caught may have the same message. A thread that is about to end has no
        // list.
        let _ = HERE.try_with(|here| here.borrow_mut().0.clear());
    }
    // After a panic, no data of the call is used except the output buffer, which is truncated.
    let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(failure_by(payload)));
    IN_CALL.set(outer);
    result
}

/// Returns the failure for a panic that ended a call.
#[cold]
fn failure_by(payload: Box<dyn Any + Send>) -> Failure {
    let message = message_of(&*payload);
    // The panic is found by its message: the latest panic of this thread may be another one, which the function caught,
    // and this one may come from another thread.
    let here = HERE.try_with(|here| here.borrow().find(&message)).unwrap_or_default();
    let known = here.or_else(|| ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).find(&message));
    // The payload may panic when it is dropped, and so may the payload of that panic.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    known.map_or_else(
        || Failure::Panicked { message, location: "an unknown location".to_owned(), backtrace: None },
        Failure::from,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backtraces_have_the_frames_of_the_function() {
        let frame = |n: u32, name: &str| format!("{n:4}: {name}\n             at /src/lib.rs:{n}:5\n");
        let names = [
            "wren::function::panics::panic_of",
            "__rustc::rust_begin_unwind",
            "core::panicking::panic_fmt",
            "sweep::inner",
            "std::panicking::catch_unwind",
            "sweep::train",
            "wren::function::panics::captures_panics",
            "std::rt::lang_start",
        ];
        let frames: Vec<_> = (0..).zip(names).map(|(n, name)| frame(n, name)).collect();
        assert_eq!(of_function(&frames.concat()), frames[3..6].concat());
        // Without symbols, nothing is removed.
        assert_eq!(of_function(&frames[3..6].concat()), frames[3..6].concat());
        assert_eq!(of_function(""), "");
        assert_eq!(shortened(&"\u{e9}".repeat(LONGEST_BACKTRACE)).len(), LONGEST_BACKTRACE);
    }
}
