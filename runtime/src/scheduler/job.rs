//! One job's queue and counts.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::done_set::DoneSet;
use super::{Config, JobSpec, Progress, Time};
use crate::block::Block;

/// Tasks that may run: all of one block and at one attempt.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) block: Arc<Block>,
    pub(super) tasks: Range<u64>,
    pub(super) attempt: u32,
    /// Since when they may run.
    pub(super) queued: Time,
}

/// What is known of a task that has failed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tried {
    pub(super) function_failures: u32,
    pub(super) machine_failures: u32,
    pub(super) refusals: u32,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) spec: JobSpec,
    pub(super) ready: VecDeque<Run>,
    pub(super) ready_tasks: u64,
    pub(super) done: DoneSet,
    pub(super) tried: HashMap<u64, Tried>,
    pub(super) submitted: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) retried: u64,
    pub(super) running: u64,
    /// Retries whose time has not come.
    pub(super) pausing: u64,
    pub(super) closed: bool,
    /// Whether the scheduler's turns have it.
    pub(super) in_turns: bool,
    pub(super) spent_usd: f64,
    pub(super) over_budget: bool,
    /// Whether any of its tasks was ever given a second flight.
    pub(super) copied: bool,
    /// What flights under way are expected to cost, by the task.
    committed_usd: f64,
    /// When its first invocation began, and how many have since.
    probing: Option<(Time, usize)>,
}

impl Job {
    pub(super) fn new(spec: JobSpec) -> Self {
        Self {
            spec,
            ready: VecDeque::new(),
            ready_tasks: 0,
            done: DoneSet::default(),
            tried: HashMap::new(),
            submitted: 0,
            succeeded: 0,
            failed: 0,
            retried: 0,
            running: 0,
            pausing: 0,
            closed: false,
            in_turns: false,
            spent_usd: 0.0,
            over_budget: false,
            copied: false,
            committed_usd: 0.0,
            probing: None,
        }
    }

    pub(super) fn add(&mut self, run: Run) {
        self.ready_tasks += run.tasks.end - run.tasks.start;
        self.ready.push_back(run);
    }

    pub(super) fn add_first(&mut self, run: Run) {
        self.ready_tasks += run.tasks.end - run.tasks.start;
        self.ready.push_front(run);
    }

    pub(super) fn is_over(&self) -> bool {
        self.closed && self.succeeded + self.failed == self.submitted
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            submitted: self.submitted,
            done: self.succeeded,
            failed: self.failed,
            running: self.running,
            queued: self.ready_tasks + self.pausing,
            retried: self.retried,
        }
    }

    /// Takes the tasks of the next invocation; none while a limit holds them up.
    pub(super) fn take_run(&mut self, mean: Option<Duration>, config: &Config) -> Option<Run> {
        let size = self.batch(mean, config)?;
        let front = self.ready.front_mut()?;
        let count = size.min(front.tasks.end - front.tasks.start);
        let tasks = front.tasks.start..front.tasks.start + count;
        let run = Run { block: front.block.clone(), tasks, attempt: front.attempt, queued: front.queued };
        if !self.fits_budget(&run, mean, config) {
            return None;
        }
        let front = self.ready.front_mut()?;
        front.tasks.start += count;
        if front.tasks.is_empty() {
            self.ready.pop_front();
        }
        self.ready_tasks -= count;
        self.running += count;
        Some(run)
    }

    /// Whether the next invocation waits for what the first ones tell; counts it if it does not.
    pub(super) fn probes(&mut self, now: Time, config: &Config) -> bool {
        let Some(probe) = config.probe else { return false };
        let (begun, flights) = self.probing.get_or_insert((now, 0));
        if *flights >= probe.flights && now < begun.saturating_add(probe.wait) {
            return true;
        }
        *flights += 1;
        false
    }

    /// When it waits no longer for what the first invocations tell.
    pub(super) fn probed_at(&self, config: &Config) -> Option<Time> {
        let (begun, flights) = self.probing?;
        let probe = config.probe?;
        (flights >= probe.flights && !self.ready.is_empty()).then_some(begun.saturating_add(probe.wait))
    }

    /// How many tasks the next invocation has.
    fn batch(&self, mean: Option<Duration>, config: &Config) -> Option<u64> {
        let front = self.ready.front()?;
        let room = self.spec.concurrency.map_or(u64::MAX, |n| (n.get() as u64).saturating_sub(self.running));
        let size = match (self.spec.chunk, mean) {
            // Back on the grid of chunks, if something was taken out of one.
            (Some(chunk), _) => {
                let chunk = chunk.get() as u64;
                chunk - front.tasks.start % chunk
            }
            _ if front.attempt > 1 => 1,
            (None, None) => 1,
            (None, Some(mean)) => {
                let tasks_in = |time: Duration| (time.as_nanos() / mean.as_nanos().max(1)) as u64;
                let share = self.ready_tasks.div_ceil(2 * config.workers.max(1) as u64);
                tasks_in(config.batch).min(share.max(tasks_in(config.least_batch))).clamp(1, config.max_batch)
            }
        };
        // Chunks stay whole: one that is larger than the limit runs alone.
        let fits = self.spec.chunk.is_none() || size <= room || self.running == 0;
        let size = if self.spec.chunk.is_some() { size } else { size.min(room) };
        (fits && size > 0).then_some(size)
    }

    /// Whether the budget allows the run, by the mean duration or else the timeout. If it does not
    /// and nothing runs that could turn out cheaper, the job is over budget.
    fn fits_budget(&mut self, run: &Run, mean: Option<Duration>, config: &Config) -> bool {
        let Some(budget) = self.spec.budget_usd else { return true };
        let limits = run.block.limits();
        let rate = (config.usd_per_second)(limits.memory_mb);
        let each = rate * mean.or(limits.timeout).or(config.longest_invocation).unwrap_or_default().as_secs_f64();
        let expected = self.spent_usd + each * (self.running + run.tasks.end - run.tasks.start) as f64;
        self.committed_usd = expected - self.spent_usd;
        let fits = expected <= budget;
        self.over_budget = !fits && self.running == 0;
        fits
    }
}
