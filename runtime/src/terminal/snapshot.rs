//! The progress of a job at one moment, and its form as a line of text.

use std::fmt;
use std::time::Duration;

use indicatif::HumanDuration;

/// The progress of a job at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProgressSnapshot {
    /// Number of tasks that succeeded, in this run of the job or an earlier one.
    pub done: u64,
    /// Number of tasks of `done` that an earlier run did.
    pub earlier: u64,
    /// Number of tasks that failed permanently.
    pub failed: u64,
    /// Number of attempts that were retried.
    pub retried: u64,
    /// Number of tasks that run.
    pub running: u64,
    /// Number of tasks that wait, including those that were sent ahead to a busy worker.
    pub queued: u64,
    /// Total number of tasks, if it is known.
    pub tasks: Option<u64>,
    /// Time since the run started.
    pub elapsed: Duration,
    /// Cost so far, in dollars.
    pub usd: f64,
}

impl ProgressSnapshot {
    /// Returns the tasks done per second since the run started.
    pub fn per_second(&self) -> f64 {
        self.done.saturating_sub(self.earlier) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Estimates the remaining time from the average rate so far. Returns `None` if that is not possible.
    pub fn left(&self) -> Option<Duration> {
        let left = self.tasks?.checked_sub(self.ended())?;
        let seconds = left as f64 / self.per_second();
        (self.done > self.earlier).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    /// Returns the number of tasks that succeeded or failed.
    pub(super) fn ended(&self) -> u64 {
        self.done.saturating_add(self.failed)
    }

    /// Formats the rate, if any task was done in this run.
    pub(super) fn rate(&self) -> Option<String> {
        let rate = self.per_second();
        let digits = usize::from(rate < 10.0);
        (self.done > self.earlier).then(|| format!("{rate:.digits$}/s"))
    }

    /// Formats the cost, if there is one.
    pub(super) fn cost(&self) -> Option<String> {
        (self.usd > 0.0).then(|| format!("{:.4} USD", self.usd))
    }

    /// Returns whether the job has no task yet that runs or waits: the program still prepares the first inputs. Later,
    /// a job may also be without such tasks because the program does not take its results.
    pub(super) fn is_waiting_for_inputs(&self) -> bool {
        self.ended() == 0 && self.running == 0 && self.queued == 0
    }
}

/// Writes the snapshot as one line, without the counts that are zero:
///
/// ```
/// use std::time::Duration;
/// use wren::history::ProgressSnapshot;
///
/// let snapshot = ProgressSnapshot {
///     done: 1_200, earlier: 0, failed: 2, retried: 0, running: 500, queued: 8_298, tasks: Some(10_000),
///     elapsed: Duration::from_secs(60), usd: 0.0123,
/// };
/// assert_eq!(
///     snapshot.to_string(),
///     "1200/10000 done, 500 running, 8298 queued, 2 failed, 20/s, 7 minutes left, 0.0123 USD"
/// );
/// ```
impl fmt::Display for ProgressSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tasks {
            Some(tasks) => write!(f, "{}/{tasks} done", self.done)?,
            None => write!(f, "{} done", self.done)?,
        }
        for (count, what) in
            [(self.running, "running"), (self.queued, "queued"), (self.failed, "failed"), (self.retried, "retried")]
        {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        let left = self.left().filter(|left| !left.is_zero()).map(|left| format!("{} left", HumanDuration(left)));
        [self.rate(), left, self.cost()].iter().flatten().try_for_each(|text| write!(f, ", {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_has_done_nothing_has_no_rate() {
        let started = ProgressSnapshot { running: 2, queued: 98, tasks: Some(100), ..ProgressSnapshot::default() };
        assert_eq!(started.to_string(), "0/100 done, 2 running, 98 queued");
        assert_eq!(started.left(), None);
    }

    #[test]
    fn failed_tasks_are_not_left() {
        let elapsed = Duration::from_secs(10);
        let half = ProgressSnapshot { done: 40, failed: 10, tasks: Some(100), elapsed, ..ProgressSnapshot::default() };
        assert_eq!(half.left(), Some(Duration::from_micros(12_500_000)));
        let over = ProgressSnapshot { done: 90, failed: 10, tasks: Some(100), elapsed, ..ProgressSnapshot::default() };
        assert_eq!(over.to_string(), "90/100 done, 10 failed, 9.0/s");
        let unknown = ProgressSnapshot { done: 90, elapsed, ..ProgressSnapshot::default() };
        assert_eq!(unknown.to_string(), "90 done, 9.0/s");
        // More tasks than announced.
        let more = ProgressSnapshot { done: 101, tasks: Some(100), elapsed, ..ProgressSnapshot::default() };
        assert_eq!(more.left(), None);
    }

    #[test]
    fn tasks_of_earlier_runs_do_not_count_for_the_rate() {
        let elapsed = Duration::from_secs(10);
        let resumed = ProgressSnapshot { done: 60, earlier: 50, tasks: Some(100), elapsed, ..Default::default() };
        assert_eq!(resumed.to_string(), "60/100 done, 1.0/s, 40 seconds left");
        let found = ProgressSnapshot { done: 50, earlier: 50, tasks: Some(100), elapsed, ..Default::default() };
        assert_eq!((found.to_string().as_str(), found.left()), ("50/100 done", None));
    }
}
