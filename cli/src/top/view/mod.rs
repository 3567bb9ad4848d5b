//! Draws the screen: a pure function of the jobs, the state of the screen, the time and the size of the terminal.

mod job;
mod text;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Widget as _, Wrap};
use wren::history::JobState;

use super::screen::{Focus, Over, Screen, visible};
use super::watched::{Jobs, Watched};
use crate::commands::jobs as job_words;
use crate::durations;
use text::{bar, cut, percent, progress, spread, time};

/// Smallest size with room for a job, its numbers and a task.
const LEAST: (u16, u16) = (30, 8);

const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const SOFT: Style = Style::new().add_modifier(Modifier::DIM);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

/// The keys. Each line fits on the smallest terminal that is usual, of 40 columns.
const HELP: [(&str, &str); 7] = [
    ("up down", "select a job or a task"),
    ("Tab", "tasks, or back to jobs"),
    ("l Enter", "show its output"),
    ("c", "cancel the job"),
    ("q Esc", "close this, or quit"),
    ("Ctrl-Z", "suspend the view"),
    ("?", "this list"),
];

/// Draws everything. `now` is in milliseconds since 1970.
pub(super) fn draw(jobs: &Jobs, screen: &Screen, now: u64, area: Rect, to: &mut Buffer) {
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!(
            "{}x{} is too small a terminal; `cargo wren top` needs {}x{}. q ends it.",
            area.width, area.height, LEAST.0, LEAST.1
        );
        return Paragraph::new(text).wrap(Wrap { trim: true }).render(area, to);
    }
    let [head, main, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(area);
    draw_head(jobs, head, to);
    match &screen.over {
        Over::Output(output) => {
            let [title, lines] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(main);
            rule(&output.title, true, title, to);
            if output.lines.is_empty() {
                Paragraph::new(output.note.as_str()).wrap(Wrap { trim: true }).render(lines, to);
            }
            for (line, row) in visible(&output.lines, output.below, lines.height.into()).zip(lines.rows()) {
                Line::raw(cut(line, row.width)).render(row, to);
            }
        }
        _ => draw_jobs(jobs, screen, now, main, to),
    }
    draw_foot(screen, foot, to);
    match &screen.over {
        Over::Help => {
            let width = usize::from(area.width.saturating_sub(4)).min(54);
            let line = |(key, what)| Line::from(vec![format!("{key:8} ").bold(), Span::raw(what)]);
            let note = Line::raw("Jobs continue when you quit.");
            popup(" Keys ", HELP.into_iter().map(line).chain([note]).collect(), width, area, to);
        }
        Over::Cancel(id) => {
            let name = jobs.find(id).map_or(id.as_str(), |watched| title(watched));
            let width = usize::from(area.width.saturating_sub(4)).min(60);
            let lines = vec![
                Line::raw(format!("Cancel {name} ({id})?")).style(STRONG),
                Line::raw("Its running tasks stop; the others never start."),
                Line::raw("y cancels the job, any other key does not."),
            ];
            popup(" Cancel ", lines, width, area, to);
        }
        _ => {}
    }
}

fn draw_head(jobs: &Jobs, area: Rect, to: &mut Buffer) {
    let running = jobs.watched.iter().filter(|watched| watched.is_running()).count();
    let count = match running {
        0 => "no job runs here".to_owned(),
        1 => "1 job runs".to_owned(),
        n => format!("{n} jobs run"),
    };
    let line = spread(&[("wren top: ".to_owned(), STRONG), (count, Style::new())], "? help  q quit", area.width);
    line.render(area, to);
}

fn draw_foot(screen: &Screen, area: Rect, to: &mut Buffer) {
    let keys = match (&screen.over, screen.focus) {
        (Over::Output(_), _) => "up down scroll   End follow   q back",
        (_, Focus::Jobs) => "up down job   Tab tasks   l output   c cancel",
        (_, Focus::Tasks) => "up down task   Tab jobs   l output   c cancel",
    };
    let (text, style) = match &screen.notice {
        Some(notice) => (notice.as_str(), STRONG),
        None => (keys, SOFT),
    };
    Line::styled(cut(text, area.width), style).render(area, to);
}

fn popup(title: &'static str, lines: Vec<Line<'_>>, width: usize, area: Rect, to: &mut Buffer) {
    let inner = width.saturating_sub(4).max(1);
    let rows: usize = lines.iter().map(|line| line.width().div_ceil(inner).max(1)).sum();
    let size = (Constraint::Length(width as u16), Constraint::Length((rows + 2).min(area.height.into()) as u16));
    let place = area.centered(size.0, size.1);
    Clear.render(place, to);
    let block = Block::bordered().title(title).padding(ratatui::widgets::Padding::horizontal(1));
    Paragraph::new(lines).wrap(Wrap { trim: true }).block(block).render(place, to);
}

/// Draws a title with a line to the end of the row.
fn rule(title: &str, is_focused: bool, area: Rect, to: &mut Buffer) {
    let title = cut(title, area.width.saturating_sub(2));
    let style = if is_focused { STRONG } else { Style::new() };
    let line = "─".repeat(usize::from(area.width).saturating_sub(title.chars().count() + 1));
    Line::from(vec![Span::styled(title, style), Span::raw(" "), Span::styled(line, SOFT)]).render(area, to);
}

/// Draws the list of jobs and, below it, the selected one.
fn draw_jobs(jobs: &Jobs, screen: &Screen, now: u64, area: Rect, to: &mut Buffer) {
    let Some(selected) = screen.selected(jobs) else {
        let text = "No job has run here yet. Run a program in this folder; its jobs appear here while they run.";
        return Paragraph::new(text).wrap(Wrap { trim: true }).render(area, to);
    };
    let count = jobs.watched.len();
    let height = count.min(usize::from(area.height / 5).max(1));
    let [list, detail] = Layout::vertical([Constraint::Length(height as u16), Constraint::Min(1)]).areas(area);
    let at = jobs.watched.iter().position(|watched| watched.job.id == selected.job.id).unwrap_or(0);
    let first = (at + 1).saturating_sub(height);
    for (watched, row) in jobs.watched.iter().skip(first).zip(list.rows()) {
        let is_selected = watched.job.id == selected.job.id;
        job_line(watched, is_selected, now, row.width).render(row, to);
        if is_selected && screen.focus == Focus::Jobs {
            to.set_style(row, CHOSEN);
        }
    }
    job::draw(selected, screen, now, detail, to);
}

/// The name of a job, or its function.
fn title(watched: &Watched) -> &str {
    watched.job.name.as_deref().unwrap_or(&watched.job.function)
}

/// Shortest room for a job's name for which the percentage is kept.
const SHORT_NAME: usize = 8;

/// Returns the line of a job in the list. If there is little room, the bar is left out first, then the percentage, and
/// then the name is cut; never the numbers.
fn job_line(watched: &Watched, is_selected: bool, now: u64, width: u16) -> Line<'static> {
    let job = &watched.job;
    let mut end = Vec::new();
    let mut share = None;
    if job.state == JobState::Running {
        end.push((progress(job), Style::new()));
        share = job.tasks.map(|tasks| (job.done.saturating_add(job.failed)) as f64 / tasks.max(1) as f64);
        end.extend(share.map(|share| (percent(share), Style::new())));
        end.extend(watched.left(now).map(|left| (format!("{} left", time(left)), Style::new())));
    } else {
        end.push((job_words::state(job.state).to_owned(), if job.state == JobState::Done { GOOD } else { BAD }));
        end.push((progress(job), Style::new()));
        end.push((durations::age(job.started_unix_ms, now), SOFT));
    }
    if job.failed > 0 {
        end.push((format!("{} failed", job.failed), BAD));
    }
    let room = |end: &[(String, Style)]| {
        let length: usize = end.iter().map(|(text, _)| text.chars().count() + 2).sum();
        usize::from(width).saturating_sub(length + 2)
    };
    if share.is_some() && room(&end) < SHORT_NAME {
        end.remove(1);
    }
    let room = room(&end);
    let name = title(watched);
    let wanted = name.chars().count().clamp(SHORT_NAME, 28);
    // The bar takes what the name leaves.
    let bar_width = room.saturating_sub(wanted + 2).min(40);
    let has_bar = share.is_some() && bar_width >= 6;
    let name_width = if has_bar { room - bar_width - 2 } else { room };
    let name = text::cut_start(name, name_width);
    let mut spans =
        vec![Span::raw(if is_selected { "> " } else { "  " }), Span::styled(format!("{name:name_width$}"), STRONG)];
    if let Some(share) = share.filter(|_| has_bar) {
        spans.push(Span::raw("  "));
        spans.extend(bar(share, bar_width));
    }
    for (at, (text, style)) in end.into_iter().enumerate() {
        let gap = if at == 0 && room == 0 { "" } else { "  " };
        spans.push(Span::raw(gap));
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}
