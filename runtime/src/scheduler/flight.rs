//! Invocations under way: which are lost, which have more than an idle worker would mind, which get
//! a second copy.

use std::ops::Range;
use std::sync::Arc;

use super::job::Run;
use super::{Config, Failed, JobKey, Scheduler, Time, Update};
use crate::backend::Timing;
use crate::block::Block;
use crate::error::Failure;

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) job: JobKey,
    pub(super) block: Arc<Block>,
    pub(super) attempt: u32,
    /// Tasks not accounted for.
    pub(super) outstanding: Vec<Range<u64>>,
    /// When it began, or a reply last came.
    pub(super) heard: Time,
    /// Whether its tasks were asked back since.
    pub(super) reclaimed: bool,
    /// Whether a copy of it runs, or it is one.
    pub(super) copied: bool,
}

impl Flight {
    pub(super) fn new(job: JobKey, run: &Run, now: Time) -> Self {
        Self {
            job,
            block: run.block.clone(),
            attempt: run.attempt,
            outstanding: vec![run.tasks.clone()],
            heard: now,
            reclaimed: false,
            copied: false,
        }
    }

    fn left(&self) -> u64 {
        self.outstanding.iter().map(|r| r.end - r.start).sum()
    }

    /// When it counts as lost: after the time that its tasks may take, and the wait for a start.
    pub(super) fn lost_at(&self, config: &Config) -> Option<Time> {
        let tasks = u32::try_from(self.left()).unwrap_or(u32::MAX);
        let may_take = self.block.limits().timeout.unwrap_or_default().saturating_mul(tasks);
        Some(self.heard.saturating_add(may_take).saturating_add(config.lost_after?))
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
                let timing = Timing { ended: now, ..Timing::default() };
                self.failed(now, flight, Failed { task, failure, stderr: String::new(), timing }, updates);
            }
            updates.push(Update::Cancel { flight });
        }
    }

    /// With workers idle and nothing ready, asks back part of the longest flight.
    pub(super) fn reclaim(&mut self, updates: &mut Vec<Update>) {
        if self.flights.is_empty() || self.flights.len() >= self.config.workers {
            return;
        }
        let whole = |f: &Flight| self.jobs.get(&f.job).is_none_or(|job| job.spec.chunk.is_some());
        let candidates = self.flights.iter_mut().filter(|(_, f)| f.left() > 1 && !f.reclaimed && !whole(f));
        if let Some((flight, state)) = candidates.max_by_key(|(id, f)| (f.left(), **id)) {
            state.reclaimed = true;
            updates.push(Update::Reclaim { flight: *flight });
        }
    }

    /// When `flight` may get a copy, if it may.
    fn copy_at(&self, flight: &Flight) -> Option<Time> {
        let rule = self.config.speculation?;
        let job = self.jobs.get(&flight.job)?;
        let mean = self.means.get(flight.block.function().name)?;
        let mostly_done = job.closed && job.succeeded as f64 >= rule.done_fraction * job.submitted as f64;
        let wait = mean.mul_f64(rule.factor).max(rule.at_least);
        (mostly_done && !flight.copied && flight.left() == 1).then_some(flight.heard + wait)
    }

    pub(super) fn speculation_at(&self) -> Option<Time> {
        if self.config.speculation.is_none() || self.flights.len() >= self.config.slots {
            return None;
        }
        self.flights.values().filter_map(|flight| self.copy_at(flight)).min()
    }

    /// Readies a second copy of a straggler.
    pub(super) fn speculate(&mut self, now: Time) {
        if self.config.speculation.is_none() || self.flights.len() >= self.config.workers {
            return;
        }
        let due = |f: &Flight| self.copy_at(f).is_some_and(|at| at <= now);
        let found = self.flights.iter().filter(|(_, f)| due(f)).map(|(id, _)| *id).min();
        let Some(flight) = found.and_then(|id| self.flights.get_mut(&id)) else { return };
        flight.copied = true;
        let (job, attempt, block) = (flight.job, flight.attempt, flight.block.clone());
        if let Some(tasks) = flight.outstanding.first().cloned() {
            self.give_back(job, Run { block, tasks, attempt });
        }
    }

    /// Whether the task runs in another flight too.
    pub(super) fn has_copy(&self, job: JobKey, task: u64) -> bool {
        self.config.speculation.is_some()
            && self.flights.values().any(|f| f.job == job && f.outstanding.iter().any(|r| r.contains(&task)))
    }

    /// Stops flights whose one task another flight has done.
    pub(super) fn cancel_copies(&mut self, job: JobKey, tasks: &Range<u64>, updates: &mut Vec<Update>) {
        if self.config.speculation.is_none() {
            return;
        }
        let beaten =
            |f: &Flight| f.job == job && f.outstanding.iter().all(|r| r.start >= tasks.start && r.end <= tasks.end);
        let beaten: Vec<_> = self.flights.iter().filter(|(_, f)| beaten(f)).map(|(id, _)| *id).collect();
        for flight in beaten {
            if let Some(state) = self.flights.remove(&flight)
                && let Some(job) = self.jobs.get_mut(&job)
            {
                job.running -= state.left();
            }
            updates.push(Update::Cancel { flight });
        }
        // A copy that has not begun need not begin.
        if let Some(state) = self.jobs.get_mut(&job) {
            let before = state.ready.len();
            let done = &state.done;
            state.ready.retain(|run| !(run.tasks.end - run.tasks.start == 1 && done.contains(run.tasks.start)));
            state.ready_tasks -= (before - state.ready.len()) as u64;
        }
    }
}
