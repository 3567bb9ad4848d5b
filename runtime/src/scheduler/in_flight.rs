//! Batches under way: which are lost, which have more than an idle worker would mind, which get
//! a second copy.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::job::{Job, ReadyTasks};
use super::{DispatchTimes, Failed, JobKey, Scheduler, SchedulerConfig, Speculation, Time, Update};
use crate::attempt::{TaskBlock, Timing};
use crate::error::Failure;
use crate::function::RemoteFn;

/// A job that has much else to do copies what is late after so many times the wait.
const LATER: u32 = 5;

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) job: JobKey,
    pub(super) block: Arc<TaskBlock>,
    pub(super) attempt: u32,
    pub(super) sent: DispatchTimes,
    /// Tasks not accounted for.
    pub(super) outstanding: Vec<Range<u64>>,
    /// When it began, or a reply last came.
    pub(super) heard: Time,
    /// Whether its tasks were asked back since.
    pub(super) reclaimed: bool,
    /// Whether a copy of it was begun; the copy may get one in its turn.
    pub(super) copied: bool,
    /// How many batches had its tasks when it began.
    pub(super) copies_before: u32,
    /// Calls that it runs at once.
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
            heard: now,
            reclaimed: false,
            copied: false,
            copies_before: 0,
            at_once: config.at_once(&run.block, run.tasks.end - run.tasks.start),
        }
    }

    pub(super) fn left(&self) -> u64 {
        self.outstanding.iter().map(|r| r.end - r.start).sum()
    }

    /// When it counts as lost: after the time that its tasks may take, and the wait for a start.
    pub(super) fn lost_at(&self, config: &SchedulerConfig) -> Option<Time> {
        let tasks = u32::try_from(self.left()).unwrap_or(u32::MAX);
        let own = self.block.limits().timeout.map(|timeout| timeout.saturating_mul(tasks));
        let may_take = [own, config.longest_batch].into_iter().flatten().min().unwrap_or_default();
        Some(self.heard.saturating_add(may_take).saturating_add(config.lost_after?))
    }
}

/// What says of batches, one after another, when they are late: there may be ten thousand, most of one
/// function.
struct Rules<'a> {
    rule: Speculation,
    means: &'a HashMap<&'static str, Duration>,
    /// Jobs that have little else to do than to wait for what is late.
    mostly_done: Vec<JobKey>,
    /// The function of the batch before, and its mean.
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

    /// How long a batch may go without news until it is late.
    fn patience(&mut self, batch: &InFlight) -> Option<Duration> {
        let mean = self.mean(batch.block.function())?;
        let wait = mean.mul_f64(self.rule.factor * batch.left() as f64).max(self.rule.at_least);
        // Four times longer for each copy: a task that is slow and not lost is not paid for many times.
        Some(wait.saturating_mul(4_u32.saturating_pow(batch.copies_before)))
    }

    fn late_at(&mut self, batch: &InFlight) -> Option<Time> {
        Some(batch.heard.saturating_add(self.patience(batch)?))
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
            let waited = now.saturating_sub(state.heard);
            for task in state.outstanding.clone().into_iter().flatten() {
                let failure = Failure::NeverStarted { waited };
                let failed = Failed { task, failure, stderr: String::new(), timing: Timing::default() };
                self.failed(now, batch_id, failed, updates);
            }
            updates.push(Update::Cancel { batch_id });
        }
    }

    /// With workers idle and nothing ready, asks back part of the longest batch.
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

    /// When `batch` may get a copy, if it may: when it is late, and long after where the job has much
    /// else to do.
    fn copy_at(&self, batch: &InFlight, rules: &mut Rules<'_>) -> Option<Time> {
        if batch.block.limits().at_most_once || batch.copied || batch.copies_before + 1 >= self.config.attempts {
            return None;
        }
        let times = if rules.mostly_done.contains(&batch.job) { 1 } else { LATER };
        Some(batch.heard.saturating_add(rules.patience(batch)?.saturating_mul(times)))
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

    /// Counts batches that are late. They are lost, or on machines that are slow: others take their
    /// places, lest a few that are lost hold up everything.
    pub(super) fn count_late(&mut self, now: Time) {
        if let Some(mut rules) = self.rules() {
            let late = self.in_flight.values().filter(|f| rules.late_at(f).is_some_and(|at| at <= now)).count();
            // Never more than twice as many batches as there are slots.
            self.late = late.min(self.config.slots);
        }
    }

    /// Whether workers run nothing, or only what waits for other calls.
    pub(super) fn has_idle_workers(&self) -> bool {
        self.in_flight.len().saturating_sub(self.blocked) < self.config.workers
    }

    /// Batches that take a slot.
    pub(super) fn in_time(&self) -> usize {
        self.in_flight.len().saturating_sub(self.late).saturating_sub(self.blocked)
    }

    /// Readies copies of stragglers, as many as there are idle workers.
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

    /// Whether any task of the job was ever given a second batch.
    fn has_copies(&self, job: JobKey) -> bool {
        self.jobs.get(&job).is_some_and(|state| state.copied)
    }

    /// How many batches have the task.
    pub(super) fn copies(&self, job: JobKey, task: u64) -> u32 {
        if !self.has_copies(job) {
            return 0;
        }
        let has = |f: &&InFlight| f.job == job && f.outstanding.iter().any(|r| r.contains(&task));
        self.in_flight.values().filter(has).count() as u32
    }

    /// The copy of a task failed, or was refused: what is left of it may get another.
    pub(super) fn may_copy_again(&mut self, job: JobKey, task: u64) {
        let has = |f: &&mut InFlight| f.job == job && f.outstanding.iter().any(|r| r.contains(&task));
        self.in_flight.values_mut().filter(has).for_each(|batch| batch.copied = false);
    }

    /// Takes tasks that one batch has done off the others, and stops those that have none left.
    pub(super) fn cancel_copies(&mut self, now: Time, job: JobKey, tasks: &Range<u64>, updates: &mut Vec<Update>) {
        // Without copies there is nothing to look for among ten thousand batches.
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
            if let Some(InFlight { at_once, block, heard, .. }) = self.in_flight.remove(&batch_id)
                && let Some(state) = self.jobs.get_mut(&job)
            {
                state.at_once -= at_once;
                state.spent_usd += self.config.usd(&block, now.saturating_sub(heard));
            }
            updates.push(Update::Cancel { batch_id });
        }
        // A copy that has not begun need not begin.
        if let Some(state) = self.jobs.get_mut(&job) {
            let done = &state.done;
            state.ready.retain(|run| run.tasks.clone().any(|task| !done.contains(task)));
            state.ready_tasks = state.ready.iter().map(|run| run.tasks.end - run.tasks.start).sum();
        }
    }
}
