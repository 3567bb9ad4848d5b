//! Limits of calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Backoff, RemoteFn};

/// What a call may use, from its annotation and its builder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the worker, in MB of 2^20 bytes.
    pub memory_mb: Option<u32>,
    /// Time of one execution.
    pub timeout: Option<Duration>,
    /// How often an `Err` or a panic is run again.
    pub retries: Option<u32>,
    /// The pauses before that.
    pub backoff: Option<Backoff>,
    /// Whether it is never run again, whatever became of it.
    pub at_most_once: bool,
}

impl Limits {
    /// The limits of the annotation.
    pub fn of(function: &RemoteFn) -> Self {
        Self {
            memory_mb: function.memory_mb,
            timeout: function.timeout,
            retries: function.retries,
            backoff: function.backoff,
            at_most_once: function.at_most_once,
        }
    }

    /// These limits, and in their place those that `job` says.
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
