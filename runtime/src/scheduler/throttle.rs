//! A limit on the batches of a backend that refuses some of them: additive increase, multiplicative decrease, as in
//! TCP (RFC 5681). The window shrinks less and grows faster than TCP's: a round here is as long as a task, and
//! regaining a thousand slots at one per round would take hours.

use std::time::Duration;

use super::Time;

/// After a refusal, no batch starts for this long, and further refusals count as the same one.
const ROUND: Duration = Duration::from_millis(50);

/// Fraction of the window that remains after a refusal, as in TCP CUBIC (RFC 9438).
const DECREASE: f64 = 0.7;

/// Fraction of all slots that a round of completions regains: all of them in 20 rounds.
const INCREASE: f64 = 0.05;

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

    /// Returns whether another batch may start while `running` batches run.
    pub(super) fn admits(&self, running: usize, now: Time) -> bool {
        !self.refused || ((running as f64) < self.size.floor() && (now >= self.closed_until || running == 0))
    }

    /// Records that the backend refused a batch.
    pub(super) fn refused(&mut self, now: Time) {
        if !self.refused || now >= self.closed_until {
            self.size = (self.size * DECREASE).max(1.0);
            self.closed_until = now + ROUND;
        }
        self.refused = true;
    }

    /// Records that the backend completed a batch. A round is as many completions as the window has batches.
    pub(super) fn admitted(&mut self) {
        if self.refused {
            self.size += (self.most * INCREASE).max(1.0) / self.size;
            if self.size >= self.most {
                self.size = self.most;
                self.refused = false;
            }
        }
    }

    /// Returns when batches may start again after a refusal.
    pub(super) fn reopens(&self) -> Option<Time> {
        self.refused.then_some(self.closed_until)
    }
}
