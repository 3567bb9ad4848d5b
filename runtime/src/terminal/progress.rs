//! Progress bars on standard error.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ProgressSnapshot;
use super::fit::{bar_line, cut};
use super::lines::{self, Number, columns, shows_bars};
use super::style::colours;

/// A job shows its bar only after this time.
const SHOW_AFTER: Duration = Duration::from_millis(300);

/// The bar of one job, on standard error.
#[derive(Debug)]
pub struct ProgressBar {
    name: String,
    line: StatusLine,
}

impl ProgressBar {
    /// Creates a bar, labeled with the job's name or else with its function. Returns `None` if standard error is not a
    /// terminal, or one that cannot move its cursor (`TERM=dumb`).
    pub fn new(name: Option<&str>, function: &str) -> Option<Self> {
        shows_bars().then(|| Self::numbered(next_number(), name, function))
    }

    pub(super) fn numbered(number: Number, name: Option<&str>, function: &str) -> Self {
        let short = function.rsplit("::").next().unwrap_or(function);
        let name = name.unwrap_or(short).chars().filter(|c| !c.is_control()).collect();
        Self { name, line: StatusLine::new(number) }
    }

    /// Shows the progress of the job, once it has run for 300 ms.
    pub fn update(&mut self, snapshot: &ProgressSnapshot) {
        self.set(snapshot);
        lines::draw();
    }

    /// Like [`update`](Self::update), but leaves the drawing to the caller.
    pub(super) fn set(&mut self, snapshot: &ProgressSnapshot) {
        if self.line.is_set || snapshot.elapsed >= SHOW_AFTER {
            self.line.set(bar_line(&self.name, snapshot, columns(), colours()));
        }
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        if self.line.is_set {
            self.line.end();
            lines::draw();
        }
    }
}

pub(super) fn next_number() -> Number {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// A status line. When it is dropped, the next drawing removes it from the terminal.
#[derive(Debug)]
pub(super) struct StatusLine {
    number: Number,
    is_set: bool,
}

impl StatusLine {
    pub(super) fn new(number: Number) -> Self {
        Self { number, is_set: false }
    }

    fn set(&mut self, line: String) {
        self.is_set = true;
        lines::set(self.number, line);
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.is_set) {
            lines::remove(self.number);
        }
    }

    /// Shows a text without control characters, cut at the width of the terminal.
    pub(super) fn say(&mut self, text: &str) {
        self.set(cut(text, columns()));
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.end();
    }
}
