//! The line of a progress bar, made to fit its terminal.

use indicatif::{HumanCount, HumanDuration};

use super::ProgressSnapshot;
use super::style::{Style, paint_if};

/// The length of a bar that has enough room, and the least length that is worth showing.
const BAR: usize = 25;
const LEAST_BAR: usize = 6;

/// A word or a few that belong together, after the bar.
struct Word {
    text: String,
    style: Option<Style>,
    /// Words with a higher rank are left out first. Words of rank 0 are always shown.
    rank: u8,
}

impl Word {
    fn new(rank: u8, text: String) -> Self {
        Self { text, style: None, rank }
    }
}

/// Returns the line of a job's bar in at most `columns` columns. If there is too little room, first the bar gets
/// shorter, then words are left out, and then the name is cut. The count, the failures and the time left are always
/// there.
pub(super) fn bar_line(name: &str, now: &ProgressSnapshot, columns: usize, colours: bool) -> String {
    let count = match now.tasks {
        Some(tasks) => format!("{}/{}", HumanCount(now.done), HumanCount(tasks)),
        None => HumanCount(now.done).to_string(),
    };
    let mut words = words(now);
    let length = |words: &[Word]| words.iter().map(|word| 2 + word.text.chars().count()).sum::<usize>();
    let name_length = name.chars().count();
    // The name, a space, and the count.
    let start = name_length + 1 + count.len();
    while let Some((index, word)) = words.iter().enumerate().max_by_key(|(_, word)| word.rank)
        && start + length(&words) > columns
        && word.rank > 0
    {
        words.remove(index);
    }
    let free = columns.saturating_sub(start + length(&words));
    // The bar has brackets and a space.
    let bar = now.tasks.and_then(|tasks| bar(now.ended(), tasks, free.saturating_sub(3)));
    let room_for_name = columns.saturating_sub(1 + count.len() + length(&words));
    let name = if name_length > room_for_name { cut(name, room_for_name) } else { name.to_owned() };
    let name = if name.is_empty() { name } else { paint_if(colours, Style::Subject, &name) + " " };
    let words = words.into_iter().map(|word| match word.style {
        Some(style) => format!(", {}", paint_if(colours, style, &word.text)),
        None => format!(", {}", word.text),
    });
    format!("{name}{}{count}{}", bar.unwrap_or_default(), words.collect::<String>())
}

fn words(now: &ProgressSnapshot) -> Vec<Word> {
    let mut words = Vec::new();
    let counts = [
        (1, now.running, "running", None),
        (3, now.queued, "queued", None),
        (0, now.failed, "failed", Some(Style::Failure)),
        (5, now.retried, "retried", None),
    ];
    for (rank, count, what, style) in counts.into_iter().filter(|(_, count, ..)| *count > 0) {
        words.push(Word { text: format!("{} {what}", HumanCount(count)), style, rank });
    }
    if now.is_waiting_for_inputs() {
        words.push(Word::new(1, "encoding inputs".to_owned()));
    }
    words.extend(now.rate().map(|rate| Word::new(4, rate)));
    let left = now.left().filter(|left| !left.is_zero());
    words.extend(left.map(|left| Word::new(0, format!("{:#} left", HumanDuration(left)))));
    words.extend(now.cost().map(|cost| Word::new(2, cost)));
    words
}

/// Returns a bar of at most `length` columns between its brackets, with a space after it.
fn bar(ended: u64, tasks: u64, length: usize) -> Option<String> {
    let length = length.min(BAR);
    if length < LEAST_BAR {
        return None;
    }
    let filled = (length as f64 * (ended as f64 / tasks.max(1) as f64).min(1.0)) as usize;
    let tip = if filled < length { ">" } else { "" };
    Some(format!("[{}{tip}{}] ", "=".repeat(filled), " ".repeat(length - filled - tip.len())))
}

/// Cuts a text to at most `length` characters. Leaves nothing if too little would remain to recognize it.
pub(super) fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    if length < 4 { String::new() } else { text.chars().take(length - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn snapshot() -> ProgressSnapshot {
        ProgressSnapshot {
            done: 1_200,
            earlier: 0,
            failed: 12,
            retried: 3,
            running: 500,
            queued: 8_288,
            tasks: Some(10_000),
            elapsed: Duration::from_secs(60),
            usd: 0.0123,
        }
    }

    fn width(line: &str) -> usize {
        line.chars().count()
    }

    #[test]
    fn narrower_terminals_get_less_of_the_same_line() {
        let lines: Vec<String> = [137, 100, 90, 77, 60, 47, 37]
            .map(|columns| format!("{columns:3} {}", bar_line("train", &snapshot(), columns, false)))
            .into();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn every_width_shows_count_failures_and_time_left() {
        let local = ProgressSnapshot { usd: 0.0, running: 2, ..snapshot() };
        let large = ProgressSnapshot { done: 12_345, tasks: Some(100_000), failed: 1_234, ..snapshot() };
        let started = ProgressSnapshot { tasks: Some(100), ..Default::default() };
        let endless = ProgressSnapshot { tasks: None, ..snapshot() };
        for name in ["f", "train", "a_function_with_quite_a_long_name_indeed"] {
            for now in [snapshot(), local.clone(), large.clone(), started.clone(), endless.clone()] {
                for columns in 37..140 {
                    let line = bar_line(name, &now, columns, false);
                    assert!(width(&line) <= columns, "{columns}: {line}");
                    let always = words(&now).into_iter().filter(|word| word.rank == 0).map(|word| word.text);
                    let count = HumanCount(now.done).to_string();
                    always.chain([count]).for_each(|word| assert!(line.contains(&word), "{columns}: {line}"));
                }
            }
        }
    }

    #[test]
    fn a_bar_is_never_longer_than_its_room() {
        assert_eq!(bar(0, 10, 10).as_deref(), Some("[>         ] "));
        assert_eq!(bar(5, 10, 10).as_deref(), Some("[=====>    ] "));
        assert_eq!(bar(10, 10, 10).as_deref(), Some("[==========] "));
        assert_eq!(bar(20, 10, 10).as_deref(), Some("[==========] "));
        assert_eq!(bar(0, 0, 10).as_deref(), Some("[>         ] "));
        assert_eq!(bar(1, 2, LEAST_BAR - 1), None);
    }

    #[test]
    fn colours_do_not_count_as_columns() {
        let plain = bar_line("train", &snapshot(), 60, false);
        let painted = bar_line("train", &snapshot(), 60, true);
        assert!(painted.contains("\x1b[1;31m12 failed\x1b[0m"), "{painted:?}");
        let stripped =
            ["\x1b[1;31m", "\x1b[1;36m", "\x1b[0m"].iter().fold(painted, |text, code| text.replace(code, ""));
        assert_eq!(stripped, plain);
    }
}
