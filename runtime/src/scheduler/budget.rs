//! What a job may cost: what it has spent, what runs, and when it is stopped.
//!
//! What runs counts at the mean of earlier calls, and once it has run longer than that at what it has run so far and
//! what stopping it takes. A job is stopped when that is more than its budget, so that it passes it only by what calls
//! cost that are stopped later than [`Config::stops_within`] says.

use std::time::Duration;

use super::flight::Flight;
use super::{Config, JobKey, Scheduler, Time, Update};

/// How often it is looked at what runs of jobs with a budget.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the flights of a job cost, in dollars.
#[derive(Debug, Default, Clone, Copy)]
struct UnderWay {
    /// What can be given back at no cost included.
    whole: f64,
    /// What has run, and what stopping it takes where it runs longer than expected.
    run: f64,
}

impl UnderWay {
    fn of(flight: &Flight, mean: Duration, now: Time, config: &Config) -> Self {
        let usd = |time: Duration| (config.usd_per_second)(flight.block.limits().memory_mb) * time.as_secs_f64();
        let left = u32::try_from(flight.left() / flight.at_once.max(1)).unwrap_or(u32::MAX).max(1);
        let expected = mean.saturating_mul(left);
        let has_run = now.saturating_sub(flight.heard);
        let run = if has_run <= expected { has_run } else { has_run.saturating_add(config.stops_within) };
        Self { whole: usd(expected.max(run)), run: usd(run) }
    }
}

impl Scheduler {
    fn under_way(&self, job: JobKey, now: Time) -> UnderWay {
        let flights = self.flights.values().filter(|flight| flight.job == job);
        flights.fold(UnderWay::default(), |sum, flight| {
            let mean = self.means.get(flight.block.function().name).copied().unwrap_or_default();
            let UnderWay { whole, run } = UnderWay::of(flight, mean, now, &self.config);
            UnderWay { whole: sum.whole + whole, run: sum.run + run }
        })
    }

    /// What a job may spend beside what is under way; none for jobs without a budget.
    pub(super) fn left_usd(&self, job: JobKey, now: Time) -> Option<f64> {
        let state = self.jobs.get(&job)?;
        let budget = state.spec.budget_usd?;
        Some(budget - state.spent_usd - self.under_way(job, now).whole)
    }

    pub(super) fn next_look_at_budgets(&self) -> Option<Time> {
        (self.budgeted > 0 && !self.flights.is_empty()).then_some(self.budgets_at)
    }

    /// Marks jobs whose calls run so long that they would pass the budget; of those that might, asks back what has not
    /// begun.
    pub(super) fn look_at_budgets(&mut self, now: Time, updates: &mut Vec<Update>) {
        if self.budgeted == 0 || now < self.budgets_at {
            return;
        }
        self.budgets_at = now.saturating_add(LOOK_EVERY);
        let budgets = self.jobs.iter().filter_map(|(key, job)| Some((*key, job.spec.budget_usd?, job.spent_usd)));
        for (job, budget, spent) in budgets.collect::<Vec<_>>() {
            let UnderWay { whole, run } = self.under_way(job, now);
            if spent + run > budget {
                self.over_budget = true;
                self.jobs.get_mut(&job).into_iter().for_each(|state| state.over_budget = true);
            } else if spent + whole > budget {
                let flights = self.flights.iter_mut().filter(|(_, f)| f.job == job && f.left() > 1 && !f.reclaimed);
                updates.extend(flights.map(|(flight, state)| {
                    state.reclaimed = true;
                    Update::Reclaim { flight: *flight }
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
