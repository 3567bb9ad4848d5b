//! `cargo wren logs`: shows the output of remote functions, from this machine or from AWS.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;
use wren::__private::aws::BatchLine;
use wren::backend::is_lambda;
use wren::deployment::Deployment;
use wren::history::{self, JobSummary};

use super::jobs;
use crate::aws::{self, Aws, if_there};
use crate::deploy::report::Report;
use crate::deploy::{Site, name, site};
use crate::{durations, json, numbers};

/// Maximum number of streams in one request (FilterLogEvents).
const STREAMS: usize = 100;

/// Show the output of remote functions
///
/// Shows the output of all tasks of a job, or of one task. If the program is deployed, text that is not a job is
/// searched for on AWS.
///
/// The output of a job on this machine is kept with the job history, up to 64 MB. The output of a job on AWS is in
/// CloudWatch Logs: it appears there after some seconds and is kept for two weeks. Bytes that are not UTF-8 appear as
/// `�`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren logs\n  cargo wren logs 17\n  cargo wren logs sweep 17 --since 2d\n  \
                        cargo wren logs 'did not converge' --json | jq .line")]
pub(crate) struct Args {
    /// A job id, the start of one (at least 4 characters), a job name, or text to search for; defaults to the latest
    /// job. A number alone is a task of the latest job
    what: Option<String>,
    /// Number of the task to show, from 0
    #[arg(value_parser = numbers::whole::<u64>(0..=u64::MAX, 17))]
    task: Option<u64>,
    /// Show only lines from this last period, such as 30m, 12h or 7d; defaults to 1d on AWS, and to everything here
    #[arg(long, value_name = "TIME", value_parser = durations::parse)]
    since: Option<Duration>,
    /// Print one JSON object per line: `time`, `unix_ms`, `stream`, `line`; on AWS also `group`, and here also `task`,
    /// `attempt`, `worker`, `function`, `t`
    #[arg(long)]
    json: bool,
}

/// The default of `--since` on AWS.
const A_DAY: Duration = Duration::from_secs(86_400);

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line {
    /// Milliseconds since 1970.
    #[serde(rename = "unix_ms")]
    time: i64,
    group: String,
    stream: String,
    line: String,
}

pub(crate) fn logs(args: &Args) -> Result<ExitCode> {
    let directory = history::directory()?;
    let what = what(&directory, args)?;
    if let What::Job(job, task) = &what
        && !is_lambda(&job.backend)
    {
        return kept(args, &directory, job, *task);
    }
    if let What::Text(text) = &what
        && Deployment::load(&directory)?.is_none()
    {
        bail!("{}", jobs::not_found(text));
    }
    let (wanted, task) = match &what {
        What::Job(job, task) => (history::id_in_store(&job.id), *task),
        What::Text(text) => (text.as_str(), args.task),
    };
    let looked_back = args.since.unwrap_or(A_DAY);
    let lines = aws::block_on(async {
        let aws = Aws::open().await?;
        let account = aws.account().await?;
        let site = Site::recorded(aws, account, &site::record(&directory)?, Report::new(false, args.json))?;
        site.report.doing("reading logs");
        let record = site::record(&directory)?;
        let groups: Vec<_> = record.lambdas.iter().map(|lambda| name::log_group(&lambda.name)).collect();
        let since = since(looked_back);
        match of_job(&site, &groups, wanted, task, since).await? {
            Some(lines) => Ok(lines),
            None => containing(&site, &groups, wanted, since).await,
        }
    });
    let lines = match &what {
        What::Job(..) => lines,
        What::Text(text) => {
            lines.with_context(|| format!("no job here is called `{text}`, and AWS cannot be searched"))
        }
    }?;
    show(args, &lines)?;
    if lines.is_empty() {
        eprintln!(
            "no lines for `{wanted}` in the last {}; lines appear some seconds after they are printed; use --since to \
             look further back, at most 14 days",
            durations::exact(looked_back)
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the time `age` before now, in milliseconds since 1970.
fn since(age: Duration) -> i64 {
    (SystemTime::now() - age).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// Shows the output of a job that was kept on this machine.
fn kept(args: &Args, directory: &Path, job: &JobSummary, task: Option<u64>) -> Result<ExitCode> {
    let folder = jobs::folder(directory, job);
    let lines = history::outputs(&folder).with_context(|| format!("cannot read the output in {}", folder.display()))?;
    let since = args.since.map_or(0, since);
    // Lines without a task are wren's notes about the output itself, and concern every task.
    let wanted = |line: &history::Line| task.is_none_or(|task| line.task.is_none_or(|of| of == task));
    let mut out = std::io::stdout().lock();
    let mut shown = 0;
    let mut last_older = None;
    for line in lines.filter(wanted) {
        if (line.unix_ms as i64) < since {
            last_older = last_older.max(line.task.map(|_| line.unix_ms));
            continue;
        }
        shown += u64::from(line.task.is_some());
        let time = timestamp(line.unix_ms as i64);
        if args.json {
            let mut value = serde_json::to_value(&line)?;
            value["time"] = time.into();
            writeln!(out, "{}", json::line(&value)?)?;
            continue;
        }
        match line.task {
            Some(task) => writeln!(out, "{time} [{} {task}] {}", line.function, line.line)?,
            None => writeln!(out, "{time} {}", line.line)?,
        }
    }
    if shown > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let source = task.map_or_else(|| "the tasks".to_owned(), |task| format!("task {task}"));
    if let (Some(last), Some(age)) = (last_older, args.since) {
        eprintln!(
            "{source} of job {} printed nothing in the last {}; the last line is from {}; leave out --since to see all",
            job.id,
            durations::exact(age),
            durations::ago(last)
        );
        return Ok(ExitCode::FAILURE);
    }
    match &*job.backend {
        "inline" => eprintln!(
            "job {} ran on threads of its own program, so its output is part of the program's output; with \
             `WREN_BACKEND=local`, wren keeps it",
            job.id
        ),
        _ => eprintln!("no output of {source} is kept for job {}; `cargo wren jobs {0}` shows its failures", job.id),
    }
    Ok(ExitCode::FAILURE)
}

/// What the command line asks for.
enum What {
    /// A job that has a history here, or one of its tasks.
    Job(Box<JobSummary>, Option<u64>),
    /// A job that ran elsewhere, or a part of a line.
    Text(String),
}

fn what(directory: &Path, args: &Args) -> Result<What> {
    let known = jobs::all(directory)?;
    let is_text = args.what.as_ref().filter(|what| {
        let exact = |job: &JobSummary| job.id == **what || job.name.as_ref() == Some(*what);
        let begins = |job: &JobSummary| what.len() >= 4 && job.id.starts_with(what.as_str());
        let is_task = args.task.is_none() && !known.is_empty() && what.parse::<u64>().is_ok();
        !is_task && !known.iter().any(|job| exact(job) || begins(job))
    });
    match is_text {
        Some(text) => Ok(What::Text(text.clone())),
        None => {
            jobs::with_task(directory, args.what.as_deref(), args.task).map(|(job, task)| What::Job(job.into(), task))
        }
    }
}

/// Returns the lines that contain a text.
async fn containing(site: &Site, groups: &[String], text: &str, since: i64) -> Result<Vec<Line>> {
    // In a CloudWatch filter pattern, a quoted text matches literally; it cannot contain quotes.
    let pattern = format!("\"{}\"", text.replace('"', " "));
    let mut lines = Vec::new();
    for group in groups {
        lines.extend(read(site, group, &[], Some(&pattern), since).await?);
    }
    lines.sort_by_key(|line| line.time);
    Ok(lines)
}

/// Returns the output of a job's invocations. First finds the lines at the start of each invocation, then reads the
/// streams that contain them. Returns `None` if no invocation belongs to such a job. The driver may have run on another
/// machine.
async fn of_job(
    site: &Site,
    groups: &[String],
    wanted: &str,
    task: Option<u64>,
    since: i64,
) -> Result<Option<Vec<Line>>> {
    if !wanted.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Ok(None);
    }
    let pattern = format!("\"job={wanted}\"");
    let mut starts = Vec::new();
    for group in groups {
        starts.extend(read(site, group, &[], Some(&pattern), since).await?);
    }
    let runs = runs(&starts, wanted);
    if runs.is_empty() {
        return Ok(None);
    }
    let mut lines = Vec::new();
    for group in groups {
        let own = || starts.iter().filter(|line| line.group == *group);
        let Some(first) = own().map(|line| line.time).min() else { continue };
        let streams: BTreeSet<_> = own().map(|line| line.stream.clone()).collect();
        let streams: Vec<_> = streams.into_iter().collect();
        for streams in streams.chunks(STREAMS) {
            lines.extend(of_invocations(read(site, group, streams, None, first).await?, &runs, task));
        }
    }
    lines.sort_by_key(|line| line.time);
    Ok(Some(lines))
}

/// Returns the job ids that `wanted` selects: `wanted` itself, and ids that continue it with a separator, such as
/// `<wanted>-2`. If there are none, returns the id that starts with `wanted`, if there is exactly one.
fn runs(starts: &[Line], wanted: &str) -> BTreeSet<String> {
    let all: BTreeSet<_> =
        starts.iter().filter_map(|line| Some(BatchLine::parse(&line.line)?.job_run.to_owned())).collect();
    let is_of = |run: &&String| {
        let rest = run.strip_prefix(wanted);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let exact: BTreeSet<_> = all.iter().filter(is_of).cloned().collect();
    if !exact.is_empty() {
        return exact;
    }
    let by_prefix: BTreeSet<_> = all.into_iter().filter(|run| wanted.len() >= 4 && run.starts_with(wanted)).collect();
    if by_prefix.len() == 1 { by_prefix } else { BTreeSet::new() }
}

async fn read(site: &Site, group: &str, streams: &[String], pattern: Option<&str>, since: i64) -> Result<Vec<Line>> {
    let filter = site.aws.logs.filter_log_events().log_group_name(group).start_time(since);
    let filter = filter.set_filter_pattern(pattern.map(str::to_owned));
    let filter = filter.set_log_stream_names((!streams.is_empty()).then(|| streams.to_vec()));
    let mut pages = filter.into_paginator().send();
    let mut lines = Vec::new();
    while let Some(page) = pages.next().await {
        // A group that no longer exists has no lines.
        let doing = format!("reading the log group {group}");
        let Some(page) = if_there(page, &["ResourceNotFoundException"], &doing)? else { break };
        lines.extend(page.events().iter().map(|event| Line {
            time: event.timestamp().unwrap_or_default(),
            group: group.to_owned(),
            stream: event.log_stream_name().unwrap_or_default().to_owned(),
            line: event.message().unwrap_or_default().trim_end().to_owned(),
        }));
    }
    Ok(lines)
}

/// Returns the task in `[<function> <task>] text`.
fn task_of(line: &str) -> Option<u64> {
    line.strip_prefix('[')?.split_once(']')?.0.rsplit_once(' ')?.1.parse().ok()
}

/// Keeps only the lines of invocations that belong to `runs`, and of one task if `task` is given.
///
/// A stream contains the output of one instance, which runs one invocation after another.
fn of_invocations(lines: Vec<Line>, runs: &BTreeSet<String>, task: Option<u64>) -> Vec<Line> {
    let mut streams = BTreeMap::<String, Vec<Line>>::new();
    lines.into_iter().for_each(|line| streams.entry(line.stream.clone()).or_default().push(line));
    let mut kept = Vec::new();
    for lines in streams.into_values() {
        let mut own = false;
        for line in lines {
            if let Some(start) = BatchLine::parse(&line.line) {
                own = runs.contains(start.job_run) && task.is_none_or(|task| start.tasks.contains(&task));
            }
            let of_task = match (task, task_of(&line.line)) {
                (Some(wanted), Some(of)) => wanted == of,
                _ => true,
            };
            if own && of_task && !is_accounting(&line.line) {
                kept.push(line);
            }
        }
    }
    kept
}

/// Returns whether this is one of Lambda's own lines around each invocation, other than a report of an error.
fn is_accounting(line: &str) -> bool {
    let report = line.starts_with("REPORT RequestId") && !line.contains("Status:");
    report || ["START RequestId", "END RequestId", "INIT_START"].iter().any(|start| line.starts_with(start))
}

fn show(args: &Args, lines: &[Line]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        if args.json {
            let mut value = serde_json::to_value(line)?;
            value["time"] = timestamp(line.time).into();
            writeln!(out, "{value}")?;
        } else {
            // The last part of the stream's name identifies the instance.
            let instance = line.stream.rsplit(']').next().unwrap_or_default();
            writeln!(out, "{} {:.8} {}", timestamp(line.time), instance, line.line)?;
        }
    }
    Ok(())
}

fn timestamp(unix_ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok();
    time.and_then(|time| time.format(format).ok()).unwrap_or_else(|| unix_ms.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(stream: &str, lines: &[&str]) -> Vec<Line> {
        let line = |(i, line): (usize, &&str)| Line {
            time: i as i64,
            group: "g".to_owned(),
            stream: stream.to_owned(),
            line: (*line).to_owned(),
        };
        lines.iter().enumerate().map(line).collect()
    }

    fn kept(lines: Vec<Line>, id: &str, task: Option<u64>) -> Vec<String> {
        of_invocations(lines, &BTreeSet::from([id.to_owned()]), task).into_iter().map(|line| line.line).collect()
    }

    #[test]
    fn lines_belong_to_the_invocation_before_them() {
        let one = lines(
            "one",
            &[
                "INIT_START Runtime Version: provided:al2023",
                "START RequestId: 1 Version: $LATEST",
                "wren job=aa tasks=0..2 attempt=1",
                "[f 0] hello",
                "[f 1] hello too",
                "no mark",
                "END RequestId: 1",
                "REPORT RequestId: 1 Duration: 3 ms",
                "wren job=bb tasks=0..9 attempt=1",
                "[f 0] of another job",
                "wren job=aa tasks=2..3 attempt=2",
                "REPORT RequestId: 3 Duration: 3 ms Status: timeout",
            ],
        );
        let other = lines("two", &["[f 0] before any", "wren job=aa tasks=3..4 attempt=1", "[f 3] last"]);
        let all: Vec<_> = one.into_iter().chain(other).collect();
        let own = kept(all.clone(), "aa", None);
        assert_eq!(own.len(), 8, "{own:?}");
        assert!(!own.iter().any(|line| line.contains("another") || line.contains("before") || line.contains("START")));
        assert!(own.iter().any(|line| line.contains("Status: timeout")));
        let first = kept(all.clone(), "aa", Some(1));
        assert_eq!(first, ["wren job=aa tasks=0..2 attempt=1", "[f 1] hello too", "no mark"]);
        assert!(kept(all, "aa", Some(7)).is_empty());
    }

    #[test]
    fn jobs_are_selected_by_id_or_prefix() {
        let start = |job: &str| lines("one", &[&format!("wren job={job} tasks=0..1 attempt=1")]).remove(0);
        let logged = [start("8f0wabcd"), start("8f0wabcd-2"), start("8f0wxyz"), start("sweep")];
        let selected = |wanted: &str| runs(&logged, wanted).into_iter().collect::<Vec<_>>();
        assert_eq!(selected("8f0wabcd"), ["8f0wabcd", "8f0wabcd-2"]);
        assert_eq!(selected("8f0wx"), ["8f0wxyz"]);
        assert_eq!(selected("sweep"), ["sweep"]);
        assert!(selected("8f0w").is_empty() && selected("swe").is_empty() && selected("nothing").is_empty());
    }

    #[test]
    fn task_marks_are_parsed() {
        assert_eq!(
            (task_of("[a::f 7] x]"), task_of("[f] x"), task_of("[f x] y"), task_of("")),
            (Some(7), None, None, None)
        );
    }

    #[test]
    fn times_are_read_and_written() {
        assert_eq!(timestamp(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }
}
