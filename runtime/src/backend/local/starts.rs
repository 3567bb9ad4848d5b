//! The starts of a pool's workers: how many have failed in a row, when the next one may be, and why the pool gave up.

use std::time::Duration;

use super::process::START_LIMIT;
use super::supervisor::Exit;
use crate::function::Backoff;

/// The pool gives up after this number of consecutive workers have ended by themselves before their first call.
const FALSE_STARTS: u32 = 3;

/// A pool without workers gives up after this number of consecutive failed starts. A start fails if the system lacks a
/// resource, or if the worker is killed before its first call. The pauses between these starts add up to about two
/// seconds.
const REFUSALS: u32 = 9;
/// Pauses after failed starts.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(10)).longest(Duration::from_secs(1)).without_jitter();

/// Time until a pool that gave up tries again.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// The starts of a pool so far, and whether there may be another.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// Number of consecutive workers that ended by themselves before their first call.
    false_starts: u32,
    /// Number of consecutive failed starts.
    refusals: u32,
    /// Earliest time of the next start.
    next: Duration,
    /// Why the pool gave up, and until when batches fail for that reason.
    broken: Option<(String, Duration)>,
}

impl Starts {
    /// Whether there may be a start now.
    pub(super) fn may_start(&self, now: Duration) -> bool {
        now >= self.next
    }

    /// Returns the maximum number of workers that may be starting at once if `waiting` batches wait.
    pub(super) fn most(&self, waiting: usize) -> usize {
        // After a failure, workers are started one at a time.
        if self.refusals > 0 || self.false_starts > 0 { 1 } else { waiting }
    }

    /// Whether the last start failed.
    pub(super) fn last_failed(&self) -> bool {
        self.refusals > 0
    }

    /// Returns why the pool gave up, unless it may try again now.
    pub(super) fn gave_up(&mut self, now: Duration) -> Option<&str> {
        self.broken = self.broken.take().filter(|(_, until)| now < *until);
        self.broken.as_ref().map(|(why, _)| why.as_str())
    }

    /// Records a worker that accepted batches.
    pub(super) fn succeeded(&mut self) {
        (self.false_starts, self.refusals) = (0, 0);
    }

    /// Records a worker that was killed because it did not accept batches in time.
    pub(super) fn record_late_start(&mut self, now: Duration) {
        self.give_up(
            format!(
                "a worker process did not reach `wren::init()` within {} seconds and was killed; the code that the \
                 program runs before it must finish in a worker too; make `wren::init()` the first line of `main`",
                START_LIMIT.as_secs()
            ),
            now,
        );
    }

    /// Records a worker that ended by itself before its first call.
    pub(super) fn record_early_exit(&mut self, exit: &Exit, now: Duration) {
        self.false_starts += 1;
        if self.false_starts >= FALSE_STARTS {
            let why = format!(
                "{FALSE_STARTS} worker processes in a row ended before their first call; the last one {}; check \
                 that `#[wren::main]` is on `main`, or that `wren::init()` is its first line",
                exit.describe()
            );
            self.give_up(why, now);
        }
    }

    /// Records a failed start. The next one, after a pause, may succeed.
    pub(super) fn refused(&mut self, why: &str, now: Duration) {
        self.refusals += 1;
        self.next = now + PAUSES.pause(self.refusals, &mut fastrand::Rng::new());
        if self.refusals >= REFUSALS {
            self.give_up(
                format!("cannot start a worker process; {REFUSALS} starts failed in a row, the last one: {why}"),
                now,
            );
        }
    }

    /// Makes waiting and new batches fail for a while, unless there is a worker.
    fn give_up(&mut self, why: String, now: Duration) {
        (self.refusals, self.false_starts) = (0, 0);
        self.broken = Some((why, now + GIVEN_UP));
    }
}
