//! The memory of one worker: its peak, whether its running task exceeds a limit, and whether it keeps too much between
//! calls.

use std::sync::Once;
use std::time::Duration;

use crate::error::Failure;
use crate::platform::{self, ProcessMemory};
use crate::terminal;

/// Interval between reads of the memory of processes that functions started. The cost grows with their number.
const CHILDREN_EVERY: Duration = Duration::from_millis(50);

/// Interval between reads of a worker's peak memory: a read costs some microseconds.
const PEAK_EVERY: Duration = Duration::from_millis(20);

/// The memory of one worker, as far as the driver has read it.
pub(super) struct WatchedMemory {
    /// The peak, in bytes.
    peak: u64,
    peak_known_until: Duration,
    /// Memory of the processes that its functions started, in bytes.
    held_by_children: u64,
    children_known_until: Duration,
    /// The largest memory limit of its calls so far, in MB; `share_mb` counts as the limit of calls without one.
    /// Determines how much memory it may hold while it is idle.
    most_mb: u32,
    /// Its share of the machine's memory, in MB.
    share_mb: u32,
    growth_known_until: Duration,
}

impl WatchedMemory {
    /// `share_mb` is the worker's share of the machine's memory, in MB.
    pub(super) fn new(share_mb: u32) -> Self {
        Self {
            peak: 0,
            peak_known_until: Duration::ZERO,
            held_by_children: 0,
            children_known_until: Duration::ZERO,
            most_mb: 0,
            share_mb,
            growth_known_until: Duration::ZERO,
        }
    }

    /// Returns the peak, in bytes.
    pub(super) fn peak(&mut self, worker: &ProcessMemory, now: Duration) -> u64 {
        if now >= self.peak_known_until {
            self.peak_known_until = now + PEAK_EVERY;
            self.peak = worker.peak();
        }
        self.peak
    }

    /// Returns the failure if the running task has exceeded its memory. `before` returns the memory that the worker
    /// held before the task, in bytes.
    pub(super) fn over_limit(
        &mut self,
        worker: &ProcessMemory,
        limit_mb: u32,
        before: impl FnOnce() -> u64,
        now: Duration,
    ) -> Option<Failure> {
        if now >= self.children_known_until {
            self.children_known_until = now + CHILDREN_EVERY;
            self.held_by_children = worker.held_by_children();
        }
        let limit = u64::from(limit_mb) << 20;
        // The resident memory is at least the memory that counts, and is cheaper to read.
        if worker.now().saturating_add(self.held_by_children) <= limit {
            return None;
        }
        // The baseline is read first: if the next task starts in between, its memory is counted, not taken off.
        let before = before();
        let used = worker.held().saturating_sub(before).saturating_add(self.held_by_children);
        let peak_mb = u32::try_from(used.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        (used > limit).then_some(Failure::OutOfMemory { limit_mb, peak_mb })
    }

    /// Returns whether calls, the last of them with the limit `limit_mb`, left too much memory in use, so that the
    /// worker must be replaced.
    pub(super) fn has_grown(&mut self, worker: &ProcessMemory, limit_mb: Option<u32>, now: Duration) -> bool {
        if now < self.growth_known_until {
            return false;
        }
        self.growth_known_until = now + PEAK_EVERY;
        self.most_mb = self.most_mb.max(limit_mb.unwrap_or(self.share_mb));
        worker.private() > (u64::from(self.most_mb) << 20) / 5 * 4
    }
}

/// Prints a note, once per process, if a call has a memory limit that is not enforced.
pub(super) fn note_unenforced_limit(limit_mb: Option<u32>, worker: &ProcessMemory) {
    static NOTED: Once = Once::new();
    if let Some(note) = platform::unenforced_limit(limit_mb, worker) {
        NOTED.call_once(|| terminal::note(note));
    }
}
