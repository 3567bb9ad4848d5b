//! Failures of attempts, as workers report them and retries see them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Attempt, Cause, Error, ErrorValue, StoreError};
use crate::codec;

/// The failure of an attempt, as the worker sends it to the driver. [`Failure::into_error`] adds the attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are those of the variant of `Error` of the same name")]
pub enum Failure {
    /// See [`Error::Returned`].
    Returned {
        message: String,
        chain: Vec<String>,
        type_name: String,
        /// The encoded error; empty if it cannot be encoded or is too long.
        #[serde(with = "codec::bytes")]
        value: Vec<u8>,
        /// Whether `retries` applies to the error.
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

/// The class of a failure, which decides whether it is retried by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The function failed: it returned `Err` or panicked. Retried only if `retries` is set.
    Function,
    /// The machine failed: the worker died, or the attempt never started. Retried by default.
    Machine,
    /// The backend had too much load. Retried by default, at a lower rate.
    Throttle,
    /// The store failed. Retried by default.
    Store,
    /// Another attempt does not help or is not allowed: limits, bad arguments, another build. Never retried.
    Permanent,
}

impl Failure {
    /// Returns the variant's name in snake case, as used in logs.
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

    /// Returns the class, which decides on retries.
    pub fn class(&self) -> FailureClass {
        match self {
            Failure::Returned { again: false, .. } => FailureClass::Permanent,
            Failure::Returned { .. } | Failure::Panicked { .. } => FailureClass::Function,
            Failure::WorkerDied { .. } | Failure::NeverStarted { .. } => FailureClass::Machine,
            Failure::Throttled { .. } => FailureClass::Throttle,
            // A retry does not make room in a full store.
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

    /// Returns the backtrace of the panic, if the failure is one and has it.
    pub(crate) fn backtrace(&self) -> Option<&str> {
        match self {
            Failure::Panicked { backtrace, .. } => backtrace.as_deref(),
            Failure::MayHaveRun { cause } => cause.backtrace(),
            _ => None,
        }
    }

    /// Converts the failure into the public error of the given attempt.
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
