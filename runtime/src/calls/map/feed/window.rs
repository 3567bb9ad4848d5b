//! The limit on calls that are taken ahead of the outcomes that the program has consumed.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;

use crate::config::processors;
use crate::executor::Settings;

/// Maximum number of tasks that are taken from the iterator and not consumed.
const WINDOW_TASKS: u64 = 256 << 10;

/// Size of waiting arguments, in bytes, above which only as many calls are taken as keep every worker busy; and maximum
/// size of waiting results.
const WINDOW_BYTES: usize = 64 << 20;

/// Size of waiting arguments, in bytes, above which only as many calls are taken as keep the processors of this machine
/// busy: keeping a thousand workers busy may need more memory than this process has.
const MOST_BYTES: usize = 1 << 30;

/// In a job with a concurrency limit, calls that take less than this in total are taken ahead together.
const TOGETHER: Duration = Duration::from_millis(1);

/// The tasks that are taken and not consumed, and how many of them there may be.
#[derive(Default)]
pub(super) struct Window {
    pub(super) taken: u64,
    pub(super) consumed: u64,
    /// Maximum number of tasks that are taken and not consumed, in a job with a concurrency limit.
    ahead: Option<u64>,
    /// Submitted arguments: by the first task of their block, the number of tasks that are not consumed, and the size
    /// in bytes.
    waiting: BTreeMap<u64, (u64, usize)>,
    waiting_bytes: usize,
}

impl Window {
    /// Returns whether no more calls may be taken. `results` is the size of the waiting results, in bytes.
    #[inline]
    pub(super) fn is_full(&self, workers: usize, results: usize) -> bool {
        let busy = 4 * workers as u64;
        let ahead = self.taken - self.consumed;
        let busy_enough = if self.waiting_bytes >= MOST_BYTES { busy.min(4 * processors() as u64) } else { busy };
        ahead >= self.ahead.unwrap_or(WINDOW_TASKS)
            || (self.waiting_bytes >= WINDOW_BYTES && ahead >= busy_enough)
            || results >= WINDOW_BYTES
    }

    /// Limits how many calls are taken ahead in a job with a concurrency limit: for each running call, one call waits,
    /// or `together` calls if that many are submitted together.
    pub(super) fn look_ahead(&mut self, settings: &Settings, together: u64) {
        let together = settings.chunk.map_or(together, |chunk| together.max(chunk.get() as u64));
        let ahead = |most: NonZeroUsize| (most.get() as u64).saturating_mul(2).saturating_mul(together);
        self.ahead = settings.concurrency.map(|most| ahead(most).min(WINDOW_TASKS));
    }

    /// Limits how many calls are taken ahead in a job with a concurrency limit, whose calls take `mean` each as far as
    /// is known.
    pub(super) fn look_ahead_by(&mut self, settings: &Settings, mean: Option<Duration>) {
        let mean = mean.map_or(TOGETHER, |mean| mean.max(Duration::from_nanos(1)));
        self.look_ahead(settings, (TOGETHER.as_nanos() / mean.as_nanos()).clamp(1, WINDOW_TASKS.into()) as u64);
    }

    /// Returns the number of submitted blocks that are not consumed.
    #[inline]
    pub(super) fn blocks(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn note_submitted(&mut self, tasks: Range<u64>, bytes: usize) {
        self.waiting.insert(tasks.start, (tasks.end - tasks.start, bytes));
        self.waiting_bytes += bytes;
    }

    /// Counts the arguments of a call whose earlier result is looked up.
    pub(super) fn note_lookups(&mut self, bytes: usize) {
        self.waiting_bytes += bytes;
    }

    /// Stops counting the arguments of calls whose earlier results were looked up.
    pub(super) fn forget_lookups(&mut self, bytes: usize) {
        self.waiting_bytes -= bytes;
    }

    pub(super) fn note_consumed(&mut self, tasks: &Range<u64>) {
        let mut next = tasks.start;
        while next < tasks.end {
            let Some((first, (left, bytes))) = self.waiting.range_mut(..=next).next_back() else { break };
            let first = *first;
            let count = (tasks.end - next).min(*left);
            *left -= count;
            next += count.max(1);
            if *left == 0 {
                self.waiting_bytes -= *bytes;
                self.waiting.remove(&first);
            }
        }
    }
}
