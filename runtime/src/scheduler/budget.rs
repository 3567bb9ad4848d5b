//! Budgets: the cost of a job so far, the cost of its running batches, and the decision to stop it.
//!
//! A running call counts with the mean duration of earlier calls. Once a batch has run longer than that, plus an
//! allowance for the usual overhead of a batch, it counts with its time so far plus the time that it takes to stop
//! ([`SchedulerConfig::stops_within`]). A job is stopped when the sum is more than its budget. A job can still exceed
//! its budget: calls that start within the budget may run longer than earlier ones, and they cost money until the
//! scheduler notices and stops them.

use std::time::Duration;

use super::in_flight::InFlight;
use super::{JobKey, Scheduler, SchedulerConfig, Time, Update};
use crate::attempt::TaskBlock;

/// Interval between checks of jobs with a budget.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Cost of a job's running batches, in dollars.
#[derive(Debug, Default, Clone, Copy)]
struct RunningCost {
    /// Expected cost of the whole batches, including the part that has not run yet.
    whole: f64,
    /// Cost so far, plus the cost of stopping the batches that run longer than expected.
    run: f64,
}

impl SchedulerConfig {
    /// Returns the cost in dollars of a batch of `block` that runs for `time`.
    pub(super) fn usd(&self, block: &TaskBlock, time: Duration) -> f64 {
        (self.usd_per_second)(block.limits().memory_mb) * time.as_secs_f64()
    }

    /// Returns the expected duration of a call of `block`, given the mean duration of its function if it is known.
    pub(super) fn expected(&self, block: &TaskBlock, mean: Option<Duration>) -> Duration {
        mean.or(block.limits().timeout).unwrap_or(self.stops_within)
    }
}

impl Scheduler {
    fn under_way(&self, job: JobKey, now: Time) -> RunningCost {
        let in_flight = self.in_flight.values().filter(|batch| batch.job == job);
        in_flight.fold(RunningCost::default(), |sum, batch| {
            let RunningCost { whole, run } = self.of_batch(batch, now);
            RunningCost { whole: sum.whole + whole, run: sum.run + run }
        })
    }

    fn of_batch(&self, batch: &InFlight, now: Time) -> RunningCost {
        let config = &self.config;
        let mean = self.means.get(batch.block.function().id()).copied();
        let turns = u32::try_from(batch.left().div_ceil(batch.at_once.max(1))).unwrap_or(u32::MAX);
        let expected = config.expected(&batch.block, mean).saturating_mul(turns);
        // Some machines take longer to start than the mean, so the usual overhead counts twice.
        let late = expected.saturating_add(self.beside.saturating_mul(2));
        let has_run = now.saturating_sub(batch.last_report);
        let run = if has_run <= late { has_run.min(expected) } else { has_run.saturating_add(config.stops_within) };
        RunningCost { whole: config.usd(&batch.block, expected.max(run)), run: config.usd(&batch.block, run) }
    }

    /// Returns what a job may spend in addition to its running batches, or `None` if it has no budget.
    pub(super) fn left_usd(&self, job: JobKey, now: Time) -> Option<f64> {
        let state = self.jobs.get(&job)?;
        let budget = state.spec.budget_usd?;
        Some(budget - state.spent_usd - self.under_way(job, now).whole)
    }

    pub(super) fn next_look_at_budgets(&self) -> Option<Time> {
        (self.budgeted > 0 && !self.in_flight.is_empty()).then_some(self.budgets_at)
    }

    /// Marks jobs whose running calls would exceed the budget. For jobs that only might exceed it, asks the backend to
    /// return tasks that have not started.
    pub(super) fn look_at_budgets(&mut self, now: Time, updates: &mut Vec<Update>) {
        if self.budgeted == 0 || now < self.budgets_at {
            return;
        }
        self.budgets_at = now.saturating_add(LOOK_EVERY);
        let budgets = self.jobs.iter().filter_map(|(key, job)| Some((*key, job.spec.budget_usd?, job.spent_usd)));
        for (job, budget, spent) in budgets.collect::<Vec<_>>() {
            let RunningCost { whole, run } = self.under_way(job, now);
            if spent + run > budget {
                self.over_budget = true;
                self.jobs.get_mut(&job).into_iter().for_each(|state| state.over_budget = true);
            } else if spent + whole > budget {
                let in_flight = self.in_flight.iter_mut().filter(|(_, f)| f.job == job && f.left() > 1 && !f.reclaimed);
                updates.extend(in_flight.map(|(batch_id, state)| {
                    state.reclaimed = true;
                    Update::Reclaim { batch_id: *batch_id }
                }));
            }
        }
    }

    pub(super) fn stop_over_budget(&mut self, updates: &mut Vec<Update>) {
        if !std::mem::take(&mut self.over_budget) {
            return;
        }
        let over: Vec<_> =
            self.jobs.iter().filter(|(_, job)| job.over_budget).map(|(key, job)| (*key, job.spent_usd)).collect();
        for (job, spent) in over {
            let spent_usd = spent + self.under_way(job, self.now).run;
            updates.push(Update::OverBudget { job, spent_usd });
            self.cancel(job, updates);
        }
    }
}
