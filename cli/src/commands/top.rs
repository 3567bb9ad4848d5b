//! `cargo wren top`: shows running jobs live on the terminal.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use wren::history;

use super::{cancel, jobs};
use crate::top;

/// Watch running jobs on the terminal, with their tasks, workers and failures
///
/// Shows the jobs that run here, and the latest that ended. For the selected job, shows progress, tasks per second and
/// running tasks over time, time left, memory and cost, how tasks spend their time, failures by cause, and the tasks
/// that have run longest. It reads the same job histories as `cargo wren report`. Press `?` for the keys: they select a
/// job or a task, show its output, or cancel the job. Jobs continue when the view ends.
///
/// It runs with the lowest priority, so that it does not slow the jobs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren top\n  cargo wren top sweep")]
pub(crate) struct Args {
    /// The job to show first: a job id, the start of one, or a job name; defaults to the latest job that runs
    job: Option<String>,
}

pub(crate) fn top(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let job = match &args.job {
        Some(wanted) => Some(jobs::find(jobs::all(&directory)?, wanted)?.id),
        None => None,
    };
    for (name, is_terminal) in [("input", std::io::stdin().is_terminal()), ("output", std::io::stdout().is_terminal())]
    {
        if !is_terminal {
            bail!(
                "`cargo wren top` needs a terminal, and standard {name} is none; `cargo wren attach` prints progress \
                 as lines"
            );
        }
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        bail!(
            "`cargo wren top` cannot draw on a terminal with TERM=dumb; `cargo wren attach` prints progress as lines"
        );
    }
    let signal = top::run(&directory, job, &|job| cancel::request(&directory, job))?;
    // As a shell reports a process that a signal ended.
    Ok(signal.map_or(ExitCode::SUCCESS, |signal| ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))))
}
