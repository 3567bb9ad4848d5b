//! `cargo wren attach`: where a running job stands, from another terminal.

use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wren::history::{self, Follow, JobState, JobSummary, ProgressBar};

use super::jobs;

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often a line is printed where there is no terminal for a bar.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Watch a running job until it ends
///
/// Shows what its driver shows: tasks that are done, run, wait, failed and were run again, the rate, the
/// time left and the dollars so far. Where standard error is no terminal, a line is printed every five
/// seconds. Ctrl-C ends the watching and not the job. A job that has ended already is told at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren attach\n  cargo wren attach sweep && cargo wren report sweep\n\n\
    Exit codes: 0 the job is done, 1 it failed, was cancelled or interrupted.")]
pub(crate) struct Args {
    /// A job's id, the beginning of one, or a name; the latest by default
    job: Option<String>,
    /// Print one JSON object a second while it runs, and one at its end
    #[arg(long)]
    json: bool,
}

pub(crate) fn attach(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let job = jobs::chosen(&directory, args.job.as_deref())?;
    let folder = jobs::folder(&directory, &job);
    let mut follow = Follow::open(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut bar = if args.json { None } else { ProgressBar::new(job.name.as_deref(), &job.function) };
    let say_every = if args.json { Duration::from_secs(1) } else { SAY_EVERY };
    let mut said: Option<Instant> = None;
    let mut out = std::io::stdout().lock();
    let ended = loop {
        let Some(now) = follow.read().with_context(|| format!("{} cannot be read", folder.display()))? else {
            bail!("{} is no log of a job", folder.display());
        };
        if now.state != JobState::Running {
            break now;
        }
        if let Some(bar) = &mut bar {
            bar.update(&now.snapshot());
        } else if said.is_none_or(|at| at.elapsed() >= say_every) {
            said = Some(Instant::now());
            match args.json {
                true => writeln!(out, "{}", serde_json::to_string(now)?)?,
                false => writeln!(out, "{}: {}", now.id, now.snapshot())?,
            }
            out.flush()?;
        }
        thread::sleep(LOOK_EVERY);
    };
    drop(bar);
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(ended)?)?,
        false => writeln!(out, "{}", farewell(ended))?,
    }
    Ok(if ended.state == JobState::Done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn farewell(job: &JobSummary) -> String {
    let next = match job.state {
        JobState::Failed => format!("; `cargo wren jobs {}` shows what failed", job.id),
        JobState::Interrupted => {
            "; its driver ended before it: run the program again, a named job goes on where it ended".to_owned()
        }
        _ => String::new(),
    };
    let (state, wall) = (jobs::state(job.state), jobs::seconds(job.wall_s));
    format!("{}: {state} after {wall}: {}{next}", job.id, job.snapshot())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_driver_and_a_failure_are_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let begin = r#"{"event":"job","id":"abc","name":null,"function":"demo::f","tasks":3,"backend":"local","workers":2,"started_unix_ms":1,"pid":1,"wren":"0"}"#;
        let end = r#"{"event":"end","t":2.0,"state":"failed","done":2,"failed":1,"retried":0,"compute_s":1.0,"wall_s":2.0,"usd":0.0}"#;
        let path = folder.path().join(history::LOG);
        std::fs::write(&path, format!("{begin}\n")).unwrap();
        let interrupted = farewell(&JobSummary::read(folder.path()).unwrap());
        assert!(interrupted.starts_with("abc: interrupted after 0.0ns: 0/3 done; its driver ended"), "{interrupted}");
        std::fs::write(&path, format!("{begin}\n{end}\n")).unwrap();
        let failed = farewell(&JobSummary::read(folder.path()).unwrap());
        assert!(failed.ends_with("`cargo wren jobs abc` shows what failed"), "{failed}");
    }
}
