//! `cargo wren cancel`: cancels a running job from another terminal.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wren::history::{self, Follow, JobState, JobSummary};

use super::jobs;
use crate::durations;

/// How long to wait for the driver to cancel the job.
const PATIENCE: Duration = Duration::from_secs(10);

/// Cancel a running job
///
/// Without a name, cancels the only job that is running. Stops the job's running tasks, here and on AWS, and never
/// starts its waiting tasks. The program that runs the job gets the error `wren::Error::Cancelled`. The results of a
/// named job are kept, and the next run continues from them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren cancel\n  cargo wren cancel sweep\n  \
    # All jobs that run:\n  \
    running='.[] | select(.state == \"running\") | .id'\n  \
    cargo wren cancel $(cargo wren jobs --json | jq -r \"$running\")")]
pub(crate) struct Args {
    /// Job ids, the start of an id, or job names; defaults to the job that is running
    jobs: Vec<String>,
}

pub(crate) fn cancel(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    if args.jobs.is_empty() {
        cancel_one(&directory, &running(&directory)?)?;
    }
    for wanted in &args.jobs {
        cancel_one(&directory, &jobs::find(jobs::all(&directory)?, wanted)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the only running job.
fn running(directory: &Path) -> Result<JobSummary> {
    let latest = jobs::chosen(directory, None)?;
    let mut running: Vec<_> = jobs::all(directory)?.into_iter().filter(|job| job.state == JobState::Running).collect();
    match (running.pop(), &running[..]) {
        (Some(job), []) => Ok(job),
        (Some(first), others) => {
            let ids: Vec<_> = others.iter().chain([&first]).map(|job| job.id.as_str()).collect();
            bail!("{} jobs are running: {}; name the job to cancel", ids.len(), ids.join(", "))
        }
        (None, _) => bail!("no job is running here: the latest, {}, is {}", latest.id, jobs::state(latest.state)),
    }
}

fn cancel_one(directory: &Path, job: &JobSummary) -> Result<()> {
    request(directory, job)?;
    let folder = jobs::folder(directory, job);
    let mut follow = Follow::open(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let requested = Instant::now();
    while requested.elapsed() < PATIENCE {
        match follow.read()? {
            Some(now) if now.state != JobState::Running => {
                let (state, wall) = (jobs::state(now.state), durations::short(now.wall_s));
                println!("{}: {state} after {wall}: {}", job.id, jobs::counts(now));
                return Ok(());
            }
            _ => thread::sleep(Duration::from_millis(50)),
        }
    }
    bail!(
        "job {} is still running: its driver has not responded for {} s; if it hangs, kill its process, and its \
         workers end with it",
        job.id,
        PATIENCE.as_secs()
    )
}

/// Asks the driver of a running job to cancel it.
pub(super) fn request(directory: &Path, job: &JobSummary) -> Result<()> {
    match job.state {
        JobState::Running => {}
        JobState::Interrupted if wren::backend::is_lambda(&job.backend) => bail!(
            "job {} cannot be cancelled because its driver has ended; its tasks on AWS end at their own time limit",
            job.id
        ),
        state => bail!("job {} is not running: it is {}", job.id, jobs::state(state)),
    }
    let request = jobs::folder(directory, job).join(history::CANCEL);
    fs::write(&request, "").with_context(|| format!("cannot write {}", request.display()))
}
