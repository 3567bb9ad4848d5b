//! The state of the screen, and how keys change it.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::output::Output;
use super::watched::{Jobs, Watched};

/// The list in which the keys move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Focus {
    Jobs,
    Tasks,
}

/// What covers the jobs.
#[derive(Debug)]
pub(super) enum Over {
    Nothing,
    Help,
    /// The question whether to cancel this job.
    Cancel(String),
    Output(Output),
}

/// What a key asks for beyond a change of the screen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Quit,
    /// Give the terminal back until the shell continues this process.
    Suspend,
    Cancel(String),
    /// Show the output of a job, or of one of its tasks.
    Output {
        job: String,
        task: Option<u64>,
    },
}

#[derive(Debug)]
pub(super) struct Screen {
    /// The job that is shown in detail. `None` selects the first.
    pub(super) job: Option<String>,
    /// The selected task of that job. `None` selects the first.
    pub(super) task: Option<u64>,
    pub(super) focus: Focus,
    pub(super) over: Over,
    /// A message that replaces the list of keys until the next key.
    pub(super) notice: Option<String>,
}

impl Screen {
    pub(super) fn new(job: Option<String>) -> Self {
        Self { job, task: None, focus: Focus::Jobs, over: Over::Nothing, notice: None }
    }

    /// Returns the job that is shown in detail.
    pub(super) fn selected<'a>(&self, jobs: &'a Jobs) -> Option<&'a Watched> {
        let chosen = self.job.as_deref().and_then(|id| jobs.find(id));
        chosen.or_else(|| jobs.watched.first())
    }

    /// Changes the screen as a key asks for. `now` is in milliseconds since 1970.
    pub(super) fn press(&mut self, jobs: &Jobs, key: KeyEvent, now: u64) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Nothing;
        }
        self.notice = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Action::Quit,
                KeyCode::Char('z') => Action::Suspend,
                _ => Action::Nothing,
            };
        }
        match &mut self.over {
            Over::Nothing => return self.press_jobs(jobs, key.code, now),
            Over::Cancel(id) => {
                let action = match key.code {
                    KeyCode::Char('y' | 'Y') => Action::Cancel(std::mem::take(id)),
                    _ => Action::Nothing,
                };
                self.over = Over::Nothing;
                return action;
            }
            Over::Help => self.over = Over::Nothing,
            Over::Output(output) => match key.code {
                KeyCode::Up | KeyCode::Char('k') => output.scroll(-1),
                KeyCode::Down | KeyCode::Char('j') => output.scroll(1),
                KeyCode::PageUp => output.scroll(-10),
                KeyCode::PageDown | KeyCode::Char(' ') => output.scroll(10),
                KeyCode::Home | KeyCode::Char('g') => output.scroll(isize::MIN),
                KeyCode::End | KeyCode::Char('G') => output.scroll(isize::MAX),
                KeyCode::Esc | KeyCode::Char('q' | 'l') | KeyCode::Enter => self.over = Over::Nothing,
                _ => {}
            },
        }
        Action::Nothing
    }

    fn press_jobs(&mut self, jobs: &Jobs, key: KeyCode, now: u64) -> Action {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.over = Over::Help,
            KeyCode::Up | KeyCode::Char('k') => self.step(jobs, -1, now),
            KeyCode::Down | KeyCode::Char('j') => self.step(jobs, 1, now),
            KeyCode::PageUp => self.step(jobs, -10, now),
            KeyCode::PageDown => self.step(jobs, 10, now),
            KeyCode::Home | KeyCode::Char('g') => self.step(jobs, isize::MIN, now),
            KeyCode::End | KeyCode::Char('G') => self.step(jobs, isize::MAX, now),
            KeyCode::Tab | KeyCode::BackTab | KeyCode::Left | KeyCode::Right => {
                self.focus = if self.focus == Focus::Jobs { Focus::Tasks } else { Focus::Jobs };
            }
            KeyCode::Char('c') => {
                let Some(watched) = self.selected(jobs) else { return Action::Nothing };
                if watched.is_running() {
                    self.over = Over::Cancel(watched.job.id.clone());
                } else {
                    self.notice = Some(format!("job {} has ended already", watched.job.id));
                }
            }
            KeyCode::Char('l') | KeyCode::Enter => {
                let Some(watched) = self.selected(jobs) else { return Action::Nothing };
                let task = self.selected_task(watched, now).filter(|_| self.focus == Focus::Tasks);
                return Action::Output { job: watched.job.id.clone(), task };
            }
            _ => {}
        }
        Action::Nothing
    }

    /// Returns the selected task, if any task is listed.
    pub(super) fn selected_task(&self, watched: &Watched, now: u64) -> Option<u64> {
        let tasks = watched.figures.tasks(watched.elapsed(now));
        let chosen = self.task.filter(|task| tasks.iter().any(|row| row.task == *task));
        chosen.or_else(|| tasks.first().map(|row| row.task))
    }

    /// Selects another row of the list that has the focus.
    fn step(&mut self, jobs: &Jobs, by: isize, now: u64) {
        let Some(selected) = self.selected(jobs) else { return };
        let moved =
            |at: Option<usize>, count: usize| at.unwrap_or(0).saturating_add_signed(by).min(count.saturating_sub(1));
        match self.focus {
            Focus::Jobs => {
                let at = jobs.watched.iter().position(|watched| watched.job.id == selected.job.id);
                let next = jobs.watched.get(moved(at, jobs.watched.len()));
                self.job = next.map(|watched| watched.job.id.clone());
                self.task = None;
            }
            Focus::Tasks => {
                let tasks = selected.figures.tasks(selected.elapsed(now));
                let task = self.selected_task(selected, now);
                let at = tasks.iter().position(|row| Some(row.task) == task);
                self.task = tasks.get(moved(at, tasks.len())).map(|row| row.task);
            }
        }
    }

    /// Returns the lines of the output that is shown, if there is one.
    pub(super) fn output(&mut self) -> Option<&mut Output> {
        if let Over::Output(output) = &mut self.over { Some(output) } else { None }
    }
}

/// Returns the last lines that fit in `height`, without those below the place to which a person has scrolled.
pub(super) fn visible(lines: &VecDeque<String>, below: usize, height: usize) -> impl Iterator<Item = &String> {
    let end = lines.len().saturating_sub(below).max(height.min(lines.len()));
    lines.range(end.saturating_sub(height)..end)
}
