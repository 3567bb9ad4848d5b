//! `cargo wren top`: draws running jobs on the terminal while they run.
//!
//! Everything comes from the jobs' logs. Each line of a log is read once and added to figures of a fixed size, so that
//! watching a job of a hundred thousand tasks costs little more than watching one of ten.

mod figures;
mod output;
mod screen;
mod series;
#[cfg(test)]
mod tests;
mod view;
mod watched;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use rustix::process::{Signal, getpid, kill_process};
use wren::history::JobSummary;

use output::Output;
use screen::{Action, Over, Screen};
use watched::Jobs;

/// Interval between reads of the logs, and between frames if no key is pressed.
const READ_EVERY: Duration = Duration::from_millis(500);

/// How soon a signal ends the view.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Does what a person asked for with a key, for one job. An error becomes a message on the screen.
pub(crate) type Cancel<'a> = &'a dyn Fn(&JobSummary) -> Result<()>;

/// Gives the terminal back when it is dropped.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Draws the jobs in a folder until a key or a signal ends it. Returns the number of the signal. `job` is the job to
/// show first.
pub(crate) fn run(directory: &Path, job: Option<String>, cancel: Cancel<'_>) -> Result<Option<i32>> {
    let ended = ending_signal()?;
    let mut jobs = Jobs::new(directory);
    let mut screen = Screen::new(job);
    jobs.look(screen.job.as_deref()).with_context(|| format!("cannot read {}", directory.display()))?;
    // A program that uses all processors should not wait for its spectator.
    let _ = rustix::process::nice(19);
    // This also restores the terminal before the message of a panic.
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal")?;
    let _restore = Restore;
    let mut read_at = Instant::now();
    loop {
        terminal.draw(|frame| view::draw(&jobs, &screen, unix_ms(), frame.area(), frame.buffer_mut()))?;
        let action = loop {
            if let Some(signal) = ended.signal() {
                return Ok(Some(signal));
            }
            let until = READ_EVERY.saturating_sub(read_at.elapsed());
            if event::poll(until.min(CHECK_EVERY))? {
                match event::read()? {
                    Event::Key(key) => break screen.press(&jobs, key, unix_ms()),
                    Event::Resize(..) => break Action::Nothing,
                    _ => {}
                }
            }
            if read_at.elapsed() >= READ_EVERY {
                read_at = Instant::now();
                let shown = screen.selected(&jobs).map(|watched| watched.job.id.clone());
                jobs.look(shown.as_deref()).with_context(|| format!("cannot read {}", directory.display()))?;
                screen.output().into_iter().for_each(Output::read);
                break Action::Nothing;
            }
        };
        match action {
            Action::Nothing => {}
            Action::Quit => return Ok(None),
            Action::Suspend => suspend(&mut terminal)?,
            Action::Cancel(id) => {
                let Some(watched) = jobs.find(&id) else { continue };
                screen.notice = Some(match cancel(&watched.job) {
                    Ok(()) => format!("job {id} is being cancelled; its running tasks stop"),
                    Err(error) => format!("{error:#}"),
                });
            }
            Action::Output { job, task } => {
                let Some(watched) = jobs.find(&job) else { continue };
                match Output::open(&directory.join("jobs").join(&job), &watched.job, task) {
                    Ok(output) => screen.over = Over::Output(output),
                    Err(error) => screen.notice = Some(format!("cannot read the output of job {job}: {error}")),
                }
            }
        }
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Stops this process as Ctrl-Z stops others, and draws again when the shell continues it.
fn suspend(terminal: &mut DefaultTerminal) -> io::Result<()> {
    ratatui::try_restore()?;
    kill_process(getpid(), Signal::TSTP)?;
    *terminal = ratatui::try_init()?;
    terminal.clear()
}

/// The signal that asked this process to end, if there was one.
struct Ended([(i32, Arc<AtomicBool>); 3]);

impl Ended {
    fn signal(&self) -> Option<i32> {
        self.0.iter().find(|(_, came)| came.load(Ordering::Relaxed)).map(|(signal, _)| *signal)
    }
}

/// Handles signals that would otherwise end this process and leave the terminal without echo.
fn ending_signal() -> io::Result<Ended> {
    let signals = [Signal::TERM, Signal::INT, Signal::HUP].map(|signal| (signal.as_raw(), Arc::default()));
    for (signal, came) in &signals {
        signal_hook::flag::register(*signal, Arc::clone(came))?;
    }
    Ok(Ended(signals))
}
