//! What the scheduler reports about an attempt, and its times in the log.

use std::time::Duration;

use super::{Times, seconds};
use crate::attempt::Timing;
use crate::scheduler::{self, DispatchTimes};

/// An attempt that ended, as reported by the scheduler.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TaskReport {
    /// Attempt number, counted from 1.
    pub(crate) attempt: u32,
    /// Name of the function, if the attempt failed.
    pub(crate) function: &'static str,
    pub(crate) sent: DispatchTimes,
    pub(crate) timing: Timing,
}

impl TaskReport {
    /// Returns how the time of the attempt was spent. The run started at `started_at`, and the outcome arrived `now`
    /// microseconds later. Points in time are rounded first, and durations are the differences between them, so that
    /// all durations add up.
    pub(super) fn times(&self, started_at: scheduler::Time, now: u64) -> Times {
        let Self { sent, timing, .. } = self;
        let us = |duration: Duration| duration.as_micros() as u64;
        let since_start = |time: scheduler::Time| us(time.saturating_sub(started_at)).min(now);
        let queued = since_start(sent.queued);
        let invoked = since_start(sent.invoked.max(timing.free)).max(queued);
        let mut times = Times {
            queued: seconds(queued),
            invoked: seconds(invoked),
            worker: timing.worker,
            cold: timing.cold,
            sent_values: timing.sent_values.into(),
            sent_bytes: timing.sent_bytes,
            ..Times::default()
        };
        let is_remote = timing.remote.is_some();
        let started = since_start(timing.started).max(invoked);
        let mut reached = started;
        let mut moment = timing.started;
        let mut until = |duration: Duration| {
            // The clock of another machine has no points in time here.
            if is_remote {
                return us(duration);
            }
            moment += duration;
            let before = reached;
            reached = since_start(moment).max(before);
            reached - before
        };
        times.setup_us = us(timing.setup);
        if !is_remote {
            times.started = seconds(started);
            times.setup_us = times.setup_us.min(started - invoked);
        }
        times.fetch_us = until(timing.fetch);
        times.turn_us = until(timing.turn);
        times.decode_us = until(timing.decode);
        times.compute_us = until(timing.compute);
        times.encode_us = until(timing.encode);
        times.commit_us = until(timing.commit);
        times
    }
}

/// The sizes of the arguments and results of tasks that succeeded, in bytes. See the fields of [`Event::Done`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sizes {
    pub(crate) bytes_in: usize,
    pub(crate) large_in: u64,
    pub(crate) bytes_out: usize,
}
