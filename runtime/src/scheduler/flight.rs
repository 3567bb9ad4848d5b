//! Invocations under way: which are lost, which have more than an idle worker would mind, which get
//! a second copy.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::job::{Job, Run};
use super::{Config, Failed, JobKey, Scheduler, Sent, Speculation, Time, Update};
use crate::attempt::{Block, Timing};
use crate::error::Failure;
use crate::function::RemoteFn;

/// A job that has much else to do copies what is late after so many times the wait.
const LATER: u32 = 5;

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) job: JobKey,
    pub(super) block: Arc<Block>,
    pub(super) attempt: u32,
    pub(super) sent: Sent,
    /// Tasks not accounted for.
    pub(super) outstanding: Vec<Range<u64>>,
    /// When it began, or a reply last came.
    pub(super) heard: Time,
    /// Whether its tasks were asked back since.
    pub(super) reclaimed: bool,
    /// Whether a copy of it was begun; the copy may get one in its turn.
    pub(super) copied: bool,
    /// How many flights had its tasks when it began.
    pub(super) copies_before: u32,
    /// Calls that it runs at once.
    pub(super) at_once: u64,
}

impl Flight {
    pub(super) fn new(job: JobKey, run: &Run, now: Time, config: &Config) -> Self {
        Self {
            job,
            block: run.block.clone(),
            attempt: run.attempt,
            sent: Sent { queued: run.queued, invoked: now },
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
    pub(super) fn lost_at(&self, config: &Config) -> Option<Time> {
        let tasks = u32::try_from(self.left()).unwrap_or(u32::MAX);
        let own = self.block.limits().timeout.map(|timeout| timeout.saturating_mul(tasks));
        let may_take = [own, config.longest_invocation].into_iter().flatten().min().unwrap_or_default();
        Some(self.heard.saturating_add(may_take).saturating_add(config.lost_after?))
    }
}

/// What says of flights, one after another, when they are late: there may be ten thousand, most of one
/// function.
struct Rules<'a> {
    rule: Speculation,
    means: &'a HashMap<&'static str, Duration>,
    /// Jobs that have little else to do than to wait for what is late.
    mostly_done: Vec<JobKey>,
    /// The function of the flight before, and its mean.
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

    /// How long a flight may go without news until it is late.
    fn patience(&mut self, flight: &Flight) -> Option<Duration> {
        let mean = self.mean(flight.block.function())?;
        let wait = mean.mul_f64(self.rule.factor * flight.left() as f64).max(self.rule.at_least);
        // Four times longer for each copy: a task that is slow and not lost is not paid for many times.
        Some(wait.saturating_mul(4_u32.saturating_pow(flight.copies_before)))
    }

    fn late_at(&mut self, flight: &Flight) -> Option<Time> {
        Some(flight.heard.saturating_add(self.patience(flight)?))
    }
}

impl Scheduler {
    pub(super) fn give_up_lost(&mut self, now: Time, updates: &mut Vec<Update>) {
        if self.config.lost_after.is_none() {
            return;
        }
        let is_lost = |f: &Flight| f.lost_at(&self.config).is_some_and(|at| now >= at);
        let lost: Vec<_> = self.flights.iter().filter(|(_, f)| is_lost(f)).map(|(id, _)| *id).collect();
        for flight in lost {
            let Some(state) = self.flights.get(&flight) else { continue };
            let waited = now.saturating_sub(state.heard);
            for task in state.outstanding.clone().into_iter().flatten() {
                let failure = Failure::NeverStarted { waited };
                let failed = Failed { task, failure, stderr: String::new(), timing: Timing::default() };
                self.failed(now, flight, failed, updates);
            }
            updates.push(Update::Cancel { flight });
        }
    }

    /// With workers idle and nothing ready, asks back part of the longest flight.
    pub(super) fn reclaim(&mut self, updates: &mut Vec<Update>) {
        if self.flights.is_empty() || !self.has_idle_workers() {
            return;
        }
        let room = |f: &Flight| self.jobs.get(&f.job).is_some_and(Job::has_room);
        let candidates = self.flights.iter_mut().filter(|(_, f)| f.left() > 1 && !f.reclaimed && room(f));
        if let Some((flight, state)) = candidates.max_by_key(|(id, f)| (f.left(), **id)) {
            state.reclaimed = true;
            updates.push(Update::Reclaim { flight: *flight });
        }
    }

    /// When `flight` may get a copy, if it may: when it is late, and long after where the job has much
    /// else to do.
    fn copy_at(&self, flight: &Flight, rules: &mut Rules<'_>) -> Option<Time> {
        if flight.block.limits().at_most_once || flight.copied || flight.copies_before + 1 >= self.config.attempts {
            return None;
        }
        let times = if rules.mostly_done.contains(&flight.job) { 1 } else { LATER };
        Some(flight.heard.saturating_add(rules.patience(flight)?.saturating_mul(times)))
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
        for flight in self.flights.values() {
            let times = [rules.late_at(flight), self.copy_at(flight, &mut rules)];
            let next = times.into_iter().flatten().filter(|at| *at > self.now).min();
            first = [first, next].into_iter().flatten().min();
        }
        first
    }

    /// Counts flights that are late. They are lost, or on machines that are slow: others take their
    /// places, lest a few that are lost hold up everything.
    pub(super) fn count_late(&mut self, now: Time) {
        if let Some(mut rules) = self.rules() {
            let late = self.flights.values().filter(|f| rules.late_at(f).is_some_and(|at| at <= now)).count();
            // Never more than twice as many flights as there are slots.
            self.late = late.min(self.config.slots);
        }
    }

    /// Whether workers run nothing, or only what waits for other calls.
    pub(super) fn has_idle_workers(&self) -> bool {
        self.flights.len().saturating_sub(self.blocked) < self.config.workers
    }

    /// Flights that take a slot.
    pub(super) fn in_time(&self) -> usize {
        self.flights.len().saturating_sub(self.late).saturating_sub(self.blocked)
    }

    /// Readies copies of stragglers, as many as there are idle workers.
    pub(super) fn speculate(&mut self, now: Time) {
        let idle = self.config.workers.saturating_sub(self.in_time());
        let Some(mut rules) = self.rules().filter(|_| idle > 0) else { return };
        let mut due = |f: &Flight| self.copy_at(f, &mut rules).is_some_and(|at| at <= now);
        let mut found: Vec<_> = self.flights.iter().filter(|(_, f)| due(f)).map(|(id, _)| *id).collect();
        found.sort_unstable();
        for id in found.into_iter().take(idle) {
            let Some(flight) = self.flights.get_mut(&id) else { continue };
            flight.copied = true;
            let (job, attempt, block) = (flight.job, flight.attempt, flight.block.clone());
            if let Some(state) = self.jobs.get_mut(&job) {
                state.copied = true;
            }
            for tasks in flight.outstanding.clone() {
                self.give_back(job, Run { block: block.clone(), tasks, attempt, queued: now });
            }
        }
    }

    /// Whether any task of the job was ever given a second flight.
    fn has_copies(&self, job: JobKey) -> bool {
        self.jobs.get(&job).is_some_and(|state| state.copied)
    }

    /// How many flights have the task.
    pub(super) fn copies(&self, job: JobKey, task: u64) -> u32 {
        if !self.has_copies(job) {
            return 0;
        }
        let has = |f: &&Flight| f.job == job && f.outstanding.iter().any(|r| r.contains(&task));
        self.flights.values().filter(has).count() as u32
    }

    /// The copy of a task failed, or was refused: what is left of it may get another.
    pub(super) fn may_copy_again(&mut self, job: JobKey, task: u64) {
        let has = |f: &&mut Flight| f.job == job && f.outstanding.iter().any(|r| r.contains(&task));
        self.flights.values_mut().filter(has).for_each(|flight| flight.copied = false);
    }

    /// Takes tasks that one flight has done off the others, and stops those that have none left.
    pub(super) fn cancel_copies(&mut self, now: Time, job: JobKey, tasks: &Range<u64>, updates: &mut Vec<Update>) {
        // Without copies there is nothing to look for among ten thousand flights.
        if !self.has_copies(job) {
            return;
        }
        let mut beaten = Vec::new();
        for (id, flight) in &mut self.flights {
            if flight.job == job {
                let removed = super::ranges::remove(&mut flight.outstanding, tasks);
                if let Some(state) = self.jobs.get_mut(&job) {
                    state.running -= removed.iter().map(|r| r.end - r.start).sum::<u64>();
                }
                if flight.outstanding.is_empty() {
                    beaten.push(*id);
                }
            }
        }
        for flight in beaten {
            if let Some(Flight { at_once, block, heard, .. }) = self.flights.remove(&flight)
                && let Some(state) = self.jobs.get_mut(&job)
            {
                state.at_once -= at_once;
                state.spent_usd += self.config.usd(&block, now.saturating_sub(heard));
            }
            updates.push(Update::Cancel { flight });
        }
        // A copy that has not begun need not begin.
        if let Some(state) = self.jobs.get_mut(&job) {
            let done = &state.done;
            state.ready.retain(|run| run.tasks.clone().any(|task| !done.contains(task)));
            state.ready_tasks = state.ready.iter().map(|run| run.tasks.end - run.tasks.start).sum();
        }
    }
}
