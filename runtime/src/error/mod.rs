//! What can go wrong, by class: one variant of [`Error`] for each.

mod kv;
mod store;

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};

pub use kv::{KvError, KvResult};
pub use store::{StoreError, StoreResult};

/// `std::result::Result` with wren's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which attempt an error belongs to, and what its process had printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The remote function, as `crate::module::name`.
    pub function: String,
    /// The task's index in its job; 0 for a single call.
    pub task: u64,
    /// Which execution of the task failed last, counted from 1.
    pub attempt: u32,
    /// The last lines that the task wrote to standard error, at most 4 KiB.
    pub stderr: String,
    /// How many other tasks of the job had failed by then.
    pub other_failures: u64,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` task {}", self.function, self.task)?;
        if self.attempt > 1 {
            write!(f, " (attempt {})", self.attempt)?;
        }
        Ok(())
    }
}

/// An error of a remote call, a job, or of wren's own set-up.
///
/// Each failure class is a variant of its own, so that a program matches and never parses:
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
    /// Fix the function or its input; `cargo wren replay` runs the task again under a debugger. It is
    /// final, unless `retries` says how often to try again. [`downcast`](Error::downcast) gives the error's own value
    /// back, and `source` its causes, which the text has too.
    #[error("{attempt} returned an error: {message}{}", Causes(.source))]
    Returned {
        /// The attempt that returned it.
        attempt: Box<Attempt>,
        /// The error's `Display`, or its `Debug` where it has no `Display`.
        message: String,
        /// Its source, if it has one.
        source: Option<Box<Cause>>,
        /// The error's type, as `std::any::type_name` gives it.
        type_name: String,
        /// The error itself, for [`downcast`](Error::downcast).
        value: ErrorValue,
    },
    /// The function panicked.
    ///
    /// Mend the function; `cargo wren replay` runs the task again under a debugger. It is final, unless
    /// `retries` says how often to try again.
    #[error("{attempt} panicked at {location}: {message}")]
    Panicked {
        /// The attempt that panicked.
        attempt: Box<Attempt>,
        /// The panic's message.
        message: String,
        /// Source position, `file:line:column`.
        location: String,
        /// The backtrace, where `RUST_BACKTRACE` asks for one.
        backtrace: Option<String>,
    },
    /// The worker process ended under the function: a signal, `process::exit`, an abort, a stack overflow.
    ///
    /// It is tried again, three executions in all, since the machine may be at fault. Where it dies each
    /// time, the function does it: `cargo wren replay --local-pool` shows the same again.
    #[error("{attempt} lost its worker: {}{}", Death(.signal, .exit_code), Tail(&.attempt.stderr))]
    WorkerDied {
        /// The attempt that was running.
        attempt: Box<Attempt>,
        /// The signal that ended the process.
        signal: Option<i32>,
        /// The process's own exit code.
        exit_code: Option<i32>,
    },
    /// The worker used more memory than the function's `memory` allows, and was stopped.
    ///
    /// Raise `memory`, in the annotation or by `.memory(..)`, or do less in one call. It is not tried
    /// again.
    #[error(
        "{attempt} used {peak_mb} MB of memory, more than its limit of {limit_mb} MB; raise `#[wren::remote(memory = ..)]` or `.memory(..)`"
    )]
    OutOfMemory {
        /// The attempt that was stopped.
        attempt: Box<Attempt>,
        /// The limit, in MB of 2^20 bytes.
        limit_mb: u32,
        /// What was measured, in MB of 2^20 bytes.
        peak_mb: u32,
    },
    /// The function ran longer than its `timeout`, and was stopped.
    ///
    /// Raise `timeout`, in the annotation or by `.timeout(..)`, or do less in one call. It is not tried
    /// again.
    #[error(
        "{attempt} ran longer than its timeout of {limit:?}; raise `#[wren::remote(timeout = ..)]` or `.timeout(..)`"
    )]
    TimedOut {
        /// The attempt that was stopped.
        attempt: Box<Attempt>,
        /// The limit.
        limit: Duration,
    },
    /// The backend refused the attempt for too much load, more often than retries allow.
    ///
    /// Lower `.concurrency(..)`, or ask AWS to raise the account's concurrency; `cargo wren doctor` says
    /// what it is. Calls are sent again, more slowly each time, before this is an error.
    #[error("{attempt} was throttled by the backend: {message}; lower `.concurrency(..)` or raise the account's limit")]
    Throttled {
        /// The attempt that was refused.
        attempt: Box<Attempt>,
        /// The backend's words.
        message: String,
    },
    /// The backend took the attempt and never began it.
    ///
    /// Run the job again, by the same name where it was `named`. The call is sent again, three executions
    /// in all, before this is an error.
    #[error("{attempt} was not started within {waited:?}")]
    NeverStarted {
        /// The attempt that was lost.
        attempt: Box<Attempt>,
        /// How long the scheduler waited.
        waited: Duration,
    },
    /// A call that was to run at most once is not heard of any more: it ran, ran in part, or did not run.
    ///
    /// Find out what it has done; wren does not run it again. `cause` says what became of its worker.
    #[error("{attempt} is to run at most once, and is not run again; it may have run: {cause}")]
    MayHaveRun {
        /// The attempt that was lost.
        attempt: Box<Attempt>,
        /// How it was lost.
        cause: Box<Error>,
    },
    /// The deployed program is not this one.
    ///
    /// Run `cargo wren deploy`, or `WREN_BACKEND=local` to run here.
    #[error("the deployment is of another build: {} differ; run `cargo wren deploy`, or set WREN_BACKEND=local", .functions.join(", "))]
    StaleDeployment {
        /// Functions that are missing there or have another body or signature.
        functions: Vec<String>,
    },
    /// The store failed.
    ///
    /// What to do depends on the variant of [`StoreError`]. Where a worker saw it, the task is tried
    /// again, three executions in all.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Key-value storage failed.
    ///
    /// What to do depends on the variant of [`KvError`].
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The arguments could not be encoded, or not decoded by the worker.
    ///
    /// Make the argument's type one that gives the same back after encoding and decoding, by serde's
    /// derives for instance; or, where the worker is another build, deploy again.
    #[error("bad arguments for `{function}`: {reason}")]
    BadArguments {
        /// The remote function.
        function: String,
        /// Which argument, and why.
        reason: String,
    },
    /// The result could not be encoded by the worker, or not decoded by the driver.
    ///
    /// Make the result's type one that gives the same back after encoding and decoding, by serde's
    /// derives for instance. It is not tried again.
    #[error("{attempt} gave a result that cannot travel: {reason}")]
    BadResult {
        /// The attempt that gave it.
        attempt: Box<Attempt>,
        /// The codec's words.
        reason: String,
    },
    /// A value given to `put`, or read from a `Ref`, could not be encoded or decoded.
    ///
    /// Read a `Ref` with the type with which it was put, and put only what serde can encode.
    #[error("{reason}")]
    BadValue {
        /// The codec's words.
        reason: String,
    },
    /// An input cannot be found, split or read.
    ///
    /// Mend the path, the pattern or the file. A relative path is meant from where the program runs.
    #[error("input {path}: {reason}")]
    Input {
        /// The file, the object or the pattern.
        path: String,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// No remote function of that name is in this program.
    ///
    /// Where the function is in a library that no Rust path mentions, add `use that_crate as _;` to the
    /// program. Where the program is deployed, deploy it again.
    #[error("no remote function `{name}` is registered; registered are: {}; if it is in a dependency that no Rust path mentions, add `use that_crate as _;`", List(.registered))]
    UnknownFunction {
        /// The name that was asked for.
        name: String,
        /// All names there are.
        registered: Vec<String>,
    },
    /// Several remote functions have the name by which one was asked for.
    ///
    /// Calls are not affected: they know which function they are of. Add the place to the name, or rename the functions.
    #[error(
        "several remote functions are named `{name}`: at {}; say which, as `{name}@file:line:column`, or rename them",
        places.join(", ")
    )]
    DuplicateFunction {
        /// The name.
        name: String,
        /// Their source positions, each `file:line:column`.
        places: Vec<String>,
    },
    /// The job or call was cancelled.
    ///
    /// Nothing is wrong: somebody called `cancel`, pressed Ctrl-C, or dropped the job. Run again by the
    /// same name, a `named` job goes on where it was.
    #[error("the job was cancelled after {done} of its tasks were done")]
    Cancelled {
        /// Tasks that were done by then.
        done: u64,
    },
    /// The job would have passed its budget, and was stopped.
    ///
    /// Raise `.budget(..)`, or make the job cheaper. Run again by the same name, a `named` job goes on
    /// where it was.
    #[error(
        "the job was stopped at {spent}, {where_it_was} its budget of {budget}; {done} tasks were done",
        spent = dollars(*spent_usd),
        where_it_was = if spent_usd > budget_usd { "past" } else { "before it would pass" },
        budget = dollars(*budget_usd)
    )]
    OverBudget {
        /// The sum given to `.budget(..)`.
        budget_usd: f64,
        /// The estimate of what was spent.
        spent_usd: f64,
        /// Tasks that were done by then.
        done: u64,
    },
    /// A job cannot be resumed or attached to.
    ///
    /// The message says what the job is that was found, and what it would have to be: take another name,
    /// or the same functions and arguments as before.
    #[error("{0}")]
    Job(String),
    /// Configuration is wrong: `WREN_*`, `Wren.toml`, a URL or a builder.
    ///
    /// The message names the setting, and the values that it can have.
    #[error("{0}")]
    Config(String),
    /// The backend cannot work at all, for instance because no worker process starts.
    ///
    /// The message says what the system or AWS answered; `cargo wren doctor` looks for what is wrong with
    /// a deployment.
    #[error("{0}")]
    Backend(String),
}

impl Error {
    /// Refuses to work in a fork: it would write into what its parent uses.
    pub(crate) fn if_forked() -> Result<()> {
        if !crate::platform::is_forked() {
            return Ok(());
        }
        Err(Self::Backend(
            "this process is a fork of one that had called wren, whose threads and workers it does not have; call wren \
             only after the fork, or start a program in place of a fork"
                .to_owned(),
        ))
    }

    /// That this program was built without what it asks for.
    #[allow(dead_code, reason = "used wherever a feature is off")]
    pub(crate) fn left_out(what: &str, feature: &str) -> Self {
        let deploys = if feature == "aws" { "`cargo wren deploy` turns it on, or " } else { "" };
        Error::Config(format!(
            "{what} needs the feature `{feature}`, and this program was built without it: {deploys}`cargo add \
             wren-cloud --features {feature}`"
        ))
    }

    /// The error that the function returned, of its own type, where that is serializable and `E`.
    ///
    /// None for other types, for errors that encode to more than 64 KiB, and for all other variants.
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

    /// The attempt that failed, where the error belongs to one.
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

/// The text of `Display`: a `main` that returns an error prints this.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A cause of an error that a function returned: its text, for its type stayed with the worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Cause {
    message: String,
    source: Option<Box<Cause>>,
}

impl Cause {
    /// The causes of an error, outermost first.
    fn of(chain: Vec<String>) -> Option<Box<Self>> {
        chain.into_iter().rev().fold(None, |source, message| Some(Box::new(Self { message, source })))
    }
}

/// An error's own value, as it travels; see [`Error::downcast`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ErrorValue(Vec<u8>);

impl fmt::Debug for ErrorValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorValue({} bytes)", self.0.len())
    }
}

impl From<CodecError> for Error {
    fn from(error: CodecError) -> Self {
        Error::BadValue { reason: error.to_string() }
    }
}

/// How an attempt failed, as it travels from worker to driver. [`Failure::into_error`] adds the attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are those of the variant of `Error` of the same name")]
pub enum Failure {
    /// See [`Error::Returned`].
    Returned {
        message: String,
        chain: Vec<String>,
        type_name: String,
        /// Encoded, or empty where the error cannot be or is too long.
        #[serde(with = "codec::bytes")]
        value: Vec<u8>,
        /// Whether `retries` is for it.
        again: bool,
    },
    /// See [`Error::Panicked`].
    Panicked { message: String, location: String, backtrace: Option<String> },
    /// See [`Error::WorkerDied`].
    WorkerDied { signal: Option<i32>, exit_code: Option<i32> },
    /// See [`Error::OutOfMemory`].
    OutOfMemory { limit_mb: u32, peak_mb: u32 },
    /// See [`Error::TimedOut`].
    TimedOut { limit: Duration },
    /// See [`Error::Throttled`].
    Throttled { message: String },
    /// See [`Error::NeverStarted`].
    NeverStarted { waited: Duration },
    /// See [`Error::MayHaveRun`].
    MayHaveRun { cause: Box<Failure> },
    /// See [`Error::BadArguments`].
    BadArguments { reason: String },
    /// See [`Error::BadResult`].
    BadResult { reason: String },
    /// See [`Error::UnknownFunction`].
    UnknownFunction { registered: Vec<String> },
    /// See [`Error::StaleDeployment`].
    StaleDeployment { functions: Vec<String> },
    /// See [`Error::Store`].
    Store(StoreError),
    /// See [`Error::Backend`].
    Backend(String),
    /// See [`Error::Cancelled`].
    Cancelled,
}

/// Who is to blame, which decides what is retried by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The function said no: `Err` or a panic. Retried only where `retries` says so.
    Function,
    /// The machine went away under it: worker death, never started. Retried by default.
    Machine,
    /// Too much load. Retried by default, and the rate is lowered.
    Throttle,
    /// The store did not answer. Retried by default.
    Store,
    /// Running again gives the same: limits, bad arguments, another build. Never retried.
    Permanent,
}

impl Failure {
    /// The variant's name in snake case, as logs have it.
    pub fn name(&self) -> &'static str {
        match self {
            Failure::Returned { .. } => "returned",
            Failure::Panicked { .. } => "panicked",
            Failure::WorkerDied { .. } => "worker_died",
            Failure::OutOfMemory { .. } => "out_of_memory",
            Failure::TimedOut { .. } => "timed_out",
            Failure::Throttled { .. } => "throttled",
            Failure::NeverStarted { .. } => "never_started",
            Failure::MayHaveRun { .. } => "may_have_run",
            Failure::BadArguments { .. } => "bad_arguments",
            Failure::BadResult { .. } => "bad_result",
            Failure::UnknownFunction { .. } => "unknown_function",
            Failure::StaleDeployment { .. } => "stale_deployment",
            Failure::Store(_) => "store",
            Failure::Backend(_) => "backend",
            Failure::Cancelled => "cancelled",
        }
    }

    /// The class that decides on retries.
    pub fn class(&self) -> FailureClass {
        match self {
            Failure::Returned { again: false, .. } => FailureClass::Permanent,
            Failure::Returned { .. } | Failure::Panicked { .. } => FailureClass::Function,
            Failure::WorkerDied { .. } | Failure::NeverStarted { .. } => FailureClass::Machine,
            Failure::Throttled { .. } => FailureClass::Throttle,
            // What is full stays full.
            Failure::Store(StoreError::Full { .. }) => FailureClass::Permanent,
            Failure::Store(_) => FailureClass::Store,
            Failure::OutOfMemory { .. }
            | Failure::TimedOut { .. }
            | Failure::MayHaveRun { .. }
            | Failure::BadArguments { .. }
            | Failure::BadResult { .. }
            | Failure::UnknownFunction { .. }
            | Failure::StaleDeployment { .. }
            | Failure::Backend(_)
            | Failure::Cancelled => FailureClass::Permanent,
        }
    }

    /// The public error of this failure in the given attempt.
    pub fn into_error(self, attempt: Attempt) -> Error {
        let function = attempt.function.clone();
        let attempt = Box::new(attempt);
        match self {
            Failure::Returned { message, chain, type_name, value, .. } => {
                Error::Returned { attempt, message, source: Cause::of(chain), type_name, value: ErrorValue(value) }
            }
            Failure::Panicked { message, location, backtrace } => {
                Error::Panicked { attempt, message, location, backtrace }
            }
            Failure::WorkerDied { signal, exit_code } => Error::WorkerDied { attempt, signal, exit_code },
            Failure::OutOfMemory { limit_mb, peak_mb } => Error::OutOfMemory { attempt, limit_mb, peak_mb },
            Failure::TimedOut { limit } => Error::TimedOut { attempt, limit },
            Failure::Throttled { message } => Error::Throttled { attempt, message },
            Failure::NeverStarted { waited } => Error::NeverStarted { attempt, waited },
            Failure::MayHaveRun { cause } => {
                Error::MayHaveRun { cause: Box::new(cause.into_error((*attempt).clone())), attempt }
            }
            Failure::BadArguments { reason } => Error::BadArguments { function, reason },
            Failure::BadResult { reason } => Error::BadResult { attempt, reason },
            Failure::UnknownFunction { registered } => Error::UnknownFunction { name: function, registered },
            Failure::StaleDeployment { functions } => Error::StaleDeployment { functions },
            Failure::Store(error) => Error::Store(error),
            Failure::Backend(message) => Error::Backend(message),
            Failure::Cancelled => Error::Cancelled { done: 0 },
        }
    }
}

struct Causes<'a>(&'a Option<Box<Cause>>);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut causes = std::iter::successors(self.0.as_deref(), |cause| cause.source.as_deref());
        causes.try_for_each(|cause| write!(f, ": {cause}"))
    }
}

struct Death<'a>(&'a Option<i32>, &'a Option<i32>);

impl fmt::Display for Death<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(signal), _) => write!(f, "the process was ended by signal {signal}{}", name_of(*signal)),
            (None, Some(code)) => write!(f, "the process exited with code {code}"),
            (None, None) => write!(f, "the process ended"),
        }
    }
}

fn name_of(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 if cfg!(panic = "abort") => {
            " (SIGABRT: an abort, a stack overflow, or a panic: this program is built with `panic = \"abort\"`; \
             `unwind` makes panics errors of their own)"
        }
        6 => " (SIGABRT: an abort, or a stack overflow)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL: somebody killed it, or the kernel was short of memory)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

struct Tail<'a>(&'a str);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim_end() {
            "" => Ok(()),
            text => write!(f, "; its last words: {text}"),
        }
    }
}

struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(", ")) }
    }
}

/// A sum of money, with two digits that are not zero at least.
fn dollars(usd: f64) -> String {
    let decimals = (4..12).find(|decimals| usd == 0.0 || usd.abs() * 10f64.powi(*decimals) >= 10.0).unwrap_or(12);
    format!("{usd:.*} USD", decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_money_are_told_apart() {
        let told = |spent_usd, budget_usd| Error::OverBudget { budget_usd, spent_usd, done: 7 }.to_string();
        let before =
            "the job was stopped at 4.9990 USD, before it would pass its budget of 5.0000 USD; 7 tasks were done";
        assert_eq!(told(4.999, 5.0), before);
        let past = "the job was stopped at 0.0015 USD, past its budget of 0.000050 USD; 7 tasks were done";
        assert_eq!(told(0.0015, 0.00005), past);
        assert_eq!((dollars(0.0), dollars(1e-30)), ("0.0000 USD".to_owned(), "0.000000000000 USD".to_owned()));
    }
}
