//! How many invocations a backend that refuses some may have: additive increase, multiplicative
//! decrease, as TCP does (RFC 5681).

use std::time::Duration;

use super::Time;

/// After a refusal nothing begins for this long, and further refusals are taken for the same one.
const ROUND: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Window {
    most: f64,
    size: f64,
    closed_until: Time,
    refused: bool,
}

impl Window {
    pub(super) fn new(slots: usize) -> Self {
        Self { most: slots as f64, size: slots as f64, closed_until: Time::ZERO, refused: false }
    }

    /// Whether another invocation may begin beside `running`.
    pub(super) fn admits(&self, running: usize, now: Time) -> bool {
        !self.refused || ((running as f64) < self.size.floor() && (now >= self.closed_until || running == 0))
    }

    /// The backend refused one.
    pub(super) fn refused(&mut self, now: Time) {
        if !self.refused || now >= self.closed_until {
            self.size = (self.size / 2.0).max(1.0);
            self.closed_until = now + ROUND;
        }
        self.refused = true;
    }

    /// The backend completed one: the window grows by one for each window of these.
    pub(super) fn admitted(&mut self) {
        if self.refused {
            self.size += 1.0 / self.size;
            if self.size >= self.most {
                self.size = self.most;
                self.refused = false;
            }
        }
    }

    /// When invocations may begin again, if that is not now.
    pub(super) fn reopens(&self) -> Option<Time> {
        self.refused.then_some(self.closed_until)
    }
}
