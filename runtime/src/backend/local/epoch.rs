//! The conversion between the scheduler's clock and the clock that is shared with workers.

use std::time::{Duration, Instant};

use crate::platform::monotonic;

/// The start of the scheduler's clock, in nanoseconds on the clock that is shared with workers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch(u64);

impl Epoch {
    pub(super) fn new(clock: Instant) -> Self {
        Self(monotonic().saturating_sub(clock.elapsed().as_nanos() as u64))
    }

    /// Converts a worker's time to the scheduler's clock.
    pub(super) fn time(self, at: u64) -> Duration {
        Duration::from_nanos(at.saturating_sub(self.0))
    }

    /// Converts the scheduler's time to the clock that is shared with workers.
    pub(super) fn at(self, time: Duration) -> u64 {
        self.0.saturating_add(time.as_nanos() as u64)
    }
}
