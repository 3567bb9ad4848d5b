//! Status lines below all other output, on a terminal that can move its cursor.
//!
//! The cursor stays behind the last line, in the same row. A terminal prints `^C` there when its user presses Ctrl-C,
//! so every line leaves [`MARGIN`] columns free. Otherwise the row would wrap, and the lines could not be removed.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::style::is_dumb;
use super::write_all;
use crate::platform;

/// Columns that stay free at the end of a line: two for `^C`, and one for the cursor.
const MARGIN: usize = 3;

/// The size of a terminal that does not tell its own.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// Identifies a line. Lines are in the order of their numbers.
pub(super) type Number = u64;

/// Returns whether standard error shows status lines: whether it is a terminal that can move its cursor.
pub(crate) fn shows_bars() -> bool {
    static SHOWS: OnceLock<bool> = OnceLock::new();
    *SHOWS.get_or_init(|| io::stderr().is_terminal() && !is_dumb(env::var_os("TERM")))
}

/// Returns how many columns a line may have, and how many rows there are. Both may change at any time.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let of = |count: Option<u16>, usual| count.filter(|count| *count > 0).map_or(usual, usize::from);
    let columns = of(size.map(|size| size.ws_col), COLUMNS);
    (columns.saturating_sub(MARGIN), of(size.map(|size| size.ws_row), ROWS))
}

pub(super) fn columns() -> usize {
    size().0
}

#[derive(Debug)]
struct Lines {
    lines: BTreeMap<Number, String>,
    /// Number of rows that show lines now.
    rows: usize,
}

static LINES: Mutex<Lines> = Mutex::new(Lines { lines: BTreeMap::new(), rows: 0 });

fn lines() -> MutexGuard<'static, Lines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lines {
    /// Returns the text that removes the lines from the terminal.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.rows) {
            0 => String::new(),
            1 => "\r\x1b[J".to_owned(),
            rows => format!("\r\x1b[{}A\x1b[J", rows - 1),
        }
    }

    /// Returns the text that writes the lines, as many as leave a row for other output.
    fn draw(&mut self, rows: usize) -> String {
        self.rows = self.lines.len().min(rows.saturating_sub(1));
        let mut text = String::new();
        if self.rows > 0 {
            let shown: Vec<&str> = self.lines.values().take(self.rows).map(String::as_str).collect();
            // Lines with wide characters end at the edge of the terminal, and do not wrap.
            let _ = write!(text, "\x1b[?7l{}\x1b[?7h", shown.join("\r\n"));
        }
        text
    }
}

fn write(text: &str) {
    if !text.is_empty() {
        // The program goes on even if its progress cannot be shown.
        let _ = write_all(&mut io::stderr().lock(), text.as_bytes());
    }
}

/// Sets a line, without drawing it.
pub(super) fn set(number: Number, line: String) {
    lines().lines.insert(number, line);
}

/// Removes a line, without drawing the others.
pub(super) fn remove(number: Number) {
    lines().lines.remove(&number);
}

/// Draws all lines.
pub(super) fn draw() {
    if shows_bars() {
        // The lock is held while the terminal is written to, because the position of its cursor belongs to the state.
        let mut lines = lines();
        let text = lines.erase() + &lines.draw(size().1);
        write(&text);
    }
}

/// Runs `print` without damaging the lines; `is_terminal` says whether it writes to a terminal.
pub(super) fn print_above<T>(is_terminal: bool, print: impl FnOnce() -> T) -> T {
    // In a fork, another thread may hold the lock for ever.
    if !is_terminal || !shows_bars() || platform::is_forked() {
        return print();
    }
    let mut lines = lines();
    let erased = lines.erase();
    write(&erased);
    let printed = print();
    let drawn = lines.draw(size().1);
    write(&drawn);
    printed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Lines {
        let lines = texts.iter().enumerate().map(|(at, text)| (at as Number, (*text).to_owned())).collect();
        Lines { lines, rows: 0 }
    }

    #[test]
    fn lines_are_drawn_and_erased_on_a_terminal() {
        let size = |size| std::num::NonZeroU16::new(size).unwrap();
        let mut terminal = vt100::Parser::new(size(5), size(12), 0);
        let mut show = |text: &str| {
            terminal.process(text.as_bytes());
            terminal.screen().contents()
        };
        show("output\r\n");
        let mut lines = of(&["first", "second"]);
        assert_eq!(show(&lines.draw(5)), "output\nfirst\nsecond");
        assert_eq!(show("^C"), "output\nfirst\nsecond^C");
        assert_eq!(show(&lines.erase()), "output");
        // Too many for the terminal.
        let mut lines = of(&["1", "2", "3", "4", "5"]);
        assert_eq!(show(&lines.draw(5)), "output\n1\n2\n3\n4");
        assert_eq!(show(&lines.erase()), "output");
        assert_eq!(show("more"), "output\nmore");
    }

    #[test]
    fn a_terminal_of_one_row_shows_no_lines() {
        let mut lines = of(&["first"]);
        assert_eq!((lines.draw(1), lines.erase()), (String::new(), String::new()));
    }
}
