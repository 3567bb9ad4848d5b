//! What a job shows on the terminal: its progress, its summary and its failures.

use std::time::Duration;

use super::failures::{Failures, tasks_in_words};
use super::{About, ProgressSnapshot};
use crate::terminal::{self, Bar, Style};

/// Without a terminal for a progress bar, a job prints a line in this interval.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The totals of one run of a job.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Tasks that succeeded in this run.
    pub(super) done: u64,
    /// Tasks whose results an earlier run had left.
    pub(super) earlier: u64,
    pub(super) failed: u64,
    pub(super) retried: u64,
    pub(super) submitted: u64,
    pub(super) compute: Duration,
    pub(super) usd: f64,
}

impl Totals {
    /// Returns the number of tasks of the job, as far as it is known.
    fn tasks(&self, about: &About) -> u64 {
        about.tasks.unwrap_or(self.submitted + self.earlier)
    }

    pub(super) fn snapshot(&self, about: &About, running: u64, queued: u64, elapsed: Duration) -> ProgressSnapshot {
        ProgressSnapshot {
            done: self.done + self.earlier,
            earlier: self.earlier,
            failed: self.failed,
            retried: self.retried,
            running,
            queued,
            tasks: Some(self.tasks(about)),
            elapsed,
            usd: self.usd,
        }
    }
}

/// The display of one job.
#[derive(Debug)]
pub(super) struct Display {
    is_quiet: bool,
    bar: Option<Bar>,
    /// When to print the next line of progress, as time since the start of the job.
    next_line: Duration,
    failures: Failures,
}

impl Display {
    pub(super) fn new(about: &About, is_quiet: bool) -> Self {
        let bar = (!is_quiet).then(|| Bar::new(about.name.as_deref(), &about.function)).flatten();
        Self { is_quiet, bar, next_line: LINE_EVERY, failures: Failures::default() }
    }

    /// Shows nothing from now on.
    pub(super) fn make_quiet(&mut self) {
        self.is_quiet = true;
        self.bar = None;
    }

    pub(super) fn note(&self, text: &str) {
        if !self.is_quiet {
            terminal::note(text);
        }
    }

    pub(super) fn failed(&mut self, task: u64, class: &str, message: &str, stderr: &str) {
        if !self.is_quiet {
            self.failures.add(task, class, message, stderr);
        }
    }

    pub(super) fn report_progress(&mut self, about: &About, snapshot: ProgressSnapshot) {
        if let Some(bar) = &self.bar {
            bar.update(snapshot);
        } else if let Some(line) = self.line(about, &snapshot) {
            terminal::note(&line);
        }
    }

    /// Returns the line of progress if it is time for one.
    fn line(&mut self, about: &About, snapshot: &ProgressSnapshot) -> Option<String> {
        if self.is_quiet || snapshot.elapsed < self.next_line {
            return None;
        }
        self.next_line = snapshot.elapsed.saturating_add(LINE_EVERY);
        Some(format!("{}: {snapshot}", about.id))
    }

    /// Removes the bar, and prints the summary of the job and its failures. `has_log` says whether the commands of
    /// `cargo wren` can read the job.
    pub(super) fn end(&mut self, about: &About, totals: &Totals, state: &str, wall: Duration, has_log: bool) {
        self.bar = None;
        if self.is_quiet {
            return;
        }
        terminal::note(&summary(about, totals, state, wall));
        for line in self.failure_lines(about, totals, state, has_log) {
            let is_heading = !line.starts_with(' ');
            terminal::note(&if is_heading { terminal::paint(Style::Failure, &line) } else { line });
        }
    }

    fn failure_lines(&self, about: &About, totals: &Totals, state: &str, has_log: bool) -> Vec<String> {
        let tasks = totals.tasks(about);
        // The error of a failed job names its first failure, and most programs print it.
        let beside_the_error = if state == "failed" { self.failures.beside_the_error(tasks) } else { None };
        let mut lines = beside_the_error.unwrap_or_else(|| self.failures.causes(Some(tasks)));
        if has_log {
            lines.extend(self.failures.commands(&about.id));
        }
        lines
    }
}

fn summary(about: &About, totals: &Totals, state: &str, wall: Duration) -> String {
    let Totals { earlier, failed, retried, compute, usd, .. } = *totals;
    let (tasks, done) = (totals.tasks(about), totals.done + earlier);
    let of_tasks = if done == tasks { tasks_in_words(tasks) } else { format!("{done} of {}", tasks_in_words(tasks)) };
    let (job, function) = (about.name.as_deref().unwrap_or("job"), &about.function);
    let mut text = format!("{job} {state}: {of_tasks} of {function} in {wall:.2?}");
    // A run that only found earlier results computed nothing.
    if totals.done + failed + retried > 0 || earlier == 0 {
        text += &format!(", {compute:.2?} of compute ({:.1}x)", compute.as_secs_f64() / wall.as_secs_f64().max(1e-9));
    }
    if earlier > 0 {
        let were = if earlier == 1 { "was" } else { "were" };
        text += &format!(", {earlier} of {tasks} {were} done before");
    }
    for (count, what) in [(failed, "failed"), (retried, "retried")] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if usd > 0.0 {
        text += &format!(", about {usd:.4} USD");
    }
    text + &format!("; job {}", about.id)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn about(tasks: Option<u64>) -> About {
        About {
            id: "k3x9".to_owned(),
            name: None,
            function: "demo::f".to_owned(),
            tasks,
            backend: "local".to_owned(),
            workers: 2,
            memory_mb: None,
            store: String::new(),
            stage: None,
            program: PathBuf::new(),
        }
    }

    #[test]
    fn summaries_count_in_words() {
        let of = |tasks, state, totals: Totals| {
            let compute = Duration::from_millis(3_000);
            summary(&about(tasks), &Totals { compute, ..totals }, state, Duration::from_secs(2))
        };
        let lines = [
            of(Some(60), "done", Totals { done: 60, submitted: 60, ..Totals::default() }),
            of(Some(1), "done", Totals { done: 1, submitted: 1, ..Totals::default() }),
            of(None, "done", Totals { done: 6, submitted: 7, failed: 1, retried: 2, usd: 0.01, ..Totals::default() }),
            of(Some(60), "failed", Totals { done: 14, submitted: 60, failed: 1, ..Totals::default() }),
            of(Some(1), "failed", Totals { submitted: 1, failed: 1, ..Totals::default() }),
            of(Some(30), "done", Totals { earlier: 30, ..Totals::default() }),
            of(Some(30), "done", Totals { done: 29, submitted: 29, earlier: 1, ..Totals::default() }),
            of(None, "cancelled", Totals { done: 4, submitted: 9, earlier: 2, ..Totals::default() }),
        ];
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn lines_of_progress_come_every_ten_seconds() {
        let about = about(Some(100));
        let mut display = Display { bar: None, ..Display::new(&about, false) };
        let totals = Totals { done: 10, submitted: 100, ..Totals::default() };
        let mut line = |seconds| display.line(&about, &totals.snapshot(&about, 2, 88, Duration::from_secs(seconds)));
        assert_eq!((line(0), line(9)), (None, None));
        assert_eq!(line(10).unwrap(), "k3x9: 10/100 done, 2 running, 88 queued, 1.0/s, 2 minutes left");
        assert_eq!(line(11), None);
        assert!(line(25).is_some());
        assert_eq!(line(34), None);
        display.make_quiet();
        assert_eq!(display.line(&about, &totals.snapshot(&about, 2, 88, Duration::from_secs(90))), None);
    }

    #[test]
    fn commands_need_a_log_and_quiet_jobs_keep_no_failures() {
        let about = about(Some(2));
        let totals = Totals { done: 1, failed: 1, submitted: 2, ..Totals::default() };
        for (is_quiet, has_log, count) in [(false, true, 4), (false, false, 2), (true, true, 0)] {
            let mut display = Display { bar: None, ..Display::new(&about, is_quiet) };
            display.failed(1, "returned", "`demo::f` task 1 returned an error: no", "");
            assert_eq!(display.failure_lines(&about, &totals, "done", has_log).len(), count);
        }
    }
}
