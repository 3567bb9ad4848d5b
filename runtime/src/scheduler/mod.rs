//! Decides which tasks run when: queueing, retries, concurrency limits, throttling, speculative copies, budgets.
//!
//! The scheduler is a state machine. Calls and replies go in together with the current time; batches and [`Update`]s
//! come out. It does no I/O, reads no clock and knows no backend, so that tests run it in virtual time. It stores work
//! as ranges of tasks and keeps individual records only of tasks that have failed, so that the cost of a large job
//! depends on its number of batches.

mod budget;
mod config;
mod done_set;
mod in_flight;
mod job;
mod longest;
mod ranges;
mod retry;
#[cfg(test)]
mod tests;
mod throttle;
mod update;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::attempt::{Batch, BatchId, Reply, Results, TaskBlock, Timing};
use crate::error::Failure;

pub use config::{JobSpec, Probe, SchedulerConfig, Speculation};
use in_flight::InFlight;
pub use in_flight::RunningCalls;
use job::{Job, ReadyTasks};
pub use longest::LongTask;
use retry::Retries;
use throttle::Window;
pub use update::{DispatchTimes, Progress, Update};

/// A point in time, as the duration since a fixed start.
pub type Time = Duration;

/// Identifies a job within one scheduler.
pub type JobKey = u64;

/// See the [module](self).
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    jobs: HashMap<JobKey, Job>,
    /// Jobs with ready tasks, each once. They take turns.
    turns: VecDeque<JobKey>,
    /// How many of the jobs in `turns` have been removed since.
    gone: usize,
    in_flight: HashMap<BatchId, InFlight>,
    retries: Retries,
    window: Window,
    /// Mean duration of a call, by function.
    means: HashMap<&'static str, Duration>,
    /// Mean overhead of a batch, in addition to its calls: transport and the start of a machine.
    beside: Duration,
    next_job: JobKey,
    next_batch: BatchId,
    /// The time of the last `tick`.
    now: Time,
    /// Whether the next `tick` must stop a job because of its budget.
    over_budget: bool,
    /// Number of jobs with a budget.
    budgeted: usize,
    /// Time of the next check of their costs.
    budgets_at: Time,
    /// Batches whose calls wait for other calls, as far as the backend can tell. The other calls need their slots.
    blocked: usize,
    /// Batches that were late at the last `tick`.
    late: usize,
}

impl Scheduler {
    /// Creates a scheduler without jobs.
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

    /// Opens a job without tasks.
    pub fn open(&mut self, spec: JobSpec) -> JobKey {
        self.next_job += 1;
        self.budgeted += usize::from(spec.budget_usd.is_some());
        self.jobs.insert(self.next_job, Job::new(spec));
        self.next_job
    }

    /// Adds tasks to a job. Blocks must come in the order of their tasks, each only once.
    pub fn submit(&mut self, job: JobKey, block: Arc<TaskBlock>, now: Time) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        let tasks = block.tasks();
        state.submitted += tasks.end - tasks.start;
        self.queue(job, ReadyTasks { block, tasks, attempt: 1, queued: now });
    }

    /// Closes a job: no more tasks will be added.
    pub fn close(&mut self, job: JobKey, updates: &mut Vec<Update>) {
        if let Some(state) = self.jobs.get_mut(&job) {
            state.closed = true;
        }
        self.end_if_over(job, updates);
    }

    /// Removes a job: drops its waiting tasks and stops its running batches.
    pub fn cancel(&mut self, job: JobKey, updates: &mut Vec<Update>) {
        let Some(state) = self.remove(job) else { return };
        if let Some(run) = state.spec.run.clone().filter(|_| state.running > 0) {
            updates.push(Update::CancelJob { run });
        }
        // `turns` is cleared only when half of it is stale, so that dropping a thousand waiting calls takes a thousand
        // steps and not a million.
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

    /// Returns the next batch to start now, if there is one and a slot is free.
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

    /// Handles a reply of the backend.
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

    /// Removes tasks from a batch, and removes the batch when none is left. Returns the batch's origin and those of
    /// `tasks` that the batch still had.
    fn settle(&mut self, now: Time, id: BatchId, tasks: &Range<u64>) -> Option<(Origin, Vec<Range<u64>>)> {
        let batch = self.in_flight.get_mut(&id)?;
        let settled = ranges::remove(&mut batch.outstanding, tasks);
        if settled.is_empty() {
            return None;
        }
        let silent = now.saturating_sub(std::mem::replace(&mut batch.last_report, now));
        batch.reclaimed = false;
        let InFlight { job, attempt, sent, at_once, .. } = *batch;
        let origin = Origin { job, block: batch.block.clone(), attempt, sent, silent };
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
        Some((origin, settled))
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
        self.beside = self.beside.saturating_mul(3).saturating_add(silent.saturating_sub(timing.busy())) / 4;
        self.window.admitted();
        self.learn(block.function().id(), timing.busy(), tasks.end - tasks.start);
        let Some(state) = self.jobs.get_mut(&job) else { return };
        state.spent_usd += timing.usd;
        let bytes_in = settled.iter().map(|range| block.args(range.clone()).len()).sum();
        let large_in = settled.iter().map(|range| block.large_size(range.clone())).sum();
        let new: Vec<_> = settled.into_iter().flat_map(|range| state.done.insert(range)).collect();
        if !state.tried.is_empty() {
            state.tried.retain(|task, _| !new.iter().any(|r| r.contains(task)));
        }
        if !new.is_empty() {
            state.succeeded += new.iter().map(|r| r.end - r.start).sum::<u64>();
            let tasks = tasks.clone();
            updates.push(Update::Done { job, tasks, new, results, attempt, bytes_in, large_in, sent, timing });
        }
        self.cancel_copies(now, job, &tasks, updates);
        self.end_if_over(job, updates);
    }

    fn learn(&mut self, function: &'static str, busy: Duration, tasks: u64) {
        let mean = busy / u32::try_from(tasks).unwrap_or(u32::MAX).max(1);
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

    /// Returns whether a job has no ready tasks while idle workers could run more of it.
    pub fn has_use_for(&self, job: JobKey) -> bool {
        let has_use = |state: &Job| state.ready.is_empty() && state.has_room();
        self.has_idle_workers() && self.jobs.get(&job).is_some_and(has_use)
    }

    /// Sets how many batches wait for other calls and thus take no slot.
    pub fn set_blocked(&mut self, batches: usize) {
        self.blocked = batches;
    }

    /// Holds or resumes a job: while `is_held`, no batch of the job starts.
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

    /// Puts tasks at the front of the queue: tasks that were returned, and copies of stragglers.
    fn give_back(&mut self, job: JobKey, run: ReadyTasks) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        state.add_first(run);
        if !state.in_turns {
            state.in_turns = true;
            self.turns.push_front(job);
        }
    }

    /// Does the work that is due at `now`: retries, lost batches, budgets, and work for idle workers.
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

    /// Returns the time at which `tick` next has something to do.
    pub fn wake_at(&self) -> Option<Time> {
        let lost = self.in_flight.values().filter_map(|f| f.lost_at(&self.config)).min();
        let copies = self.speculation_at();
        // There may be many jobs, so they are only scanned for backends that probe.
        let jobs = || self.jobs.values().filter_map(|job| job.probed_at(&self.config)).min();
        let probed = self.config.probe.and_then(|_| jobs());
        if self.over_budget {
            return Some(self.now);
        }
        // Anything that was due at the last tick and is not done waits for a reply, not for a point in time.
        let times = [self.retries.next(), lost, copies, probed, self.window.reopens(), self.next_look_at_budgets()];
        times.into_iter().flatten().filter(|at| *at > self.now).min()
    }

    /// Returns the progress of a job, or `None` if it is over.
    pub fn progress(&self, job: JobKey, running: &RunningCalls) -> Option<Progress> {
        self.jobs.get(&job).map(|state| state.progress(running.0.get(&job).copied().unwrap_or(0)))
    }

    /// Returns the mean duration of a function's calls, if any was measured.
    pub fn estimate(&self, function: &'static str) -> Option<Duration> {
        self.means.get(function).copied()
    }
}

/// The job, block and times of a batch.
struct Origin {
    job: JobKey,
    block: Arc<TaskBlock>,
    attempt: u32,
    sent: DispatchTimes,
    /// Time since the previous reply, or since the batch was sent.
    silent: Duration,
}

/// A task's failure, as reported by a reply.
struct Failed {
    task: u64,
    failure: Failure,
    stderr: String,
    timing: Timing,
}
