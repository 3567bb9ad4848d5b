//! Limits of calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Backoff, RemoteFn};

/// The limits of a call, from its annotation and its builder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the worker, in MB of 2^20 bytes.
    pub memory_mb: Option<u32>,
    /// Maximum time of one attempt.
    pub timeout: Option<Duration>,
    /// Number of times that the call is run again after an `Err` or a panic.
    pub retries: Option<u32>,
    /// The pauses before the call is run again.
    pub backoff: Option<Backoff>,
    /// Whether the call is never run again, whatever happened to its first attempt.
    pub at_most_once: bool,
}

impl Limits {
    /// Returns the limits of the annotation.
    pub fn of(function: &RemoteFn) -> Self {
        Self {
            memory_mb: function.memory_mb,
            timeout: function.timeout,
            retries: function.retries,
            backoff: function.backoff,
            at_most_once: function.at_most_once,
        }
    }

    /// Returns these limits, replaced by those that `job` sets.
    pub(crate) fn under(self, job: &Self) -> Self {
        Self {
            memory_mb: job.memory_mb.or(self.memory_mb),
            timeout: job.timeout.or(self.timeout),
            retries: job.retries.or(self.retries),
            backoff: job.backoff.or(self.backoff),
            at_most_once: job.at_most_once || self.at_most_once,
        }
    }
}
