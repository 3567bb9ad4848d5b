//! Handles of the bars and status lines on standard error, which its thread draws.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::lines::{self, Number, shows_bars};
use super::progress::{ProgressBar, StatusLine, next_number};
use super::{ERR, ProgressSnapshot};

/// The progress bar of a job. It exists only if standard error can show it.
#[derive(Debug)]
pub(crate) struct Bar {
    number: Number,
    name: Option<String>,
    function: String,
}

impl Bar {
    pub(crate) fn new(name: Option<&str>, function: &str) -> Option<Self> {
        let (name, function) = (name.map(str::to_owned), function.to_owned());
        shows_bars().then(|| Self { number: next_number(), name, function })
    }

    pub(crate) fn update(&self, snapshot: ProgressSnapshot) {
        let change = Change::Update(self.name.clone(), self.function.clone(), snapshot);
        ERR.change_bars(|changes| changes.insert(self.number, change));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        ERR.remove_bar(self.number);
    }
}

/// A status line that says what the program does at the moment. It exists only if standard error can show it.
#[derive(Debug)]
pub(crate) struct Activity(Number);

impl Activity {
    pub(crate) fn new() -> Option<Self> {
        shows_bars().then(|| Self(next_number()))
    }

    /// Shows this text, from `after` on.
    pub(crate) fn say(&self, text: String, after: Duration) {
        let due = Instant::now() + after;
        ERR.change_bars(|changes| changes.insert(self.0, Change::Say(due, text)));
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        ERR.remove_bar(self.0);
    }
}

/// A change of a bar or a status line. Of several queued changes, only the last one is applied.
#[derive(Debug)]
enum Change {
    /// The job's name, its function and its progress.
    Update(Option<String>, String, ProgressSnapshot),
    /// A text, and when to show it.
    Say(Instant, String),
    Remove,
}

/// Changes that wait for the thread.
#[derive(Debug)]
pub(super) struct Changes {
    changes: BTreeMap<Number, Change>,
    /// Whether all bars end, including those that are still to come.
    is_end: bool,
    /// Whether the thread must still learn of the end.
    is_new_end: bool,
}

impl Changes {
    pub(super) const fn new() -> Self {
        Self { changes: BTreeMap::new(), is_end: false, is_new_end: false }
    }

    pub(super) fn remove(&mut self, number: Number) {
        self.insert(number, Change::Remove);
    }

    fn insert(&mut self, number: Number, change: Change) {
        if !self.is_end {
            self.changes.insert(number, change);
        }
    }

    /// Ends all bars. If the thread has any, it must learn of that.
    pub(super) fn end(&mut self, has_bars: bool) {
        self.changes.clear();
        self.is_end = true;
        self.is_new_end = has_bars;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.is_new_end
    }

    pub(super) fn clear(&mut self) {
        self.changes.clear();
        self.is_new_end = false;
    }

    /// Takes the changes for the thread.
    pub(super) fn take(&mut self) -> Self {
        let changes = std::mem::take(&mut self.changes);
        Self { changes, is_end: self.is_end, is_new_end: std::mem::take(&mut self.is_new_end) }
    }
}

/// The bars and status lines of the thread that draws them.
#[derive(Default)]
pub(super) struct Bars {
    bars: BTreeMap<Number, ProgressBar>,
    lines: BTreeMap<Number, StatusLine>,
    /// Texts that are not shown yet, and when they are.
    due: BTreeMap<Number, (Instant, String)>,
}

impl Bars {
    pub(super) fn is_empty(&self) -> bool {
        self.bars.is_empty() && self.lines.is_empty() && self.due.is_empty()
    }

    /// Returns the time until the next text must be shown.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.due.values().map(|(at, _)| at.saturating_duration_since(Instant::now())).min()
    }

    pub(super) fn are_due(&self) -> bool {
        self.due_in().is_some_and(|wait| wait.is_zero())
    }

    /// Applies the changes, and draws the bars and status lines if there is anything new.
    pub(super) fn draw(&mut self, changes: Changes) {
        let mut is_new = changes.is_end || !changes.is_empty();
        if changes.is_end {
            *self = Self::default();
        }
        for (number, change) in changes.changes {
            match change {
                Change::Remove => {
                    self.bars.remove(&number);
                    self.lines.remove(&number);
                    self.due.remove(&number);
                }
                Change::Update(name, function, snapshot) => {
                    let new = || ProgressBar::numbered(number, name.as_deref(), &function);
                    self.bars.entry(number).or_insert_with(new).set(&snapshot);
                }
                Change::Say(at, text) => drop(self.due.insert(number, (at, text))),
            }
        }
        let now = Instant::now();
        for (number, (_, text)) in self.due.extract_if(.., |_, (at, _)| *at <= now) {
            self.lines.entry(number).or_insert_with(|| StatusLine::new(number)).say(&text);
            is_new = true;
        }
        if is_new {
            lines::draw();
        }
    }
}
