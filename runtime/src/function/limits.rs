//! Limits of calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Backoff, RemoteFn};

/// A limit on the time of each call: a [`Duration`], or a number of seconds, as in the annotation's `timeout = 60`.
///
/// ```
/// use std::time::Duration;
///
/// #[wren::remote(timeout = 60)]
/// fn square(x: u64) -> u64 { x * x }
///
/// # wren::block_on(async {
/// square(1).timeout(90).await?;
/// square(2).timeout(0.5).await?;
/// wren::map(square, 0..5).timeout(Duration::from_secs(90)).await?;
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a time limit",
    label = "expected a `Duration` or a number of seconds",
    note = "write `.timeout(60)`, `.timeout(0.5)`, or `.timeout(Duration::from_millis(500))`"
)]
pub trait Timeout {
    /// Returns the limit. A negative number of seconds is treated as 0.
    fn into_duration(self) -> Duration;
}

impl Timeout for Duration {
    fn into_duration(self) -> Duration {
        self
    }
}

/// Seconds. No other integer type is a limit, so that the compiler takes a literal such as `60` as this type.
impl Timeout for u64 {
    fn into_duration(self) -> Duration {
        Duration::from_secs(self)
    }
}

/// Seconds.
impl Timeout for f64 {
    fn into_duration(self) -> Duration {
        // More seconds than a `Duration` can have.
        let too_many = if self > 0.0 { Duration::MAX } else { Duration::ZERO };
        Duration::try_from_secs_f64(self).unwrap_or(too_many)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_duration_or_a_number_of_seconds() {
        let limit = |timeout: f64| timeout.into_duration();
        assert_eq!(Timeout::into_duration(60), Duration::from_secs(60));
        assert_eq!(limit(0.5), Duration::from_millis(500));
        assert_eq!(limit(-1.0), Duration::ZERO);
        assert_eq!(limit(f64::NAN), Duration::ZERO);
        assert_eq!(limit(f64::INFINITY), Duration::MAX);
        assert_eq!(limit(1e300), Duration::MAX);
    }
}
