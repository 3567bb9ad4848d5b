//! How many batches a backend that refuses some may have: additive increase, multiplicative
//! decrease, as TCP does (RFC 5681). It halves less and grows faster than TCP: a round here is as long
//! as a task, and a thousand slots that came back one a round would take hours.

use std::time::Duration;

use super::Time;

/// After a refusal nothing begins for this long, and further refusals are taken for the same one.
const ROUND: Duration = Duration::from_millis(50);

/// What a refusal leaves of the window: as TCP CUBIC has it (RFC 9438).
const DECREASE: f64 = 0.7;

/// What a round of completions gives back, as a part of all slots: all of them in 20 rounds.
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

    /// Whether another batch may begin beside `running`.
    pub(super) fn admits(&self, running: usize, now: Time) -> bool {
        !self.refused || ((running as f64) < self.size.floor() && (now >= self.closed_until || running == 0))
    }

    /// The backend refused one.
    pub(super) fn refused(&mut self, now: Time) {
        if !self.refused || now >= self.closed_until {
            self.size = (self.size * DECREASE).max(1.0);
            self.closed_until = now + ROUND;
        }
        self.refused = true;
    }

    /// The backend completed one: a window of these makes a round.
    pub(super) fn admitted(&mut self) {
        if self.refused {
            self.size += (self.most * INCREASE).max(1.0) / self.size;
            if self.size >= self.most {
                self.size = self.most;
                self.refused = false;
            }
        }
    }

    /// When batches may begin again, if that is not now.
    pub(super) fn reopens(&self) -> Option<Time> {
        self.refused.then_some(self.closed_until)
    }
}
