//! Limited capacities in virtual time: a rate of operations, and a number of operations at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A token bucket, which refills over time.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    holds: f64,
    most: f64,
    per_second: f64,
    at: Duration,
}

impl Bucket {
    pub(super) fn full(most: f64, per_second: f64) -> Self {
        Self { holds: most, most, per_second, at: Duration::ZERO }
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.holds = (self.holds + passed * self.per_second).min(self.most);
        self.at = now;
    }

    pub(super) fn has_one(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.holds >= 1.0
    }

    pub(super) fn take(&mut self) {
        self.holds -= 1.0;
    }
}

/// A fixed number of places. Each operation occupies the first place that is free.
#[derive(Debug)]
pub(super) struct Places {
    taken_until: BinaryHeap<Reverse<Duration>>,
    places: usize,
}

impl Places {
    pub(super) fn new(places: usize) -> Self {
        Self { taken_until: BinaryHeap::new(), places: places.max(1) }
    }

    /// Occupies a place, now or when the first one is free, for the duration `takes`. Returns when that ends.
    pub(super) fn finish_at(&mut self, now: Duration, takes: Duration) -> Duration {
        let starts = match self.taken_until.len() < self.places {
            true => now,
            false => self.taken_until.pop().map_or(now, |Reverse(free)| free.max(now)),
        };
        self.taken_until.push(Reverse(starts + takes));
        starts + takes
    }
}
