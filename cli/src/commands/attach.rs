//! `cargo wren attach`: shows the progress of a running job in another terminal.

use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wren::history::{self, Follow, JobState, JobSummary, ProgressBar};

use super::jobs;
use crate::{durations, json};

/// Interval between reads of the job history.
const READ_EVERY: Duration = Duration::from_millis(200);

/// Interval between lines of progress if there is no terminal for a progress bar.
const PRINT_EVERY: Duration = Duration::from_secs(5);

/// Watch a running job until it ends
///
/// Shows the same progress as the driver: the numbers of tasks that are done, running, waiting, failed and retried, the
/// rate, the time left and the cost so far. If standard error is not a terminal, prints a line every five seconds.
/// Ctrl-C stops watching, and the job continues. If the job has already ended, prints its result at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren attach\n  cargo wren attach sweep && cargo wren report sweep\n\n\
    Exit codes: 0 the job is done, 1 it failed, was cancelled or was interrupted.")]
pub(crate) struct Args {
    /// A job id, the start of one, or a job name; defaults to the latest job
    job: Option<String>,
    /// Print one JSON object per second while the job runs, and one at the end
    #[arg(long)]
    json: bool,
}

pub(crate) fn attach(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let job = jobs::chosen(&directory, args.job.as_deref())?;
    let folder = jobs::folder(&directory, &job);
    let mut follow = Follow::open(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut bar = if args.json { None } else { ProgressBar::new(job.name.as_deref(), &job.function) };
    let print_every = if args.json { Duration::from_secs(1) } else { PRINT_EVERY };
    let mut printed: Option<Instant> = None;
    let mut out = std::io::stdout().lock();
    let ended = loop {
        let Some(now) = follow.read().with_context(|| format!("cannot read {}", folder.display()))? else {
            bail!("{} does not contain a job history", folder.display());
        };
        if now.state != JobState::Running {
            break now;
        }
        if let Some(bar) = &mut bar {
            bar.update(&now.snapshot());
        } else if printed.is_none_or(|at| at.elapsed() >= print_every) {
            printed = Some(Instant::now());
            match args.json {
                true => writeln!(out, "{}", json::line(now)?)?,
                false => writeln!(out, "{}: {}", now.id, now.snapshot())?,
            }
            out.flush()?;
        }
        thread::sleep(READ_EVERY);
    };
    drop(bar);
    match args.json {
        true => writeln!(out, "{}", json::line(ended)?)?,
        false => writeln!(out, "{}", last_line(ended))?,
    }
    Ok(if ended.state == JobState::Done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the last line of output: the job's result and what to do next.
fn last_line(job: &JobSummary) -> String {
    let next = match job.state {
        state if state == JobState::Failed || job.failed > 0 => {
            format!("; `cargo wren jobs {}` shows the failures", job.id)
        }
        JobState::Interrupted => {
            "; its driver ended early: run the program again; a named job continues from its results".to_owned()
        }
        _ => String::new(),
    };
    let (state, wall) = (jobs::state(job.state), durations::short(job.wall_s));
    format!("{}: {state} after {wall}: {}{next}", job.id, jobs::counts(job))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_drivers_and_failures_are_reported_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let begin = r#"{"event":"job","id":"abc","name":null,"function":"demo::f","tasks":3,"backend":"local","workers":2,"started_unix_ms":1,"pid":1,"wren":"0"}"#;
        let end = r#"{"event":"end","t":2.0,"state":"failed","done":2,"failed":1,"retried":0,"compute_s":1.0,"wall_s":2.0,"usd":0.0}"#;
        let path = folder.path().join(history::LOG);
        std::fs::write(&path, format!("{begin}\n")).unwrap();
        let interrupted = last_line(&JobSummary::read(folder.path()).unwrap());
        assert!(interrupted.starts_with("abc: interrupted after 0s: 0 of 3 done; its driver ended"), "{interrupted}");
        std::fs::write(&path, format!("{begin}\n{end}\n")).unwrap();
        let failed = last_line(&JobSummary::read(folder.path()).unwrap());
        assert!(failed.ends_with("`cargo wren jobs abc` shows the failures"), "{failed}");
    }
}
