//! `cargo wren jobs`: lists jobs and shows their failures.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use wren::history::{self, Event, Failures, JobState, JobSummary};

use crate::screen::Screen;
use crate::{durations, json, numbers, table};

/// List the jobs that ran here, latest first, or show one job
///
/// Reads the job histories in `.wren/jobs/<id>/events.jsonl`. The folder `.wren` is next to the nearest `Wren.toml` or
/// `Cargo.lock` in this folder or a parent folder, or else in this folder. A job counts as running while its driver
/// process is alive.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren jobs\n  cargo wren jobs sweep\n  \
    cargo wren jobs --json | jq '.[] | select(.state == \"failed\") | .id'")]
pub(crate) struct Args {
    /// Show this job and its failed tasks: a job id, the start of one, or a job name
    job: Option<String>,
    /// List at most N jobs
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20,
          value_parser = numbers::whole::<usize>(0..=u64::MAX, 20))]
    limit: usize,
    /// Print JSON: an array of all jobs, or one job with its failures
    #[arg(long)]
    json: bool,
}

/// A task that failed and is not retried.
#[derive(Debug, Serialize)]
struct Failed {
    task: u64,
    attempt: u32,
    class: String,
    message: String,
    stderr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    backtrace: Option<String>,
}

#[derive(Debug, Serialize)]
struct JobOutput {
    #[serde(flatten)]
    summary: JobSummary,
    failures: Vec<Failed>,
}

pub(crate) fn jobs(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let jobs = all(&directory)?;
    let mut out = Screen::stdout();
    match &args.job {
        Some(wanted) => show(&mut out, &directory, find(jobs, wanted)?, args.json)?,
        None if args.json => out.whole_line(&json::line(&jobs)?)?,
        None if jobs.is_empty() => {
            writeln!(out, "no job ran here; {} has no job histories", directory.join("jobs").display())?
        }
        None => list(&mut out, &jobs, args.limit)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns all jobs that ran here, latest first.
pub(super) fn all(directory: &Path) -> Result<Vec<JobSummary>> {
    history::jobs(directory).with_context(|| format!("cannot read {}", directory.display()))
}

/// Returns the folder with a job's history, output and inputs.
pub(super) fn folder(directory: &Path, job: &JobSummary) -> PathBuf {
    directory.join("jobs").join(&job.id)
}

/// Fails if the job has no such task.
pub(super) fn check_task(job: &JobSummary, task: u64) -> Result<()> {
    match job.tasks.filter(|tasks| task >= *tasks) {
        Some(tasks) => bail!("job {} has no task {task}: it has {tasks} tasks, numbered from 0", job.id),
        None => Ok(()),
    }
}

/// Returns the position of the job with this id, or else of the latest one with this name. One name can have a history
/// for each store, with ids of their own.
fn position(jobs: &[JobSummary], wanted: &str) -> Option<usize> {
    let by_id = jobs.iter().position(|job| job.id == wanted);
    by_id.or_else(|| jobs.iter().position(|job| job.name.as_deref() == Some(wanted)))
}

/// Returns the job with this id, this name, or this start of an id.
pub(super) fn find(jobs: Vec<JobSummary>, wanted: &str) -> Result<JobSummary> {
    let exact = position(&jobs, wanted);
    let by_prefix: Vec<_> =
        jobs.iter().enumerate().filter(|(_, job)| job.id.starts_with(wanted)).map(|(i, _)| i).collect();
    let index = match (exact, &by_prefix[..]) {
        (Some(index), _) | (None, &[index]) => index,
        (None, []) => bail!("{}", not_found(wanted)),
        (None, several) => bail!("the ids of {} jobs start with `{wanted}`; give more of the id", several.len()),
    };
    jobs.into_iter().nth(index).context("the job is gone")
}

pub(super) fn not_found(wanted: &str) -> String {
    format!("no job here is called `{wanted}`; run `cargo wren jobs` for a list")
}

/// Returns the job and the task that `<job> <task>`, `<job>` or `<task>` name. A number alone is a task of the latest
/// job, unless a job has it as its id or name.
pub(super) fn with_task(directory: &Path, first: Option<&str>, task: Option<u64>) -> Result<(JobSummary, Option<u64>)> {
    let alone = first.filter(|_| task.is_none()).and_then(|first| first.parse::<u64>().ok());
    let (job, task) = match alone {
        Some(number) if position(&all(directory)?, first.unwrap_or_default()).is_none() => {
            (chosen(directory, None)?, Some(number))
        }
        _ => (chosen(directory, first)?, task),
    };
    if let Some(task) = task {
        check_task(&job, task)?;
    }
    Ok((job, task))
}

/// Returns the job named on the command line, or the latest.
pub(super) fn chosen(directory: &Path, wanted: Option<&str>) -> Result<JobSummary> {
    let all = all(directory)?;
    match wanted {
        Some(wanted) => find(all, wanted),
        None => all.into_iter().next().with_context(|| {
            format!("no job ran here; {} has no job histories; run a program first", directory.join("jobs").display())
        }),
    }
}

fn list(out: &mut Screen<impl Write>, jobs: &[JobSummary], limit: usize) -> Result<()> {
    let row = |job: &JobSummary| {
        [
            job.id.clone(),
            state_of(job),
            tasks(job),
            job.function.clone(),
            durations::ago(job.started_unix_ms),
            durations::short(job.wall_s),
            durations::short(job.compute_s),
            job.retried.to_string(),
        ]
    };
    let rows: Vec<_> = jobs.iter().take(limit).map(row).collect();
    let header = ["JOB", "STATE", "DONE", "FUNCTION", "STARTED", "TIME", "COMPUTE", "RETRIED"];
    table::write(out, header, &rows)?;
    if jobs.len() > limit {
        writeln!(out, "and {} earlier jobs; use -n to list more", jobs.len() - limit)?;
    }
    Ok(())
}

fn show(out: &mut Screen<impl Write>, directory: &Path, job: JobSummary, json: bool) -> Result<()> {
    let mut failures = Vec::new();
    let mut causes = Failures::default();
    let folder = folder(directory, &job);
    let summary = JobSummary::read_with(&folder, |event| match event {
        // A new run of the job starts here: it runs the tasks again that failed before.
        Event::Job { .. } => {
            failures.clear();
            causes.clear();
        }
        Event::Failed { task, attempt, class, message, stderr, backtrace, .. } => {
            causes.add(*task, class, message, stderr);
            failures.push(Failed {
                task: *task,
                attempt: *attempt,
                class: class.to_string(),
                message: message.clone(),
                stderr: stderr.clone(),
                backtrace: backtrace.clone(),
            });
        }
        _ => {}
    })?;
    if json {
        out.whole_line(&json::line(&JobOutput { summary, failures })?)?;
        return Ok(());
    }
    writeln!(out, "job       {}", summary.id)?;
    writeln!(out, "function  {}", summary.function)?;
    writeln!(out, "state     {}, started {}", state_of(&summary), durations::ago(summary.started_unix_ms))?;
    writeln!(out, "tasks     {} done, {} failed, {} retried", tasks(&summary), summary.failed, summary.retried)?;
    writeln!(
        out,
        "time      {}; {} workers ({}) computed for {}",
        durations::short(summary.wall_s),
        summary.workers,
        summary.backend,
        durations::short(summary.compute_s)
    )?;
    if !summary.store.is_empty() {
        writeln!(out, "store     {}", summary.store)?;
    }
    writeln!(out, "memory    at most {} MB in a worker", summary.peak_mb)?;
    writeln!(out, "history   {}", folder.join(history::LOG).display())?;
    if !failures.is_empty() {
        writeln!(out)?;
        let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        let row = |f: &Failed| [f.task.to_string(), f.class.clone(), first_line(&f.message), f.attempt.to_string()];
        let rows: Vec<_> = failures.iter().map(row).collect();
        table::write(out, ["TASK", "CLASS", "MESSAGE", "ATTEMPT"], &rows)?;
        if let Some((task, backtrace)) = failures.iter().find_map(|f| Some((f.task, f.backtrace.as_ref()?))) {
            writeln!(out, "\nthe backtrace of task {task}; --json prints those of all tasks:\n{backtrace}")?;
        }
        writeln!(out)?;
        causes.lines(&summary.id, summary.tasks).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(())
}

/// Returns the state of a job, with its failures: a program may have gone on with the other outcomes.
fn state_of(job: &JobSummary) -> String {
    match job.failed {
        0 => state(job.state).to_owned(),
        failed if job.state == JobState::Failed => format!("{failed} failed"),
        failed => format!("{}, {failed} failed", state(job.state)),
    }
}

/// Returns how far a job is, without the rate and the time left of a running one.
pub(super) fn counts(job: &JobSummary) -> String {
    let of = job.tasks.map(|tasks| format!(" of {tasks}")).unwrap_or_default();
    let failed = if job.failed > 0 { format!(", {} failed", job.failed) } else { String::new() };
    format!("{}{of} done{failed}", job.done)
}

pub(crate) fn state(state: JobState) -> &'static str {
    match state {
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
        JobState::Interrupted => "interrupted",
        _ => "unknown",
    }
}

pub(super) fn tasks(job: &JobSummary) -> String {
    match job.tasks {
        Some(tasks) => format!("{}/{tasks}", job.done),
        None => job.done.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Screen<&mut Vec<u8>>) -> Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut Screen::new(&mut out, usize::MAX, false)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn backtraces_are_shown_with_their_failures() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("jobs/sweep");
        std::fs::create_dir_all(&folder).unwrap();
        let about = r#""id":"sweep","name":null,"function":"a::f","tasks":3,"backend":"local","workers":2"#;
        let failed = |task: u64, rest: &str| {
            let fields = r#""t":1.0,"attempt":1,"class":"panicked","message":"bad","compute_us":1"#;
            format!(r#"{{"event":"failed","task":{task},{fields}{rest}}}"#)
        };
        let log = [
            format!(r#"{{"event":"job",{about},"started_unix_ms":1,"pid":1,"wren":"0"}}"#),
            failed(1, ""),
            failed(2, r#","backtrace":"   0: a::inner\n   1: a::f""#),
        ];
        std::fs::write(folder.join(history::LOG), log.join("\n") + "\n").unwrap();
        let shown = |json| {
            let job = find(all(directory.path()).unwrap(), "sweep").unwrap();
            written(|out| show(out, directory.path(), job, json))
        };
        let text = shown(false);
        let backtrace = "   0: a::inner\n   1: a::f";
        let part = format!(
            "\nthe backtrace of task 2; --json prints those of all tasks:\n{backtrace}\n\n2 of 3 tasks failed:"
        );
        assert!(text.contains(&part), "{text}");
        let json: serde_json::Value = serde_json::from_str(&shown(true)).unwrap();
        assert!(json["failures"][0].get("backtrace").is_none(), "{json}");
        assert_eq!(json["failures"][1]["backtrace"], backtrace);
    }

    #[test]
    fn a_job_that_is_done_in_spite_of_failures_says_so_and_why() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("jobs/abc");
        std::fs::create_dir_all(&folder).unwrap();
        let failed = |task: u64| {
            format!(
                r#"{{"event":"failed","t":1.0,"task":{task},"attempt":1,"class":"panicked","message":"`demo::f` task {task} panicked at src/main.rs:29:5: no row {task}","stderr":"reading\n","compute_us":1}}"#
            )
        };
        let log = [
            r#"{"event":"job","id":"abc","name":null,"function":"demo::f","tasks":60,"backend":"local","workers":2,"started_unix_ms":1,"pid":1,"wren":"0"}"#.to_owned(),
            failed(7),
            failed(31),
            r#"{"event":"end","t":2.0,"state":"done","done":58,"failed":2,"retried":0,"compute_s":1.0,"wall_s":2.0,"usd":0.0}"#.to_owned(),
        ];
        std::fs::write(folder.join(history::LOG), log.join("\n") + "\n").unwrap();
        let job = JobSummary::read(&folder).unwrap();
        let out = written(|out| {
            list(out, std::slice::from_ref(&job), 20)?;
            show(out, directory.path(), job, false)
        });
        assert!(out.contains("\nabc  done, 2 failed  ") && out.contains("\nstate     done, 2 failed, "), "{out}");
        let causes =
            "2 of 60 tasks failed:\n  2 tasks (7, 31): panicked at src/main.rs:29:5: no row 7\n    [7] reading\n";
        assert!(out.contains(causes) && out.ends_with("cargo wren replay abc 7  # runs it again here\n"), "{out}");
    }
}
