//! Handling of failed tasks: a retry after a pause, or a permanent failure.

use std::collections::BTreeMap;

use super::job::ReadyTasks;
use super::{Failed, JobKey, Origin, Scheduler, Time, Update};
use crate::attempt::BatchId;
use crate::error::{Failure, FailureClass};

/// Tasks that pause before their next attempt.
#[derive(Debug)]
pub(super) struct Retries {
    waiting: BTreeMap<(Time, u64), (JobKey, ReadyTasks)>,
    random: fastrand::Rng,
    count: u64,
}

impl Retries {
    pub(super) fn new(seed: u64) -> Self {
        Self { waiting: BTreeMap::new(), random: fastrand::Rng::with_seed(seed), count: 0 }
    }

    fn add(&mut self, at: Time, job: JobKey, run: ReadyTasks) {
        self.count += 1;
        self.waiting.insert((at, self.count), (job, run));
    }

    /// Removes and returns a retry that is due.
    pub(super) fn due(&mut self, now: Time) -> Option<(JobKey, ReadyTasks)> {
        let first = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    /// Returns when the next retry is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn forget(&mut self, job: JobKey) {
        self.waiting.retain(|_, (other, _)| *other != job);
    }
}

impl Scheduler {
    pub(super) fn failed(&mut self, now: Time, batch_id: BatchId, failed: Failed, updates: &mut Vec<Update>) {
        let Failed { task, failure, stderr, timing } = failed;
        let Some((Origin { job, block, attempt, sent, silent }, _)) = self.settle(now, batch_id, &(task..task + 1))
        else {
            return;
        };
        let class = failure.class();
        if class == FailureClass::Throttle {
            self.window.refused(now);
        }
        // A copy of the task may still succeed, or already has.
        let has_copy = self.copies(job, task) > 0;
        let Some(state) = self.jobs.get_mut(&job) else { return };
        // If the machine reported no cost, the estimate is the time since the last reply about the batch.
        state.spent_usd += match failure {
            Failure::Throttled { .. } | Failure::NeverStarted { .. } => 0.0,
            _ if timing.usd == 0.0 => self.config.usd(&block, silent),
            _ => timing.usd,
        };
        if state.done.contains(task) {
            return;
        }
        if has_copy {
            return self.may_copy_again(job, task);
        }
        let limits = block.limits();
        let may_have_run = matches!(class, FailureClass::Machine | FailureClass::Store);
        let (failure, class) = match limits.at_most_once && class != FailureClass::Throttle {
            true if may_have_run => (Failure::MayHaveRun { cause: failure.into() }, FailureClass::Permanent),
            true => (failure, FailureClass::Permanent),
            false => (failure, class),
        };
        let mut backoff = self.config.backoff;
        let tried = state.tried.entry(task).or_default();
        let (count, limit) = match class {
            FailureClass::Function => {
                backoff = limits.backoff.unwrap_or(backoff);
                (&mut tried.function_failures, limits.retries.unwrap_or(0).saturating_add(1))
            }
            FailureClass::Machine | FailureClass::Store => (&mut tried.machine_failures, self.config.attempts),
            FailureClass::Throttle => (&mut tried.refusals, self.config.throttle_attempts),
            FailureClass::Permanent => (&mut tried.machine_failures, 0),
        };
        *count += 1;
        let count = *count;
        if count < limit {
            let at = now.saturating_add(backoff.pause(count, &mut self.retries.random));
            // A refused batch did not run, so it does not count as an attempt.
            let next = if class == FailureClass::Throttle { attempt } else { attempt + 1 };
            state.pausing += 1;
            state.retried += u64::from(next > attempt);
            let run = ReadyTasks { block: block.clone(), tasks: task..task + 1, attempt: next, queued: at };
            self.retries.add(at, job, run);
            updates.push(Update::Retry { job, task, attempt, failure, block, at, sent, timing });
        } else {
            state.tried.remove(&task);
            state.failed += 1;
            // Later replies for this task are ignored.
            state.done.insert(task..task + 1);
            let function = block.function().name;
            updates.push(Update::Failed { job, task, attempt, function, failure, stderr, block, sent, timing });
            self.end_if_over(job, updates);
        }
    }
}
