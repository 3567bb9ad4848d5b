//! One job's queue and counts.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::done_set::DoneSet;
use super::{JobSpec, Progress, SchedulerConfig, Time};
use crate::attempt::TaskBlock;

/// Tasks that may run: all of one block and at one attempt.
#[derive(Debug, Clone)]
pub(super) struct ReadyTasks {
    pub(super) block: Arc<TaskBlock>,
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
    pub(super) ready: VecDeque<ReadyTasks>,
    pub(super) ready_tasks: u64,
    pub(super) done: DoneSet,
    pub(super) tried: HashMap<u64, Tried>,
    pub(super) submitted: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) retried: u64,
    pub(super) running: u64,
    /// Calls that its batches run at once.
    pub(super) at_once: u64,
    /// Retries whose time has not come.
    pub(super) pausing: u64,
    pub(super) closed: bool,
    /// Whether the scheduler's turns have it.
    pub(super) in_turns: bool,
    pub(super) spent_usd: f64,
    pub(super) over_budget: bool,
    /// Whether any of its tasks was ever given a second batch.
    pub(super) copied: bool,
    /// Whether nothing of it begins, for nobody takes its results.
    pub(super) is_held: bool,
    /// When its first batch began, and how many have since.
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

    /// Takes the tasks of the next batch; none while a limit holds them up. `left_usd` is what may be spent
    /// beside what is under way, of a job with a budget.
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
            // Nothing runs that could turn out cheaper.
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

    /// Whether the next batch waits for what the first ones tell; counts it if it does not.
    pub(super) fn probes(&mut self, now: Time, config: &SchedulerConfig) -> bool {
        let Some(probe) = config.probe else { return false };
        let (begun, batches) = self.probing.get_or_insert((now, 0));
        if *batches >= probe.batches && now < begun.saturating_add(probe.wait) {
            return true;
        }
        *batches += 1;
        false
    }

    /// When it waits no longer for what the first batches tell.
    pub(super) fn probed_at(&self, config: &SchedulerConfig) -> Option<Time> {
        let (begun, batches) = self.probing?;
        let probe = config.probe?;
        (batches >= probe.batches && !self.ready.is_empty()).then_some(begun.saturating_add(probe.wait))
    }

    /// How many tasks the next batch has.
    fn batch(&self, mean: Option<Duration>, config: &SchedulerConfig) -> Option<u64> {
        let front = self.ready.front()?;
        let most = self.spec.concurrency.map_or(u64::MAX, |n| n.get() as u64);
        let room = most.saturating_sub(self.at_once);
        if room == 0 {
            return None;
        }
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
                let workers = (config.workers.max(1) as u64).min(most);
                let share = self.ready_tasks.div_ceil(workers.saturating_mul(2));
                tasks_in(config.batch).min(share.max(tasks_in(config.least_batch))).clamp(1, config.max_batch)
            }
        };
        Some(if config.at_once(&front.block, size) > room { room } else { size })
    }

    /// Whether another of its batches may begin.
    pub(super) fn has_room(&self) -> bool {
        !self.is_held && self.spec.concurrency.is_none_or(|most| self.at_once < most.get() as u64)
    }
}

/// How many calls of a block may begin for so many dollars, by what each is expected to take.
fn affordable(left_usd: f64, block: &TaskBlock, mean: Option<Duration>, config: &SchedulerConfig) -> u64 {
    let each = config.usd(block, config.expected(block, mean));
    if each > 0.0 {
        // A count above what fits is as good as the largest.
        return (left_usd / each).clamp(0.0, u64::MAX as f64) as u64;
    }
    u64::MAX
}
