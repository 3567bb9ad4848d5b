//! `cargo wren cancel`: the end of a running job, from another terminal.

use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wren::history::{self, Follow, JobState};

use super::jobs;

/// How long a driver that is there is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Cancel a running job
///
/// What runs of it is stopped and what waits is never run, here and on AWS; its program gets the error
/// `wren::Error::Cancelled`. Results of a named job stay, and running it again goes on from them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren cancel sweep\n  cargo wren cancel \
    $(cargo wren jobs --json | jq -r '.[] | select(.state == \"running\") | .id')")]
pub(crate) struct Args {
    /// Jobs' ids, their beginnings, or names
    #[arg(required = true)]
    jobs: Vec<String>,
}

pub(crate) fn cancel(args: &Args) -> Result<ExitCode> {
    args.jobs.iter().try_for_each(|wanted| cancel_one(wanted))?;
    Ok(ExitCode::SUCCESS)
}

fn cancel_one(wanted: &str) -> Result<()> {
    let directory = history::directory()?;
    let job = jobs::find(jobs::all(&directory)?, wanted)?;
    match job.state {
        JobState::Running => {}
        JobState::Interrupted if wren::backend::is_lambda(&job.backend) => bail!(
            "job {} has no driver any more that could cancel it; what it began on AWS ends by its own time limit",
            job.id
        ),
        state => bail!("job {} does not run: it is {}", job.id, jobs::state(state)),
    }
    let folder = jobs::folder(&directory, &job);
    let request = folder.join(history::CANCEL);
    fs::write(&request, "").with_context(|| format!("{} cannot be written", request.display()))?;
    let mut follow = Follow::open(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        match follow.read()? {
            Some(now) if now.state != JobState::Running => {
                println!("{}: {} after {}", job.id, jobs::state(now.state), now.snapshot());
                return Ok(());
            }
            _ => thread::sleep(Duration::from_millis(50)),
        }
    }
    bail!(
        "job {} runs on: its driver has not answered for {} s; if it hangs, end its process, and its workers end with it",
        job.id,
        PATIENCE.as_secs()
    )
}
