//! The errors of wren: one variant of [`Error`] for each way to fail.

mod attempt;
mod cause;
mod display;
mod failure;
mod kv;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::codec::{self, CodecError};

pub use attempt::Attempt;
pub use cause::{Cause, ErrorValue};
use display::{Causes, ExitReason, List, Tail, dollars};
pub use failure::{Failure, FailureClass};
pub use kv::{KvError, KvResult};
pub use store::{StoreError, StoreResult};

/// `std::result::Result` with wren's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a remote call, of a job, or of wren's own setup.
///
/// Each way to fail is its own variant, so a program matches on the variant and never parses the text:
///
/// ```
/// # fn handle(error: wren::Error) {
/// match error {
///     wren::Error::Panicked { attempt, message, .. } => eprintln!("{attempt}: {message}"),
///     wren::Error::TimedOut { limit, .. } => eprintln!("raise the timeout of {limit:?}"),
///     other => eprintln!("{other}"),
/// }
/// # }
/// ```
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The function returned `Err`.
    ///
    /// Fix the function or its input; `cargo wren replay` runs the task again, under a debugger if you like. The error
    /// is final unless `retries` is set. [`downcast`](Error::downcast) returns the original error value. `source`
    /// returns its causes, which the message contains too.
    #[error("{attempt} returned an error: {message}{}", Causes(.source))]
    Returned {
        /// The attempt that returned the error.
        attempt: Box<Attempt>,
        /// The error's `Display` output, or its `Debug` output if it does not implement `Display`.
        message: String,
        /// The error's source, if it has one.
        source: Option<Box<Cause>>,
        /// The error's type, as returned by `std::any::type_name`.
        type_name: String,
        /// The error value, for [`downcast`](Error::downcast).
        value: ErrorValue,
    },
    /// The function panicked.
    ///
    /// Fix the function; `cargo wren replay` runs the task again, under a debugger if you like. The error is final
    /// unless `retries` is set.
    #[error("{attempt} panicked at {location}: {message}")]
    Panicked {
        /// The attempt that panicked.
        attempt: Box<Attempt>,
        /// The panic's message.
        message: String,
        /// Source position, `file:line:column`.
        location: String,
        /// The backtrace, if `RUST_BACKTRACE` enables it. The output of `Debug` contains it.
        backtrace: Option<String>,
    },
    /// The worker process ended while it ran the function: by a signal, `process::exit`, an abort or a stack overflow.
    ///
    /// The machine may be at fault, so wren runs the task up to three times. If the worker dies each time, the function
    /// is the cause: `cargo wren replay --local-pool` reproduces it.
    #[error("the worker process of {attempt} {}{}", ExitReason(.signal, .exit_code), Tail(&.attempt.stderr))]
    WorkerDied {
        /// The attempt that was running.
        attempt: Box<Attempt>,
        /// The signal that ended the process.
        signal: Option<i32>,
        /// The exit code, if the process exited by itself.
        exit_code: Option<i32>,
    },
    /// The worker used more memory than the function's `memory` limit, and was stopped.
    ///
    /// Raise `memory`, in the annotation or with `.memory(..)`, or do less in one call. wren does not try again.
    #[error(
        "{attempt} used {peak_mb} MB of memory, and its limit is {limit_mb} MB; raise the limit with `#[wren::remote(memory = ..)]` or `.memory(..)`, or do less in one call"
    )]
    OutOfMemory {
        /// The attempt that was stopped.
        attempt: Box<Attempt>,
        /// The limit, in MB of 2^20 bytes.
        limit_mb: u32,
        /// The memory that was measured, in MB of 2^20 bytes.
        peak_mb: u32,
    },
    /// The function ran longer than its `timeout`, and was stopped.
    ///
    /// Raise `timeout`, in the annotation or with `.timeout(..)`, or do less in one call. wren does not try again.
    #[error(
        "{attempt} ran longer than its timeout of {limit:?}; raise the timeout with `#[wren::remote(timeout = ..)]` or `.timeout(..)`, or do less in one call"
    )]
    TimedOut {
        /// The attempt that was stopped.
        attempt: Box<Attempt>,
        /// The limit.
        limit: Duration,
    },
    /// The backend refused the attempt because of too much load, more often than wren retries.
    ///
    /// Lower `.concurrency(..)`, or ask AWS to raise the account's concurrency limit; `cargo wren doctor` shows the
    /// current limit. Before it returns this error, wren sends the call again after growing pauses.
    #[error(
        "{attempt} was throttled by the backend: {message}; lower `.concurrency(..)`, or ask AWS to raise the account's concurrency limit",
        message = .message.trim_end_matches('.')
    )]
    Throttled {
        /// The attempt that was refused.
        attempt: Box<Attempt>,
        /// The backend's error message.
        message: String,
    },
    /// The backend did not report on the attempt: the request was lost, or the attempt never started.
    ///
    /// Run the job again, under the same name if it is `named`. Before it returns this error, wren sends the call up to
    /// three times.
    #[error("no answer from the backend about {attempt} within {waited:?}; run the job again")]
    NeverStarted {
        /// The attempt that was lost.
        attempt: Box<Attempt>,
        /// How long wren waited for an answer.
        waited: Duration,
    },
    /// A call that must run at most once was lost: it may have run, run in part, or not run at all.
    ///
    /// Find out what the call has done; wren does not run it again. `cause` says why it was lost.
    #[error(
        "it is unknown whether {attempt} has run; it must run at most once, so wren does not run it again; find out what it has done; cause: {cause}"
    )]
    MayHaveRun {
        /// The attempt that was lost.
        attempt: Box<Attempt>,
        /// Why the attempt was lost.
        cause: Box<Error>,
    },
    /// The deployed program is another build than this one.
    ///
    /// Run `cargo wren deploy`, or set `WREN_BACKEND=local` to run on this machine.
    #[error(
        "the deployed program is another build and does not have this version of {}; run `cargo wren deploy`, or set WREN_BACKEND=local to run on this machine",
        .functions.join(", ")
    )]
    StaleDeployment {
        /// Functions that are missing in the deployment or differ in body, signature or limits.
        functions: Vec<String>,
    },
    /// The store failed.
    ///
    /// What to do depends on the variant of [`StoreError`]. If a worker gets the error, wren runs the task up to three
    /// times, unless the store is full.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Key-value storage failed.
    ///
    /// What to do depends on the variant of [`KvError`].
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The arguments could not be encoded by the driver, or not decoded by the worker.
    ///
    /// Use an argument type that encodes and decodes to the same value, for instance with serde's derives. If the
    /// worker is another build, deploy again.
    #[error("invalid arguments for `{function}`: {reason}")]
    BadArguments {
        /// The remote function.
        function: String,
        /// The argument, and what is wrong with it.
        reason: String,
    },
    /// The result could not be encoded by the worker, or not decoded by the driver.
    ///
    /// Use a result type that encodes and decodes to the same value, for instance with serde's derives. wren does not
    /// try again.
    #[error("cannot encode or decode the result of {attempt}: {reason}")]
    BadResult {
        /// The attempt that returned the result.
        attempt: Box<Attempt>,
        /// The codec's error message.
        reason: String,
    },
    /// A value given to `put`, or read from a `Ref`, could not be encoded or decoded.
    ///
    /// Read a `Ref` as the type that was put, and put only values that serde can encode.
    #[error("{reason}")]
    BadValue {
        /// The codec's error message.
        reason: String,
    },
    /// An input cannot be found, split or read.
    ///
    /// Fix the path, the pattern or the file. A relative path starts at the working directory of the program.
    #[error("input {path}: {reason}")]
    Input {
        /// The file, the object or the pattern.
        path: String,
        /// What is wrong with the input, and where.
        reason: String,
    },
    /// The program has no remote function of that name.
    ///
    /// If the function is in a library that no Rust path of the program mentions, add `use that_crate as _;` to the
    /// program. If the program is deployed, deploy it again.
    #[error(
        "unknown remote function `{name}`; known functions: {}; if it is in a dependency that no Rust path mentions, add `use that_crate as _;`",
        List(.registered)
    )]
    UnknownFunction {
        /// The name that was not found.
        name: String,
        /// The names of all remote functions of the program.
        registered: Vec<String>,
    },
    /// Several remote functions have the requested name.
    ///
    /// This affects only look-ups by name; a call always runs its own function. Add the source position to the name, or
    /// rename the functions.
    #[error(
        "several remote functions are named `{name}`: at {}; select one with `{name}@file:line:column`, or rename them",
        places.join(", ")
    )]
    DuplicateFunction {
        /// The name.
        name: String,
        /// The source positions of the functions, each `file:line:column`.
        places: Vec<String>,
    },
    /// The job or call was cancelled.
    ///
    /// Nothing is wrong: the program called `cancel` or dropped the job, or the user pressed Ctrl-C. A `named` job that
    /// is run again under the same name continues where it stopped.
    #[error("the job was cancelled; {done} of its tasks were done")]
    Cancelled {
        /// Number of tasks that were done by then.
        done: u64,
    },
    /// The job was stopped because it would have exceeded its budget.
    ///
    /// Raise `.budget(..)`, or make the job cheaper. A `named` job that is run again under the same name continues
    /// where it stopped.
    #[error(
        "the job was stopped at {spent}, {where_it_was} its budget of {budget}; {done} tasks were done; raise `.budget(..)`, or make the job cheaper",
        spent = dollars(*spent_usd),
        where_it_was = if spent_usd > budget_usd { "over" } else { "before it exceeded" },
        budget = dollars(*budget_usd)
    )]
    OverBudget {
        /// The amount given to `.budget(..)`, in dollars.
        budget_usd: f64,
        /// The estimated cost so far, in dollars.
        spent_usd: f64,
        /// Number of tasks that were done by then.
        done: u64,
    },
    /// A job cannot be resumed or attached to.
    ///
    /// The message describes the job that was found and the job that was expected. Use another name, or the same
    /// functions and arguments as before.
    #[error("{0}")]
    Job(String),
    /// The configuration is invalid: a `WREN_*` variable, `Wren.toml`, a URL or a builder.
    ///
    /// The message names the setting and the values that it accepts.
    #[error("{0}")]
    Config(String),
    /// The backend cannot work at all, for instance because no worker process starts.
    ///
    /// The message contains the answer of the system or of AWS; `cargo wren doctor` checks a deployment for problems.
    #[error("{0}")]
    Backend(String),
}

impl Error {
    /// Returns an error in a forked process: it would write into resources that its parent uses.
    pub(crate) fn if_forked() -> Result<()> {
        if !crate::platform::is_forked() {
            return Ok(());
        }
        Err(Self::Backend(
            "this process was forked from one that had already called wren, and does not have its threads and workers; \
             call wren only after the fork, or start a new program instead of forking"
                .to_owned(),
        ))
    }

    /// Returns the error for something whose feature is not enabled in this program.
    #[allow(dead_code, reason = "used wherever a feature is off")]
    pub(crate) fn left_out(what: &str, feature: &str) -> Self {
        let deploys = if feature == "aws" { "`cargo wren deploy` or " } else { "" };
        Error::Config(format!(
            "{what} needs the feature `{feature}`, and this program was built without it; enable it with \
             {deploys}`cargo add wren-cloud --features {feature}`"
        ))
    }

    /// Returns the error value that the function returned, if its type is `E` and serializable.
    ///
    /// Returns `None` for other types, for errors that encode to more than 64 KiB, and for all other variants.
    ///
    /// ```
    /// #[derive(Debug, PartialEq, thiserror::Error, serde::Serialize, serde::Deserialize)]
    /// #[error("no such user: {id}")]
    /// struct NoSuchUser { id: u64 }
    ///
    /// #[wren::remote]
    /// fn name_of(id: u64) -> Result<String, NoSuchUser> { Err(NoSuchUser { id }) }
    ///
    /// # wren::block_on(async {
    /// let error = name_of(7).await.unwrap_err();
    /// assert_eq!(error.downcast(), Some(NoSuchUser { id: 7 }));
    /// # });
    /// ```
    pub fn downcast<E: DeserializeOwned>(&self) -> Option<E> {
        let Error::Returned { type_name, value, .. } = self else { return None };
        if *type_name != std::any::type_name::<E>() || value.0.is_empty() {
            return None;
        }
        codec::decode(&value.0).ok()
    }

    /// Returns the attempt that failed, if the error belongs to one.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            Error::Returned { attempt, .. }
            | Error::Panicked { attempt, .. }
            | Error::WorkerDied { attempt, .. }
            | Error::OutOfMemory { attempt, .. }
            | Error::TimedOut { attempt, .. }
            | Error::Throttled { attempt, .. }
            | Error::NeverStarted { attempt, .. }
            | Error::MayHaveRun { attempt, .. }
            | Error::BadResult { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    /// Returns the backtrace of the panic, if the error is one and has it.
    fn backtrace(&self) -> Option<&str> {
        match self {
            Error::Panicked { backtrace, .. } => backtrace.as_deref(),
            Error::MayHaveRun { cause, .. } => cause.backtrace(),
            _ => None,
        }
    }

    pub(crate) fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match self {
            Error::Returned { attempt, .. }
            | Error::Panicked { attempt, .. }
            | Error::WorkerDied { attempt, .. }
            | Error::OutOfMemory { attempt, .. }
            | Error::TimedOut { attempt, .. }
            | Error::Throttled { attempt, .. }
            | Error::NeverStarted { attempt, .. }
            | Error::MayHaveRun { attempt, .. }
            | Error::BadResult { attempt, .. } => Some(attempt),
            _ => None,
        }
    }
}

/// Writes the text of `Display`, and the backtrace of a panic if there is one, because a `main` that returns an error
/// prints its `Debug` output.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        match self.backtrace() {
            Some(backtrace) => write!(f, "\n\nstack backtrace:\n{}", backtrace.trim_end()),
            None => Ok(()),
        }
    }
}

impl From<CodecError> for Error {
    fn from(error: CodecError) -> Self {
        Error::BadValue { reason: error.to_string() }
    }
}
