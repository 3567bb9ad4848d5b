//! Decides what runs when: the queue, retries, concurrency, throttling, speculation, budgets.
//!
//! A state machine: calls and replies go in with the time, batches and [`Update`]s come out.
//! It does no I/O, knows no backend and reads no clock, so that a test runs it in virtual time. Work
//! is held as ranges of tasks, and only what has failed is known by the task: the cost of a large
//! job is that of its batches.

mod budget;
mod done_set;
mod in_flight;
mod job;
mod ranges;
mod retry;
#[cfg(test)]
mod tests;
mod throttle;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::attempt::{Batch, BatchId, Reply, Results, TaskBlock, Timing};
use crate::error::Failure;
use crate::function::Backoff;

use in_flight::InFlight;
use job::{Job, ReadyTasks};
use retry::Retries;
use throttle::Window;

/// A moment, as the time since some fixed start.
pub type Time = Duration;

/// Names one job among all of a scheduler's.
pub type JobKey = u64;

/// What a scheduler is to know from the start.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Batches that the backend takes at once.
    pub slots: usize,
    /// Functions that run at once; slots beyond them hold work ready at the workers.
    pub workers: usize,
    /// Executions of a task whose failures are the machine's or the store's.
    pub attempts: u32,
    /// The pauses before a task is run again that says none.
    pub backoff: Backoff,
    /// How often a task is refused for too much load before that is its failure.
    pub throttle_attempts: u32,
    /// Compute time that one batch aims at: short calls travel together.
    pub batch: Duration,
    /// Compute time below which batches are not made smaller for the sake of more at once: what
    /// one costs by itself.
    pub least_batch: Duration,
    /// How a function begins whose duration nobody knows; `None` begins everywhere at once.
    pub probe: Option<Probe>,
    /// Tasks of one batch at most.
    pub max_batch: u64,
    /// When to run a second copy of a task; `None` never does.
    pub speculation: Option<Speculation>,
    /// A batch without news for this long, beyond its tasks' timeouts, never started. `None`
    /// trusts the backend to account for everything.
    pub lost_after: Option<Duration>,
    /// The time that one batch may take, however many tasks it has; for tasks without a timeout
    /// of their own it is what they may cost.
    pub longest_batch: Option<Duration>,
    /// Dollars for one second of one function.
    pub usd_per_second: fn(memory_mb: Option<u32>) -> f64,
    /// Calls that one batch runs at once, at most.
    pub calls_at_once: fn(memory_mb: Option<u32>) -> u64,
    /// How long a batch may run on, and is paid, when it is stopped.
    pub stops_within: Duration,
    /// Seeds the random part of pauses.
    pub seed: u64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            slots: 1,
            workers: 1,
            attempts: 3,
            backoff: Backoff::new(Duration::from_millis(10)).longest(Duration::from_secs(5)),
            throttle_attempts: 50,
            batch: Duration::from_millis(1),
            least_batch: Duration::ZERO,
            probe: None,
            max_batch: 32 << 10,
            speculation: None,
            lost_after: None,
            longest_batch: None,
            usd_per_second: |_| 0.0,
            calls_at_once: |_| 1,
            stops_within: Duration::from_millis(100),
            seed: 0,
        }
    }
}

impl SchedulerConfig {
    /// How many calls a batch of so many tasks of a block runs at once.
    fn at_once(&self, block: &TaskBlock, tasks: u64) -> u64 {
        tasks.min((self.calls_at_once)(block.limits().memory_mb).max(1))
    }
}

/// A few batches first, so that short calls do not start a thousand machines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// How many.
    pub batches: usize,
    /// How long the others wait for the first that ends. Calls that take longer are worth a machine each.
    pub wait: Duration,
}

/// When a straggler gets a second copy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speculation {
    /// The part of the job that must be done.
    pub done_fraction: f64,
    /// How many times the mean duration the task must have run.
    pub factor: f64,
    /// How long it must have run in any case.
    pub at_least: Duration,
}

/// What one job asks for.
#[derive(Debug, Clone, Default)]
pub struct JobSpec {
    /// Names the job's keys in a store, where its backend has one. Random, and no other job's.
    pub run: Option<Arc<str>>,
    /// Calls that run at once.
    pub concurrency: Option<NonZeroUsize>,
    /// Tasks of one batch, in place of a number that follows their duration.
    pub chunk: Option<NonZeroUsize>,
    /// Dollars that may be spent.
    pub budget_usd: Option<f64>,
}

/// Something the executor is to know or to do.
#[derive(Debug)]
pub enum Update {
    /// Tasks succeeded.
    Done {
        /// Their job.
        job: JobKey,
        /// The tasks that `results` is for.
        tasks: Range<u64>,
        /// Those among them that were not done before: each task is in one `new` only, ever.
        new: Vec<Range<u64>>,
        /// What `tasks` returned.
        results: Results,
        /// Counted from 1.
        attempt: u32,
        /// Size of their encoded arguments.
        bytes_in: usize,
        /// When they were sent.
        sent: DispatchTimes,
        /// When they ran.
        timing: Timing,
    },
    /// A task failed for good.
    Failed {
        /// Its job.
        job: JobKey,
        /// The task.
        task: u64,
        /// The execution that failed last, counted from 1.
        attempt: u32,
        /// The name of its function.
        function: &'static str,
        /// How.
        failure: Failure,
        /// What it last wrote to standard error.
        stderr: String,
        /// Its arguments, and those of others.
        block: Arc<TaskBlock>,
        /// When it was sent.
        sent: DispatchTimes,
        /// When it ran.
        timing: Timing,
    },
    /// A task failed and will be run again.
    Retry {
        /// Its job.
        job: JobKey,
        /// The task.
        task: u64,
        /// The execution that failed, counted from 1.
        attempt: u32,
        /// How.
        failure: Failure,
        /// Its arguments, and those of others.
        block: Arc<TaskBlock>,
        /// When the next one may begin.
        at: Time,
        /// When the one that failed was sent.
        sent: DispatchTimes,
        /// When the one that failed ran.
        timing: Timing,
    },
    /// The backend is to stop a batch.
    Cancel {
        /// Which.
        batch_id: BatchId,
    },
    /// The backend is to stop what runs of a job anywhere, also what it has lost sight of.
    CancelJob {
        /// As in [`JobSpec::run`].
        run: Arc<str>,
    },
    /// The backend is to give back what has not begun of a batch.
    Reclaim {
        /// Which.
        batch_id: BatchId,
    },
    /// The job would pass its budget; it was cancelled.
    OverBudget {
        /// The job.
        job: JobKey,
        /// The estimate of what it spent, in dollars.
        spent_usd: f64,
    },
    /// Every task of a closed job is accounted for.
    JobDone {
        /// The job.
        job: JobKey,
    },
}

/// When the tasks of a batch came to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DispatchTimes {
    /// When they could have run: submitted, or due again after a failure.
    pub queued: Time,
    /// When the batch began.
    pub invoked: Time,
}

/// How far a job is, in tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Tasks submitted so far.
    pub submitted: u64,
    /// Tasks that succeeded.
    pub done: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Tasks in flight.
    pub running: u64,
    /// Tasks that wait.
    pub queued: u64,
    /// Executions beyond each task's first.
    pub retried: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    jobs: HashMap<JobKey, Job>,
    /// Jobs with ready work, each once; they take turns.
    turns: VecDeque<JobKey>,
    /// How many of them were cancelled meanwhile.
    gone: usize,
    in_flight: HashMap<BatchId, InFlight>,
    retries: Retries,
    window: Window,
    /// Mean duration of a call of each function.
    means: HashMap<&'static str, Duration>,
    /// Mean time of a batch beside its calls: on its way, and until a machine is up.
    beside: Duration,
    next_job: JobKey,
    next_batch: BatchId,
    /// The time of the last `tick`.
    now: Time,
    /// Whether a job is to be stopped for its budget at the next `tick`.
    over_budget: bool,
    /// Jobs that have a budget, and when it is next looked at what they spend.
    budgeted: usize,
    budgets_at: Time,
    /// Batches whose calls wait for others, as far as the backend can tell; these need their slots.
    blocked: usize,
    /// Batches that were late at the last `tick`.
    late: usize,
}

impl Scheduler {
    /// A scheduler without jobs.
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            jobs: HashMap::new(),
            turns: VecDeque::new(),
            gone: 0,
            in_flight: HashMap::new(),
            retries: Retries::new(config.seed),
            window: Window::new(config.slots),
            means: HashMap::new(),
            beside: Duration::ZERO,
            next_job: 0,
            next_batch: 0,
            now: Time::ZERO,
            over_budget: false,
            budgeted: 0,
            budgets_at: Time::ZERO,
            late: 0,
            blocked: 0,
            config,
        }
    }

    /// Opens a job, which has no tasks yet.
    pub fn open(&mut self, spec: JobSpec) -> JobKey {
        self.next_job += 1;
        self.budgeted += usize::from(spec.budget_usd.is_some());
        self.jobs.insert(self.next_job, Job::new(spec));
        self.next_job
    }

    /// Adds tasks to a job. Blocks come in the order of their tasks, none twice.
    pub fn submit(&mut self, job: JobKey, block: Arc<TaskBlock>, now: Time) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        let tasks = block.tasks();
        state.submitted += tasks.end - tasks.start;
        self.queue(job, ReadyTasks { block, tasks, attempt: 1, queued: now });
    }

    /// No more tasks will come.
    pub fn close(&mut self, job: JobKey, updates: &mut Vec<Update>) {
        if let Some(state) = self.jobs.get_mut(&job) {
            state.closed = true;
        }
        self.end_if_over(job, updates);
    }

    /// Forgets a job: what waits is dropped, what runs is stopped.
    pub fn cancel(&mut self, job: JobKey, updates: &mut Vec<Update>) {
        let Some(state) = self.remove(job) else { return };
        if let Some(run) = state.spec.run.clone().filter(|_| state.running > 0) {
            updates.push(Update::CancelJob { run });
        }
        // A thousand calls that wait are dropped in a thousand steps, and not in a million.
        if self.gone > 16 && self.gone > self.turns.len() / 2 {
            self.turns.retain(|job| self.jobs.contains_key(job));
            self.gone = 0;
        }
        if state.pausing > 0 {
            self.retries.forget(job);
        }
        if state.running > 0 {
            self.in_flight.retain(|batch_id, state| {
                let ours = state.job == job;
                if ours {
                    updates.push(Update::Cancel { batch_id: *batch_id });
                }
                !ours
            });
        }
    }

    /// The next batch to begin now, if there is one and a slot for it.
    pub fn next(&mut self, now: Time) -> Option<Batch> {
        let running = self.in_time();
        if running >= self.config.slots || !self.window.admits(running, now) {
            return None;
        }
        for _ in 0..self.turns.len() {
            let job = self.turns.pop_front()?;
            let left_usd = self.left_usd(job, now);
            let Some(state) = self.jobs.get_mut(&job) else {
                self.gone = self.gone.saturating_sub(1);
                continue;
            };
            let mean = state.ready.front().and_then(|run| self.means.get(run.block.function().id())).copied();
            let run = match mean.is_none() && state.probes(now, &self.config) {
                true => None,
                false => state.take_run(mean, left_usd, &self.config),
            };
            self.over_budget |= state.over_budget;
            if !state.ready.is_empty() {
                self.turns.push_back(job);
            } else {
                state.in_turns = false;
            }
            if let Some(run) = run {
                return Some(self.launch(job, run, now));
            }
        }
        None
    }

    fn launch(&mut self, job: JobKey, run: ReadyTasks, now: Time) -> Batch {
        self.next_batch += 1;
        let batch_id = self.next_batch;
        let mut state = InFlight::new(job, &run, now, &self.config);
        state.copies_before = self.copies(job, run.tasks.start);
        self.in_flight.insert(batch_id, state);
        let name = self.jobs.get(&job).and_then(|job| job.spec.run.clone());
        Batch { id: batch_id, job_run: name, tasks: run.tasks, attempt: run.attempt, block: run.block }
    }

    /// Takes a reply of the backend.
    pub fn handle(&mut self, now: Time, reply: Reply, updates: &mut Vec<Update>) {
        match reply {
            Reply::Done { batch_id, tasks, results, timing } => {
                self.done(now, batch_id, tasks, results, timing, updates)
            }
            Reply::Failed { batch_id, task, failure, stderr, timing } => {
                let failed = Failed { task, failure, stderr, timing };
                self.failed(now, batch_id, failed, updates);
            }
            Reply::Returned { batch_id, tasks } => {
                if let Some((Origin { job, block, attempt, sent, .. }, back)) = self.settle(now, batch_id, &tasks) {
                    for tasks in back {
                        self.give_back(job, ReadyTasks { tasks, block: block.clone(), attempt, queued: sent.queued });
                    }
                }
            }
            Reply::Throttled { batch_id, message } => {
                self.window.refused(now);
                let left = self.in_flight.get(&batch_id).map(|f| f.outstanding.clone()).unwrap_or_default();
                for task in left.into_iter().flatten() {
                    let failure = Failure::Throttled { message: message.clone() };
                    let failed = Failed { task, failure, stderr: String::new(), timing: Timing::default() };
                    self.failed(now, batch_id, failed, updates);
                }
            }
        }
    }

    /// Takes tasks off a batch, which ends when none is left. Gives what the batch was for, and those
    /// of `tasks` that were on it.
    fn settle(&mut self, now: Time, id: BatchId, tasks: &Range<u64>) -> Option<(Origin, Vec<Range<u64>>)> {
        let batch = self.in_flight.get_mut(&id)?;
        let settled = ranges::remove(&mut batch.outstanding, tasks);
        if settled.is_empty() {
            return None;
        }
        let silent = now.saturating_sub(std::mem::replace(&mut batch.heard, now));
        batch.reclaimed = false;
        let InFlight { job, attempt, sent, at_once, .. } = *batch;
        let whose = Origin { job, block: batch.block.clone(), attempt, sent, silent };
        let is_over = batch.outstanding.is_empty();
        if is_over {
            self.in_flight.remove(&id);
        }
        if let Some(state) = self.jobs.get_mut(&job) {
            state.running -= settled.iter().map(|r| r.end - r.start).sum::<u64>();
            state.at_once -= if is_over { at_once } else { 0 };
            if !state.ready.is_empty() && !state.in_turns {
                state.in_turns = true;
                self.turns.push_back(job);
            }
        }
        Some((whose, settled))
    }

    fn done(
        &mut self,
        now: Time,
        batch_id: BatchId,
        tasks: Range<u64>,
        results: Results,
        timing: Timing,
        updates: &mut Vec<Update>,
    ) {
        let Some((Origin { job, block, attempt, sent, silent }, settled)) = self.settle(now, batch_id, &tasks) else {
            return;
        };
        self.beside = self.beside.saturating_mul(3).saturating_add(silent.saturating_sub(timing.compute)) / 4;
        self.window.admitted();
        self.learn(block.function().id(), timing.compute, tasks.end - tasks.start);
        let Some(state) = self.jobs.get_mut(&job) else { return };
        state.spent_usd += timing.usd;
        let bytes_in = settled.iter().map(|range| block.args(range.clone()).len()).sum();
        let new: Vec<_> = settled.into_iter().flat_map(|range| state.done.insert(range)).collect();
        if !state.tried.is_empty() {
            state.tried.retain(|task, _| !new.iter().any(|r| r.contains(task)));
        }
        if !new.is_empty() {
            state.succeeded += new.iter().map(|r| r.end - r.start).sum::<u64>();
            updates.push(Update::Done { job, tasks: tasks.clone(), new, results, attempt, bytes_in, sent, timing });
        }
        self.cancel_copies(now, job, &tasks, updates);
        self.end_if_over(job, updates);
    }

    fn learn(&mut self, function: &'static str, compute: Duration, tasks: u64) {
        let mean = compute / u32::try_from(tasks).unwrap_or(u32::MAX).max(1);
        self.means.entry(function).and_modify(|known| *known = (*known * 3 + mean) / 4).or_insert(mean);
    }

    fn end_if_over(&mut self, job: JobKey, updates: &mut Vec<Update>) {
        if self.jobs.get(&job).is_some_and(Job::is_over) {
            self.remove(job);
            updates.push(Update::JobDone { job });
        }
    }

    fn remove(&mut self, job: JobKey) -> Option<Job> {
        let state = self.jobs.remove(&job)?;
        self.gone += usize::from(state.in_turns);
        self.budgeted -= usize::from(state.spec.budget_usd.is_some());
        Some(state)
    }

    /// Whether a job has nothing ready, and workers are idle that could have more of it.
    pub fn has_use_for(&self, job: JobKey) -> bool {
        let has_use = |state: &Job| state.ready.is_empty() && state.has_room();
        self.has_idle_workers() && self.jobs.get(&job).is_some_and(has_use)
    }

    /// Of the batches, so many wait for other calls, and take no slot.
    pub fn set_blocked(&mut self, batches: usize) {
        self.blocked = batches;
    }

    /// Begins nothing more of a job, or goes on with it.
    pub fn hold(&mut self, job: JobKey, is_held: bool) {
        if let Some(state) = self.jobs.get_mut(&job) {
            state.is_held = is_held;
        }
    }

    fn queue(&mut self, job: JobKey, run: ReadyTasks) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        state.add(run);
        if !state.in_turns {
            state.in_turns = true;
            self.turns.push_back(job);
        }
    }

    /// Puts back what was not run; it goes first.
    fn give_back(&mut self, job: JobKey, run: ReadyTasks) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        state.add_first(run);
        if !state.in_turns {
            state.in_turns = true;
            self.turns.push_front(job);
        }
    }

    /// Does what time asks for: retries that are due, batches that are lost, idle workers.
    pub fn tick(&mut self, now: Time, updates: &mut Vec<Update>) {
        self.now = now;
        while let Some((job, run)) = self.retries.due(now) {
            if let Some(state) = self.jobs.get_mut(&job) {
                state.pausing -= 1;
                self.queue(job, run);
            }
        }
        self.give_up_lost(now, updates);
        self.look_at_budgets(now, updates);
        self.stop_over_budget(updates);
        if self.turns.len() <= self.gone {
            self.reclaim(updates);
        }
        self.count_late(now);
        self.speculate(now);
    }

    /// When `tick` has something to do next.
    pub fn wake_at(&self) -> Option<Time> {
        let lost = self.in_flight.values().filter_map(|f| f.lost_at(&self.config)).min();
        let copies = self.speculation_at();
        // Most backends probe nothing, and there may be many jobs.
        let jobs = || self.jobs.values().filter_map(|job| job.probed_at(&self.config)).min();
        let probed = self.config.probe.and_then(|_| jobs());
        if self.over_budget {
            return Some(self.now);
        }
        // What was due at the last tick and not done waits for a reply, not for a time.
        let times = [self.retries.next(), lost, copies, probed, self.window.reopens(), self.next_look_at_budgets()];
        times.into_iter().flatten().filter(|at| *at > self.now).min()
    }

    /// How far a job is; none if it is over.
    pub fn progress(&self, job: JobKey) -> Option<Progress> {
        self.jobs.get(&job).map(Job::progress)
    }

    /// The mean duration of a call of a function, if any was measured.
    pub fn estimate(&self, function: &'static str) -> Option<Duration> {
        self.means.get(function).copied()
    }
}

/// What a batch was for, and when it came to be.
struct Origin {
    job: JobKey,
    block: Arc<TaskBlock>,
    attempt: u32,
    sent: DispatchTimes,
    /// How long nothing had been heard of it.
    silent: Duration,
}

/// One task's failure, as a reply has it.
struct Failed {
    task: u64,
    failure: Failure,
    stderr: String,
    timing: Timing,
}
