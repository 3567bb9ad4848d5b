//! Draws one job: its numbers, how they change over time, its phases, failures and tasks.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, Widget as _};
use wren::history::JobState;

use super::text::{bar, cut, rate, time};
use super::{BAD, CHOSEN, GOOD, SOFT, STRONG, rule, title};
use crate::commands::jobs as job_words;
use crate::durations;
use crate::top::figures::{Cause, PhaseRow, TaskRow, What};
use crate::top::screen::{Focus, Screen};
use crate::top::watched::Watched;

/// Width from which two parts stand side by side.
const WIDE: u16 = 70;

pub(super) fn draw(watched: &Watched, screen: &Screen, now: u64, area: Rect, to: &mut Buffer) {
    let facts = wrapped(facts(watched, now, area.height < 14), area.width, 4);
    let charts = match area.height {
        0..8 => 0,
        8..12 => 1,
        12..26 => 2,
        _ => 6,
    };
    let fixed = 1 + facts.len() as u16 + charts;
    let left = area.height.saturating_sub(fixed);
    // Phases and failures need a title and a few rows; the tasks get at least as much.
    let panels = if left < 9 { 0 } else { (left / 2).min(10) };
    let [heading, numbers, over_time, middle, tasks] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(facts.len() as u16),
        Constraint::Length(charts),
        Constraint::Length(panels),
        Constraint::Min(0),
    ])
    .areas(area);
    let job = &watched.job;
    let state = match job.state {
        JobState::Running => format!("running for {}", time(watched.elapsed(now))),
        state => format!("{} after {}", job_words::state(state), durations::short(job.wall_s)),
    };
    let text = format!("{} {}: {state}; {} workers ({})", title(watched), job.id, job.workers, job.backend);
    rule(&text, false, heading, to);
    for (line, row) in facts.into_iter().zip(numbers.rows()) {
        line.render(row, to);
    }
    draw_charts(watched, now, over_time, to);
    draw_panels(watched, middle, to);
    draw_tasks(watched, screen, now, tasks, to);
}

/// The numbers of a job, the most important first. If the terminal is too small for all phases, the largest one is
/// among them.
fn facts(watched: &Watched, now: u64, is_small: bool) -> Vec<(String, Style)> {
    let (job, figures) = (&watched.job, &watched.figures);
    let plain = |text: String| (text, Style::new());
    let elapsed = watched.elapsed(now);
    let mut facts = vec![plain(match job.tasks {
        Some(tasks) => format!("{} of {tasks} done", job.done),
        None => format!("{} done", job.done),
    })];
    if job.failed > 0 {
        facts.push((format!("{} failed", job.failed), BAD));
    }
    if job.retried > 0 {
        facts.push(plain(format!("{} retried", job.retried)));
    }
    if watched.is_running() {
        facts.push(plain(format!("{} running", job.running)));
        facts.push(plain(format!("{} waiting", job.queued)));
    }
    facts.extend(watched.left(now).map(|left| plain(format!("{} left", time(left)))));
    facts.push(plain(format!("{} tasks/s", rate(watched.rate(now)))));
    if is_small {
        let phases = figures.phases();
        let shares = phases.iter().filter_map(|row| Some((row.name, row.share?)));
        let largest = shares.max_by(|(_, a), (_, b)| a.total_cmp(b));
        facts.extend(largest.map(|(name, share)| plain(format!("{name} {:.0}%", 100.0 * share))));
    } else {
        let speed_up = job.compute_s / elapsed.max(1e-3);
        let of_one_run = if job.runs == 1 { format!(" ({speed_up:.1}x)") } else { String::new() };
        facts.push(plain(format!("compute {}{of_one_run}", time(job.compute_s))));
    }
    let limit = figures.memory_mb.map(|mb| format!(" of {mb}")).unwrap_or_default();
    if job.peak_mb > 0 {
        facts.push(plain(format!("memory {}{limit} MB", job.peak_mb)));
    }
    if job.usd > 0.0 {
        facts.push(plain(format!("${:.4}", job.usd)));
    }
    facts
}

/// Puts texts on as few lines as possible, at most `most`.
fn wrapped(facts: Vec<(String, Style)>, width: u16, most: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (text, style) in facts {
        let text = cut(&text, width);
        let fits = |line: &&mut Line<'_>| line.width() + 3 + text.chars().count() <= width.into();
        if let Some(line) = lines.last_mut().filter(fits) {
            line.push_span(Span::raw("   "));
            line.push_span(Span::styled(text, style));
        } else if lines.len() < most {
            lines.push(Line::from(Span::styled(text, style)));
        } else {
            break;
        }
    }
    lines
}

/// Draws tasks per second and running tasks over time: a row each, or side by side on a large terminal.
fn draw_charts(watched: &Watched, now: u64, area: Rect, to: &mut Buffer) {
    let elapsed = watched.elapsed(now);
    let figures = &watched.figures;
    let is_high = area.height > 2;
    let parts = if is_high {
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)]).split(area).to_vec()
    } else {
        area.rows().collect()
    };
    let parts: Vec<_> = if is_high { vec![parts[0], parts[2]] } else { parts };
    for (index, part) in parts.into_iter().enumerate() {
        let name = if index == 0 { "tasks/s" } else { "running" };
        let [label, chart] = if is_high {
            Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(part)
        } else {
            Layout::horizontal([Constraint::Length(26.min(part.width / 2)), Constraint::Min(1)]).areas(part)
        };
        let columns = usize::from(chart.width);
        let values = match index {
            0 => figures.done.per_second(elapsed, columns),
            _ => figures.running.columns(elapsed, columns),
        };
        let most = values.iter().copied().fold(0.0, f64::max);
        let latest = if index == 0 { watched.rate(now) } else { watched.job.running as f64 };
        let [latest, maximum] =
            if index == 0 { [latest, most].map(rate) } else { [latest, most].map(|n| n.round().to_string()) };
        let (short, long) = (format!("{name} {latest}"), format!("{name} {latest} (max {maximum})"));
        let text = if long.chars().count() < label.width.into() { long } else { short };
        Line::raw(cut(&text, label.width)).render(label, to);
        // The bars need integers; a rate may be below 1.
        let scaled = values.iter().map(|value| (value * 1_000.0) as u64);
        let most = ((most * 1_000.0) as u64).max(1);
        Sparkline::default().data(scaled.collect::<Vec<_>>()).max(most).style(GOOD).render(chart, to);
    }
}

fn draw_panels(watched: &Watched, area: Rect, to: &mut Buffer) {
    if area.height < 2 {
        return;
    }
    let [left, right] = if area.width >= WIDE {
        let [left, _, right] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)]).areas(area);
        [left, right]
    } else {
        // Failures are fewer than phases.
        Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).areas(area)
    };
    rule("Where the time goes", false, left, to);
    let mut phases = watched.figures.phases();
    let room = usize::from(left.height.saturating_sub(1));
    while phases.len() > room {
        // The smallest phases are left out.
        let share = |row: &PhaseRow| row.share.unwrap_or(1.0);
        if let Some(least) = (0..phases.len()).min_by(|a, b| share(&phases[*a]).total_cmp(&share(&phases[*b]))) {
            phases.remove(least);
        }
    }
    if phases.is_empty() && room > 0 {
        Line::styled("No task has ended yet.", SOFT).render(below(left), to);
    }
    for (phase, row) in phases.iter().zip(left.rows().skip(1)) {
        phase_line(phase, row.width).render(row, to);
    }
    rule("Failures", false, right, to);
    let causes = &watched.figures.causes;
    if causes.is_empty() && right.height > 1 {
        Line::styled("None.", SOFT).render(below(right), to);
    }
    let mut causes: Vec<_> = causes.iter().collect();
    causes.sort_by_key(|cause| std::cmp::Reverse((cause.failed, cause.retried)));
    for (cause, row) in causes.into_iter().zip(right.rows().skip(1)) {
        let text = cut(&format!("{}: {}", count(cause), cause.example), row.width);
        Line::styled(text, if cause.failed > 0 { BAD } else { Style::new() }).render(row, to);
    }
}

/// The row below the title of a part.
fn below(area: Rect) -> Rect {
    area.rows().nth(1).unwrap_or_default()
}

fn phase_line(phase: &PhaseRow, width: u16) -> Line<'static> {
    let name = Span::raw(format!("{:8}", phase.name));
    let mean = format!("{:>9} per task", durations::short(phase.mean_s));
    let bar_width = usize::from(width).saturating_sub(8 + 1 + 5 + mean.len());
    let mut spans = vec![name];
    match phase.share {
        Some(share) if bar_width >= 4 => {
            spans.extend(bar(share, bar_width));
            spans.push(Span::raw(format!(" {:>3.0}% ", 100.0 * share)));
        }
        Some(share) => spans.push(Span::raw(format!(" {:>3.0}% ", 100.0 * share))),
        // Waiting for a worker is no loss while all workers are busy.
        None if bar_width >= 4 => spans.push(Span::styled(" ".repeat(bar_width + 6), SOFT)),
        None => spans.push(Span::raw(" ".repeat(6))),
    }
    spans.push(Span::raw(mean));
    Line::from(spans)
}

/// The numbers of one cause: `3 panicked`, `2 worker_died, retried`.
fn count(cause: &Cause) -> String {
    let Cause { class, failed, retried, .. } = cause;
    match (failed, retried) {
        (0, retried) => format!("{retried} {class}, retried"),
        (failed, 0) => format!("{failed} {class}"),
        (failed, retried) => format!("{failed} {class}, {retried} retried"),
    }
}

fn draw_tasks(watched: &Watched, screen: &Screen, now: u64, area: Rect, to: &mut Buffer) {
    if area.height < 2 {
        return;
    }
    let is_focused = screen.focus == Focus::Tasks;
    rule("Tasks: running longest, failed, slowest", is_focused, area, to);
    let tasks = watched.figures.tasks(watched.elapsed(now));
    if tasks.is_empty() {
        let text = "No task has run for more than a second, failed or ended.";
        return Line::styled(cut(text, area.width), SOFT).render(below(area), to);
    }
    let selected = screen.selected_task(watched, now);
    let at = tasks.iter().position(|row| Some(row.task) == selected).unwrap_or(0);
    let first = (at + 1).saturating_sub(usize::from(area.height.saturating_sub(1)));
    for (task, row) in tasks.iter().skip(first).zip(area.rows().skip(1)) {
        task_line(task, row.width).render(row, to);
        if is_focused && Some(task.task) == selected {
            to.set_style(row, CHOSEN);
        }
    }
}

fn task_line(row: &TaskRow, width: u16) -> Line<'static> {
    let attempt = if row.attempt > 1 { format!(", attempt {}", row.attempt) } else { String::new() };
    let task = format!("{:>8}", row.task);
    let (what, style) = match &row.what {
        What::Runs(seconds) => (format!("has run for {}{attempt}", time(*seconds)), STRONG),
        What::Failed(message) => (format!("failed{attempt}: {message}"), BAD),
        What::Done(seconds) => (format!("done after {}{attempt}", durations::short(*seconds)), Style::new()),
    };
    let what = cut(&what, width.saturating_sub(10));
    Line::from(vec![Span::raw(task), Span::raw("  "), Span::styled(what, style)])
}
