//! The queue and counters of one job.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::done_set::DoneSet;
use super::{JobSpec, Progress, SchedulerConfig, Time};
use crate::attempt::TaskBlock;

/// Tasks that are ready to run, all of the same block and attempt.
#[derive(Debug, Clone)]
pub(super) struct ReadyTasks {
    pub(super) block: Arc<TaskBlock>,
    pub(super) tasks: Range<u64>,
    pub(super) attempt: u32,
    /// When the tasks became ready.
    pub(super) queued: Time,
}

/// Failure counts of a task that has failed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct FailureCounts {
    pub(super) function_failures: u32,
    pub(super) machine_failures: u32,
    pub(super) refusals: u32,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) spec: JobSpec,
    pub(super) ready: VecDeque<ReadyTasks>,
    pub(super) ready_tasks: u64,
    pub(super) done: DoneSet,
    pub(super) tried: HashMap<u64, FailureCounts>,
    pub(super) submitted: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) retried: u64,
    /// Tasks that the backend has, whether they run or wait at a worker.
    pub(super) running: u64,
    /// Calls that the job's batches run at once.
    pub(super) at_once: u64,
    /// Tasks that pause before a retry.
    pub(super) pausing: u64,
    pub(super) closed: bool,
    /// Whether the job is in the scheduler's `turns`.
    pub(super) in_turns: bool,
    pub(super) spent_usd: f64,
    pub(super) over_budget: bool,
    /// Whether any batch of the job was ever copied.
    pub(super) copied: bool,
    /// Whether no batch of the job may start, because the program does not take its results.
    pub(super) is_held: bool,
    /// When the first batch of unknown duration started, and how many have started so far.
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
            at_once: 0,
            pausing: 0,
            closed: false,
            in_turns: false,
            spent_usd: 0.0,
            over_budget: false,
            copied: false,
            is_held: false,
            probing: None,
        }
    }

    pub(super) fn add(&mut self, run: ReadyTasks) {
        self.ready_tasks += run.tasks.end - run.tasks.start;
        self.ready.push_back(run);
    }

    pub(super) fn add_first(&mut self, run: ReadyTasks) {
        self.ready_tasks += run.tasks.end - run.tasks.start;
        self.ready.push_front(run);
    }

    pub(super) fn is_over(&self) -> bool {
        self.closed && self.succeeded + self.failed == self.submitted
    }

    /// Returns the progress of the job, of which `calls` calls run.
    pub(super) fn progress(&self, calls: u64) -> Progress {
        let running = calls.min(self.running);
        Progress {
            submitted: self.submitted,
            done: self.succeeded,
            failed: self.failed,
            running,
            queued: self.ready_tasks + self.pausing + (self.running - running),
            retried: self.retried,
        }
    }

    /// Takes the tasks of the next batch, or returns `None` while a limit prevents it. For a job with a budget,
    /// `left_usd` is the part that neither past nor running batches use.
    pub(super) fn take_run(
        &mut self,
        mean: Option<Duration>,
        left_usd: Option<f64>,
        config: &SchedulerConfig,
    ) -> Option<ReadyTasks> {
        if self.is_held {
            return None;
        }
        let size = self.batch(mean, config)?;
        let front = self.ready.front()?;
        let mut count = size.min(front.tasks.end - front.tasks.start);
        if let Some(left) = left_usd {
            count = count.min(affordable(left, &front.block, mean, config));
            // No batch is running that could turn out cheaper than expected.
            self.over_budget |= count == 0 && self.running == 0;
        }
        if count == 0 {
            return None;
        }
        let front = self.ready.front_mut()?;
        let tasks = front.tasks.start..front.tasks.start + count;
        let run = ReadyTasks { block: front.block.clone(), tasks, attempt: front.attempt, queued: front.queued };
        front.tasks.start += count;
        if front.tasks.is_empty() {
            self.ready.pop_front();
        }
        self.ready_tasks -= count;
        self.running += count;
        self.at_once += config.at_once(&run.block, count);
        Some(run)
    }

    /// Returns whether the next batch must wait for the durations of the first ones; counts the batch otherwise.
    pub(super) fn probes(&mut self, now: Time, config: &SchedulerConfig) -> bool {
        let Some(probe) = config.probe else { return false };
        let (started, batches) = self.probing.get_or_insert((now, 0));
        if *batches >= probe.batches && now < started.saturating_add(probe.wait) {
            return true;
        }
        *batches += 1;
        false
    }

    /// Returns when the job stops waiting for the durations of the first batches.
    pub(super) fn probed_at(&self, config: &SchedulerConfig) -> Option<Time> {
        let (started, batches) = self.probing?;
        let probe = config.probe?;
        (batches >= probe.batches && !self.ready.is_empty()).then_some(started.saturating_add(probe.wait))
    }

    /// Returns the size of the next batch, or `None` if no task is ready or the concurrency limit is reached.
    fn batch(&self, mean: Option<Duration>, config: &SchedulerConfig) -> Option<u64> {
        let front = self.ready.front()?;
        let most = self.spec.concurrency.map_or(u64::MAX, |n| n.get() as u64);
        let room = most.saturating_sub(self.at_once);
        if room == 0 {
            return None;
        }
        let size = match (self.spec.chunk, mean) {
            // Ends at a multiple of the chunk size, even if part of a chunk was taken before.
            (Some(chunk), _) => {
                let chunk = chunk.get() as u64;
                chunk - front.tasks.start % chunk
            }
            _ if front.attempt > 1 => 1,
            (None, None) => 1,
            (None, Some(mean)) => {
                let tasks_in = |time: Duration| (time.as_nanos() / mean.as_nanos().max(1)) as u64;
                let workers = (config.workers.max(1) as u64).min(most);
                let share = self.ready_tasks.div_ceil(workers.saturating_mul(2));
                tasks_in(config.batch).min(share.max(tasks_in(config.least_batch))).clamp(1, config.max_batch)
            }
        };
        Some(if config.at_once(&front.block, size) > room { room } else { size })
    }

    /// Returns whether another batch of the job may start.
    pub(super) fn has_room(&self) -> bool {
        !self.is_held && self.spec.concurrency.is_none_or(|most| self.at_once < most.get() as u64)
    }
}

/// Returns how many calls of a block may start for `left_usd` dollars, given their expected duration.
fn affordable(left_usd: f64, block: &TaskBlock, mean: Option<Duration>, config: &SchedulerConfig) -> u64 {
    let each = config.usd(block, config.expected(block, mean));
    if each > 0.0 {
        // A count too large for `u64` is clamped to the maximum.
        return (left_usd / each).clamp(0.0, u64::MAX as f64) as u64;
    }
    u64::MAX
}
