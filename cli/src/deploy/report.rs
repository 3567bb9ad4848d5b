//! Shows the steps of a deployment: one line per step, and a spinner on a terminal.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// The change that a step made or would make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Change {
    Keep,
    Create,
    Update,
    Delete,
    /// Unknown without credentials.
    Unknown,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    pub(crate) part: &'static str,
    pub(crate) name: String,
    pub(crate) change: Change,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
}

impl Step {
    fn line(&self, dry_run: bool) -> String {
        let result = match (self.change, dry_run) {
            (Change::Keep, _) => "is up to date",
            (Change::Create, false) => "created",
            (Change::Create, true) => "would be created",
            (Change::Update, false) => "updated",
            (Change::Update, true) => "would be updated",
            (Change::Delete, false) => "deleted",
            (Change::Delete, true) => "would be deleted",
            (Change::Unknown, _) => "unknown",
        };
        let detail = if self.detail.is_empty() { String::new() } else { format!(" ({})", self.detail) };
        format!("{:10} {} {result}{detail}", self.part, self.name)
    }
}

/// Shows steps on standard error, and keeps a list of them.
pub(crate) struct Report {
    dry_run: bool,
    quiet: bool,
    spinner: ProgressBar,
    steps: Mutex<Vec<Step>>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Report({:?})", self.steps())
    }
}

impl Report {
    pub(crate) fn new(dry_run: bool, quiet: bool) -> Self {
        let style =
            ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style);
        if !quiet && io::stderr().is_terminal() {
            spinner.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            spinner.enable_steady_tick(Duration::from_millis(100));
        }
        Self { dry_run, quiet, spinner, steps: Mutex::default() }
    }

    fn steps(&self) -> MutexGuard<'_, Vec<Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the text next to the spinner. It is only shown on a terminal.
    pub(crate) fn doing(&self, what: impl Into<String>) {
        self.spinner.set_message(what.into());
    }

    /// Hides the spinner while `run` writes to the terminal.
    pub(crate) fn aside<T>(&self, run: impl FnOnce() -> T) -> T {
        self.spinner.suspend(run)
    }

    /// Prints a line that is not a step.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.spinner.suspend(|| eprintln!("{text}"));
        }
    }

    /// Prints a step and adds it to the list.
    pub(crate) fn step(&self, part: &'static str, name: &str, change: Change, detail: impl Into<String>) {
        let step = Step { part, name: name.to_owned(), change, detail: detail.into() };
        self.note(&step.line(self.dry_run));
        self.steps().push(step);
    }

    pub(crate) fn all(&self) -> Vec<Step> {
        self.steps().clone()
    }

    /// Lists the resources that were created or updated so far; `None` if there are none.
    pub(crate) fn made(&self) -> Option<String> {
        let made = |step: &&Step| !self.dry_run && matches!(step.change, Change::Create | Change::Update);
        let names: Vec<_> = self.steps().iter().filter(made).map(|s| format!("{} {}", s.part, s.name)).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    pub(crate) fn finish(&self) {
        self.spinner.finish_and_clear();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_print_what_was_or_would_be_done() {
        let step = |change| Step { part: "bucket", name: "b".to_owned(), change, detail: String::new() };
        let line = |change, dry_run| step(change).line(dry_run);
        assert_eq!(line(Change::Create, false), "bucket     b created");
        assert_eq!(line(Change::Create, true), "bucket     b would be created");
        assert_eq!(line(Change::Keep, true), "bucket     b is up to date");
        let detailed = Step { detail: "tag, expiry".to_owned(), ..step(Change::Update) };
        assert_eq!(detailed.line(false), "bucket     b updated (tag, expiry)");
    }

    #[test]
    fn a_dry_run_has_made_nothing() {
        for (dry_run, made) in [(false, Some("role r, program p".to_owned())), (true, None)] {
            let report = Report::new(dry_run, true);
            report.step("bucket", "b", Change::Keep, "");
            report.step("role", "r", Change::Create, "");
            report.step("program", "p", Change::Update, "");
            assert_eq!(report.made(), made);
        }
    }
}
