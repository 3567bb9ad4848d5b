//! The progress of a job, and its progress bar, which is drawn only if standard error is a terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{HumanDuration, MultiProgress, ProgressDrawTarget, ProgressStyle};

/// A job shows its bar only after this time.
const SHOW_AFTER: Duration = Duration::from_millis(300);

fn bars() -> &'static Mutex<MultiProgress> {
    static BARS: OnceLock<Mutex<MultiProgress>> = OnceLock::new();
    // Redraws at most ten times per second.
    BARS.get_or_init(|| Mutex::new(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))))
}

/// Runs `write` without damaging the bars; `is_terminal` says whether it writes to a terminal.
pub(crate) fn above_the_bar<T>(is_terminal: bool, write: impl FnOnce() -> T) -> T {
    if !is_terminal || !io::stderr().is_terminal() {
        return write();
    }
    let bars = bars().lock().unwrap_or_else(PoisonError::into_inner).clone();
    bars.suspend(write)
}

/// The progress of a job at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProgressSnapshot {
    /// Number of tasks that succeeded.
    pub done: u64,
    /// Number of tasks that failed permanently.
    pub failed: u64,
    /// Number of attempts that were retried.
    pub retried: u64,
    /// Number of tasks in flight.
    pub running: u64,
    /// Number of tasks that wait.
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
        self.done as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Estimates the remaining time from the average rate so far. Returns `None` if that is not possible.
    pub fn left(&self) -> Option<Duration> {
        let left = self.tasks?.checked_sub(self.done + self.failed)?;
        let seconds = left as f64 / self.per_second();
        (self.done > 0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// Writes the snapshot as one line, without the counts that are zero:
///
/// ```
/// use std::time::Duration;
/// use wren::history::ProgressSnapshot;
///
/// let snapshot = ProgressSnapshot {
///     done: 1_200, failed: 2, retried: 0, running: 500, queued: 8_298, tasks: Some(10_000),
///     elapsed: Duration::from_secs(60), usd: 0.0123,
/// };
/// assert_eq!(
///     snapshot.to_string(),
///     "1200/10000 done, 500 running, 8298 queued, 2 failed, 20/s, 7 minutes left, 0.0123 USD"
/// );
/// ```
impl std::fmt::Display for ProgressSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tasks {
            Some(tasks) => write!(f, "{}/{tasks} done", self.done)?,
            None => write!(f, "{} done", self.done)?,
        }
        f.write_str(&self.beside_the_bar())
    }
}

impl ProgressSnapshot {
    /// Formats the part that a bar does not show by itself.
    fn beside_the_bar(&self) -> String {
        let mut text = String::new();
        for (count, what) in
            [(self.running, "running"), (self.queued, "queued"), (self.failed, "failed"), (self.retried, "retried")]
        {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        if self.done > 0 {
            let rate = self.per_second();
            let digits = usize::from(rate < 10.0);
            let _ = write!(text, ", {rate:.digits$}/s");
        }
        if let Some(left) = self.left().filter(|left| !left.is_zero()) {
            let _ = write!(text, ", {} left", HumanDuration(left));
        }
        if self.usd > 0.0 {
            let _ = write!(text, ", {:.4} USD", self.usd);
        }
        text
    }
}

/// The bar of one job, on standard error.
#[derive(Debug)]
pub struct ProgressBar {
    name: String,
    /// `None` until the job has run for [`SHOW_AFTER`].
    bar: Option<indicatif::ProgressBar>,
}

impl ProgressBar {
    /// Creates a bar, labeled with the job's name or else with its function. Returns `None` if standard error is not a
    /// terminal.
    pub fn new(name: Option<&str>, function: &str) -> Option<Self> {
        let short = function.rsplit("::").next().unwrap_or(function);
        let name = name.unwrap_or(short).to_owned();
        io::stderr().is_terminal().then_some(Self { name, bar: None })
    }

    /// Shows the progress of the job, once it has run for 300 ms.
    pub fn update(&mut self, snapshot: &ProgressSnapshot) {
        if self.bar.is_none() && snapshot.elapsed < SHOW_AFTER {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let template = "{prefix} [{bar:25}] {human_pos}/{human_len}{wide_msg}";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = indicatif::ProgressBar::with_draw_target(snapshot.tasks, ProgressDrawTarget::hidden())
                .with_style(style.progress_chars("=> "))
                .with_prefix(self.name.clone());
            bars().lock().unwrap_or_else(PoisonError::into_inner).add(bar)
        });
        if let Some(tasks) = snapshot.tasks {
            bar.set_length(tasks);
        }
        bar.set_position(snapshot.done);
        bar.set_message(snapshot.beside_the_bar());
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
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
}
