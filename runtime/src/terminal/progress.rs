//! Progress bars on standard error.

use std::env;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressDrawTarget, ProgressStyle};

use super::ProgressSnapshot;
use super::fit::{bar_line, cut};
use super::style::{colours, is_dumb};

/// A job shows its bar only after this time.
const SHOW_AFTER: Duration = Duration::from_millis(300);

/// The width of a terminal that does not tell its own.
const COLUMNS: usize = 80;

/// Columns that stay free at the end of a line: two for the `^C` that the terminal prints when its user presses Ctrl-C,
/// and one for the cursor. Otherwise the line would wrap there, and could not be removed completely.
const MARGIN: usize = 3;

fn bars() -> &'static Mutex<MultiProgress> {
    static BARS: OnceLock<Mutex<MultiProgress>> = OnceLock::new();
    // Redraws at most ten times per second.
    BARS.get_or_init(|| Mutex::new(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))))
}

/// Returns whether standard error shows bars: whether it is a terminal that can move its cursor.
pub(crate) fn shows_bars() -> bool {
    static SHOWS: OnceLock<bool> = OnceLock::new();
    *SHOWS.get_or_init(|| io::stderr().is_terminal() && !is_dumb(env::var_os("TERM")))
}

/// Runs `write` without damaging the bars; `is_terminal` says whether it writes to a terminal.
pub(super) fn above_the_bar<T>(is_terminal: bool, write: impl FnOnce() -> T) -> T {
    if !is_terminal || !shows_bars() {
        return write();
    }
    let bars = bars().lock().unwrap_or_else(PoisonError::into_inner).clone();
    bars.suspend(write)
}

/// Returns how many columns a line may have. The user may change the size of the terminal at any time.
fn columns() -> usize {
    let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { COLUMNS } else { columns }.saturating_sub(MARGIN)
}

/// The bar of one job, on standard error.
#[derive(Debug)]
pub struct ProgressBar {
    name: String,
    bar: StatusLine,
}

impl ProgressBar {
    /// Creates a bar, labeled with the job's name or else with its function. Returns `None` if standard error is not a
    /// terminal, or one that cannot move its cursor (`TERM=dumb`).
    pub fn new(name: Option<&str>, function: &str) -> Option<Self> {
        let short = function.rsplit("::").next().unwrap_or(function);
        let name = name.unwrap_or(short).chars().filter(|c| !c.is_control()).collect();
        shows_bars().then(|| Self { name, bar: StatusLine::default() })
    }

    /// Shows the progress of the job, once it has run for 300 ms.
    pub fn update(&mut self, snapshot: &ProgressSnapshot) {
        if self.bar.is_shown() || snapshot.elapsed >= SHOW_AFTER {
            self.bar.show(bar_line(&self.name, snapshot, columns(), colours()));
        }
    }
}

/// A line below all other output, which disappears when it is dropped.
#[derive(Debug, Default)]
pub(super) struct StatusLine(Option<indicatif::ProgressBar>);

impl StatusLine {
    fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    fn show(&mut self, line: String) {
        let bar = self.0.get_or_insert_with(|| {
            // The line is already as short as the terminal requires.
            let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = indicatif::ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style);
            bars().lock().unwrap_or_else(PoisonError::into_inner).add(bar)
        });
        bar.set_message(line);
    }

    /// Shows a text without control characters, cut at the width of the terminal.
    pub(super) fn say(&mut self, text: &str) {
        self.show(cut(text, columns()));
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
