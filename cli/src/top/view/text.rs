//! Texts that fit in the width that they get.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use wren::history::JobSummary;

use super::{GOOD, SOFT};

/// Cuts a text at its end, and marks the cut.
pub(super) fn cut(text: &str, width: u16) -> String {
    let width = usize::from(width);
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + if width == 0 { "" } else { "…" }
}

/// Cuts a text at its start: the end of a function's path says the most.
pub(super) fn cut_start(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(length - width.saturating_sub(1)).collect();
    if width == 0 { String::new() } else { format!("…{kept}") }
}

/// Returns a line with texts at its start and one at its end, which is left out if there is no room for it.
pub(super) fn spread(start: &[(String, Style)], end: &str, width: u16) -> Line<'static> {
    let mut left = usize::from(width);
    let mut spans = Vec::new();
    for (text, style) in start {
        let text = cut(text, left.try_into().unwrap_or(u16::MAX));
        left -= text.chars().count();
        spans.push(Span::styled(text, *style));
    }
    if let Some(gap) = left.checked_sub(end.chars().count()).filter(|gap| *gap > 0) {
        spans.push(Span::raw(" ".repeat(gap)));
        spans.push(Span::styled(end.to_owned(), SOFT));
    }
    Line::from(spans)
}

/// A bar of this width.
pub(super) fn bar(share: f64, width: usize) -> [Span<'static>; 2] {
    let full = ((share.clamp(0.0, 1.0) * width as f64).round() as usize).min(width);
    [Span::styled("█".repeat(full), GOOD), Span::styled("░".repeat(width - full), SOFT)]
}

pub(super) fn percent(share: f64) -> String {
    // A job is not shown as complete before it is.
    format!("{:>3.0}%", (100.0 * share).floor().clamp(0.0, 100.0))
}

pub(super) fn progress(job: &JobSummary) -> String {
    match job.tasks {
        Some(tasks) => format!("{}/{tasks}", job.done),
        None => format!("{} done", job.done),
    }
}

/// A duration in seconds, for people who watch it change: `4.2s`, `42s`, `5m 12s`, `2h 05m`.
pub(super) fn time(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..10 => crate::durations::short(seconds),
        10..60 => format!("{whole}s"),
        60..3_600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3_600, whole % 3_600 / 60),
    }
}

/// A rate with as many digits as it needs.
pub(super) fn rate(per_second: f64) -> String {
    if per_second >= 100.0 || per_second == 0.0 { format!("{per_second:.0}") } else { format!("{per_second:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_to_their_width() {
        assert_eq!((cut("abcdef", 6), cut("abcdef", 4), cut("abc", 0)), ("abcdef".into(), "abc…".into(), "".into()));
        assert_eq!(
            (cut_start("abcdef", 4), cut_start("abc", 3), cut_start("abc", 0)),
            ("…def".into(), "abc".into(), "".into())
        );
        assert_eq!([0.004, 9.4, 12.3, 312.0, 7_500.0].map(time), ["4.0ms", "9.4s", "12s", "5m 12s", "2h 05m"]);
        assert_eq!([0.999, 1.0].map(percent), [" 99%", "100%"]);
    }
}
