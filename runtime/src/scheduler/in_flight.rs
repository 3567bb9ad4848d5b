//! Batches in flight: detects lost ones, splits them among idle workers, and copies late ones.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::job::{Job, ReadyTasks};
use super::{DispatchTimes, Failed, JobKey, Scheduler, SchedulerConfig, Speculation, Time, Update};
use crate::attempt::{TaskBlock, Timing};
use crate::error::Failure;
use crate::function::RemoteFn;

/// While other work remains, a job waits this many times longer before it copies a late batch.
const LATER: u32 = 5;

/// A batch that the backend has.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) job: JobKey,
    pub(super) block: Arc<TaskBlock>,
    pub(super) attempt: u32,
    pub(super) sent: DispatchTimes,
    /// Tasks without an outcome yet.
    pub(super) outstanding: Vec<Range<u64>>,
    /// Time of the last reply, or of the start.
    pub(super) last_report: Time,
    /// Whether the backend was asked to return tasks since the last reply.
    pub(super) reclaimed: bool,
    /// Whether the batch was copied. The copy itself may be copied again.
    pub(super) copied: bool,
    /// Number of other batches with the same tasks when this one started.
    pub(super) copies_before: u32,
    /// Calls that the batch runs at once.
    pub(super) at_once: u64,
}

impl InFlight {
    pub(super) fn new(job: JobKey, run: &ReadyTasks, now: Time, config: &SchedulerConfig) -> Self {
        Self {
            job,
            block: run.block.clone(),
            attempt: run.attempt,
            sent: DispatchTimes { queued: run.queued, invoked: now },
            outstanding: vec![run.tasks.clone()],
            last_report: now,
            reclaimed: false,
            copied: false,
            copies_before: 0,
            at_once: config.at_once(&run.block, run.tasks.end - run.tasks.start),
        }
    }

    pub(super) fn left(&self) -> u64 {
        self.outstanding.iter().map(|r| r.end - r.start).sum()
    }

    /// Returns when the batch counts as lost: after the longest time that its tasks may take, plus the time to start.
    pub(super) fn lost_at(&self, config: &SchedulerConfig) -> Option<Time> {
        let tasks = u32::try_from(self.left()).unwrap_or(u32::MAX);
        let own = self.block.limits().timeout.map(|timeout| timeout.saturating_mul(tasks));
        let may_take = [own, config.longest_batch].into_iter().flatten().min().unwrap_or_default();
        Some(self.last_report.saturating_add(may_take).saturating_add(config.lost_after?))
    }
}

/// The number of calls that run, by job.
#[derive(Debug, Default)]
pub struct RunningCalls(pub(super) HashMap<JobKey, u64>);

/// Computes when batches are late. There may be ten thousand batches, most of the same function, so the mean of the
/// last function is cached.
struct Rules<'a> {
    rule: Speculation,
    means: &'a HashMap<&'static str, Duration>,
    /// Jobs that have little left to do except wait for late batches.
    mostly_done: Vec<JobKey>,
    /// Function of the previous batch, and its mean duration.
    last: Option<(&'static RemoteFn, Option<Duration>)>,
}

impl Rules<'_> {
    fn mean(&mut self, function: &'static RemoteFn) -> Option<Duration> {
        match self.last {
            Some((last, mean)) if std::ptr::eq(last, function) => mean,
            _ => {
                let mean = self.means.get(function.id()).copied();
                self.last = Some((function, mean));
                mean
            }
        }
    }

    /// Returns how long a batch may go without a reply before it is late.
    fn patience(&mut self, batch: &InFlight) -> Option<Duration> {
        let mean = self.mean(batch.block.function())?;
        let wait = mean.mul_f64(self.rule.factor * batch.left() as f64).max(self.rule.at_least);
        // Each copy waits four times longer, so that a task that is slow but not lost is not paid for many times.
        Some(wait.saturating_mul(4_u32.saturating_pow(batch.copies_before)))
    }

    fn late_at(&mut self, batch: &InFlight) -> Option<Time> {
        Some(batch.last_report.saturating_add(self.patience(batch)?))
    }
}

impl Scheduler {
    pub(super) fn give_up_lost(&mut self, now: Time, updates: &mut Vec<Update>) {
        if self.config.lost_after.is_none() {
            return;
        }
        let is_lost = |f: &InFlight| f.lost_at(&self.config).is_some_and(|at| now >= at);
        let lost: Vec<_> = self.in_flight.iter().filter(|(_, f)| is_lost(f)).map(|(id, _)| *id).collect();
        for batch_id in lost {
            let Some(state) = self.in_flight.get(&batch_id) else { continue };
            let waited = now.saturating_sub(state.last_report);
            for task in state.outstanding.clone().into_iter().flatten() {
                let failure = Failure::NeverStarted { waited };
                let failed = Failed { task, failure, stderr: String::new(), timing: Timing::default() };
                self.failed(now, batch_id, failed, updates);
            }
            updates.push(Update::Cancel { batch_id });
        }
    }

    /// Asks the backend to return part of the longest batch, if workers are idle. Called when no task is ready.
    pub(super) fn reclaim(&mut self, updates: &mut Vec<Update>) {
        if self.in_flight.is_empty() || !self.has_idle_workers() {
            return;
        }
        let room = |f: &InFlight| self.jobs.get(&f.job).is_some_and(Job::has_room);
        let candidates = self.in_flight.iter_mut().filter(|(_, f)| f.left() > 1 && !f.reclaimed && room(f));
        if let Some((batch_id, state)) = candidates.max_by_key(|(id, f)| (f.left(), **id)) {
            state.reclaimed = true;
            updates.push(Update::Reclaim { batch_id: *batch_id });
        }
    }

    /// Returns when `batch` may be copied, if ever: when it is late, or much later while the job has other work.
    fn copy_at(&self, batch: &InFlight, rules: &mut Rules<'_>) -> Option<Time> {
        if batch.block.limits().at_most_once || batch.copied || batch.copies_before + 1 >= self.config.attempts {
            return None;
        }
        let times = if rules.mostly_done.contains(&batch.job) { 1 } else { LATER };
        Some(batch.last_report.saturating_add(rules.patience(batch)?.saturating_mul(times)))
    }

    fn rules(&self) -> Option<Rules<'_>> {
        let rule = self.config.speculation?;
        let is = |job: &Job| job.closed && job.succeeded as f64 >= rule.done_fraction * job.submitted as f64;
        let mostly_done = self.jobs.iter().filter(|(_, job)| is(job)).map(|(key, _)| *key).collect();
        Some(Rules { rule, means: &self.means, mostly_done, last: None })
    }

    pub(super) fn speculation_at(&self) -> Option<Time> {
        let mut rules = self.rules()?;
        let mut first = None;
        for batch in self.in_flight.values() {
            let times = [rules.late_at(batch), self.copy_at(batch, &mut rules)];
            let next = times.into_iter().flatten().filter(|at| *at > self.now).min();
            first = [first, next].into_iter().flatten().min();
        }
        first
    }

    /// Counts late batches. These are lost, or run on slow machines. They give up their slots to other batches, so that
    /// a few lost ones do not hold up everything.
    pub(super) fn count_late(&mut self, now: Time) {
        if let Some(mut rules) = self.rules() {
            let late = self.in_flight.values().filter(|f| rules.late_at(f).is_some_and(|at| at <= now)).count();
            // This limits the number of batches to twice the number of slots.
            self.late = late.min(self.config.slots);
        }
    }

    /// Returns whether some workers run nothing, or only calls that wait for other calls.
    pub(super) fn has_idle_workers(&self) -> bool {
        self.in_flight.len().saturating_sub(self.blocked) < self.config.workers
    }

    /// Returns how many calls of each job run. The backend has more batches than workers, so that no worker must wait
    /// for its next one. Those that were sent last count as waiting. A batch that waits for other calls occupies no
    /// worker.
    pub fn running_calls(&self) -> RunningCalls {
        let mut batches: Vec<_> = self.in_flight.iter().collect();
        let workers = self.config.workers.saturating_add(self.blocked);
        if batches.len() > workers {
            batches.select_nth_unstable_by_key(workers, |(id, _)| **id);
            batches.truncate(workers);
        }
        let mut running = RunningCalls::default();
        for (_, batch) in batches {
            *running.0.entry(batch.job).or_default() += batch.at_once.min(batch.left());
        }
        running
    }

    /// Returns the number of batches that take a slot.
    pub(super) fn in_time(&self) -> usize {
        self.in_flight.len().saturating_sub(self.late).saturating_sub(self.blocked)
    }

    /// Queues copies of stragglers, at most one batch per idle worker.
    pub(super) fn speculate(&mut self, now: Time) {
        let idle = self.config.workers.saturating_sub(self.in_time());
        let Some(mut rules) = self.rules().filter(|_| idle > 0) else { return };
        let mut due = |f: &InFlight| self.copy_at(f, &mut rules).is_some_and(|at| at <= now);
        let mut found: Vec<_> = self.in_flight.iter().filter(|(_, f)| due(f)).map(|(id, _)| *id).collect();
        found.sort_unstable();
        for id in found.into_iter().take(idle) {
            let Some(batch) = self.in_flight.get_mut(&id) else { continue };
            batch.copied = true;
            let (job, attempt, block) = (batch.job, batch.attempt, batch.block.clone());
            if let Some(state) = self.jobs.get_mut(&job) {
                state.copied = true;
            }
            for tasks in batch.outstanding.clone() {
                self.give_back(job, ReadyTasks { block: block.clone(), tasks, attempt, queued: now });
            }
        }
    }

    /// Returns whether any batch of the job was ever copied.
    fn has_copies(&self, job: JobKey) -> bool {
        self.jobs.get(&job).is_some_and(|state| state.copied)
    }

    /// Returns how many batches contain the task.
    pub(super) fn copies(&self, job: JobKey, task: u64) -> u32 {
        if !self.has_copies(job) {
            return 0;
        }
        let has = |f: &&InFlight| f.job == job && f.outstanding.iter().any(|r| r.contains(&task));
        self.in_flight.values().filter(has).count() as u32
    }

    /// Allows another copy of the batches that contain the task, after its copy failed or was refused.
    pub(super) fn may_copy_again(&mut self, job: JobKey, task: u64) {
        let has = |f: &&mut InFlight| f.job == job && f.outstanding.iter().any(|r| r.contains(&task));
        self.in_flight.values_mut().filter(has).for_each(|batch| batch.copied = false);
    }

    /// Removes tasks that one batch has done from the other batches, and stops those without any tasks left.
    pub(super) fn cancel_copies(&mut self, now: Time, job: JobKey, tasks: &Range<u64>, updates: &mut Vec<Update>) {
        // Without copies, a scan of perhaps ten thousand batches would find nothing.
        if !self.has_copies(job) {
            return;
        }
        let mut beaten = Vec::new();
        for (id, batch) in &mut self.in_flight {
            if batch.job == job {
                let removed = super::ranges::remove(&mut batch.outstanding, tasks);
                if let Some(state) = self.jobs.get_mut(&job) {
                    state.running -= removed.iter().map(|r| r.end - r.start).sum::<u64>();
                }
                if batch.outstanding.is_empty() {
                    beaten.push(*id);
                }
            }
        }
        for batch_id in beaten {
            if let Some(InFlight { at_once, block, last_report, .. }) = self.in_flight.remove(&batch_id)
                && let Some(state) = self.jobs.get_mut(&job)
            {
                state.at_once -= at_once;
                state.spent_usd += self.config.usd(&block, now.saturating_sub(last_report));
            }
            updates.push(Update::Cancel { batch_id });
        }
        // Copies that have not started are not needed any more.
        if let Some(state) = self.jobs.get_mut(&job) {
            let done = &state.done;
            state.ready.retain(|run| run.tasks.clone().any(|task| !done.contains(task)));
            state.ready_tasks = state.ready.iter().map(|run| run.tasks.end - run.tasks.start).sum();
        }
    }
}
