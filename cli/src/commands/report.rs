//! `cargo wren report`: shows how a job spent its time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use wren::history::{self, DriverTotals, JobState, JobSummary, Timeline};

use super::jobs;
use crate::report::figures::{Cause, STRAGGLER};
use crate::report::page::Page;
use crate::report::serve::{Server, Sources};
use crate::report::{Report, Whole, bytes, chrome};
use crate::screen::Screen;
use crate::{aws, durations, json, table};

/// Show how a job spent its time
///
/// Reads the job history in `.wren/jobs/<id>/events.jsonl`. Shows how long tasks spent in each phase, what the wall
/// time was spent on, retries by cause, stragglers, data sizes, memory and cost. For a running job, it covers the time
/// so far.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo wren report\n  cargo wren report sweep --html report.html\n  \
    # The same page, live:\n  \
    cargo wren report --serve\n  \
    # For https://ui.perfetto.dev:\n  \
    cargo wren report 8f0w --chrome-trace trace.json\n  \
    cargo wren report --json | jq '.phases[] | select(.name == \"compute\")'")]
pub(crate) struct Args {
    /// A job id, the start of one, or a job name; defaults to the latest job
    job: Option<String>,
    /// Print one JSON object; fields that end in `_us` are in microseconds
    #[arg(long)]
    json: bool,
    /// Write an HTML page with the timeline of all tasks to this file; `-` for standard output. A stage of a MapReduce,
    /// a sort or a superstep program is shown together with the other stages
    #[arg(long, value_name = "FILE")]
    html: Option<String>,
    /// Serve that page to a browser on this machine, and keep it up to date while the job runs; prints its address
    #[arg(long, conflicts_with_all = ["json", "html", "chrome_trace"])]
    serve: bool,
    /// Port on which to serve; 0 for any free port
    #[arg(long, value_name = "N", default_value_t = 0, requires = "serve")]
    port: u16,
    /// Write a Chrome trace, for Perfetto, to this file; `-` for standard output
    #[arg(long, value_name = "FILE")]
    chrome_trace: Option<String>,
}

pub(crate) fn report(args: &Args) -> Result<ExitCode> {
    let to_stdout = |path: &Option<String>| path.as_deref() == Some("-");
    if [args.json, to_stdout(&args.html), to_stdout(&args.chrome_trace)].into_iter().filter(|to| *to).count() > 1 {
        bail!("only one of --json, --html and --chrome-trace can go to standard output; write the others to files");
    }
    let directory = history::directory()?;
    let all = jobs::all(&directory)?;
    let job = match args.job.as_deref().and_then(|wanted| stage_of(&all, wanted)) {
        Some(job) => job.clone(),
        None => jobs::chosen(&directory, args.job.as_deref())?,
    };
    if args.serve {
        return serve(args.port, directory, &all, job);
    }
    let folder = jobs::folder(&directory, &job);
    let write_page = |path: &str| {
        let page = page(&sources(&directory, &all, &job), None)?;
        write_to(path, |out| out.write_all(&page))
    };
    // The page has more than this job's history, and reads it itself.
    if let (Some(path), None, false) = (&args.html, &args.chrome_trace, args.json) {
        return write_page(path).map(|()| ExitCode::SUCCESS);
    }
    let timeline = Timeline::read(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let report = Report::of(&timeline);
    if let Some(path) = &args.chrome_trace {
        write_to(path, |out| chrome::write(out, &timeline))?;
    }
    if let Some(path) = &args.html {
        write_page(path)?;
    }
    let mut out = Screen::stdout();
    if args.json {
        out.whole_line(&json::line(&report)?)?;
    } else if args.chrome_trace.is_none() {
        show(&mut out, &timeline, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns what the page of a job is made from: its log, and those of the other stages of its computation.
fn sources(directory: &Path, all: &[JobSummary], job: &JobSummary) -> Sources {
    let folders = stages(all, job).map(|stage| jobs::folder(directory, stage)).collect();
    // Other stages of a computation are jobs that start later.
    Sources { folders, others: job.stage.is_some().then(|| directory.join("jobs")) }
}

/// Creates a page. `live` is its number, if it is served.
fn page(sources: &Sources, live: Option<u64>) -> Result<Vec<u8>> {
    let folders = &sources.folders;
    let outputs = folders.iter().map(|folder| outputs(folder)).collect::<Result<Vec<_>>>()?;
    let read = |folder: &PathBuf| Timeline::read(folder).with_context(|| format!("cannot read {}", folder.display()));
    let timelines = folders.iter().map(read).collect::<Result<Vec<_>>>()?;
    let whole = Whole::of(timelines).context("the job is gone")?;
    let summary = serde_json::to_value(Report::of(&whole.timeline))?;
    let mut page = Vec::new();
    Page { whole: &whole, summary: &summary, outputs: &outputs, live }.write(&mut page)?;
    Ok(page)
}

/// Serves the page of a job until Ctrl-C.
fn serve(port: u16, directory: PathBuf, all: &[JobSummary], job: JobSummary) -> Result<ExitCode> {
    // A program that uses all processors should not wait for its spectator.
    let _ = rustix::process::nice(19);
    let id = job.id.clone();
    let first = sources(&directory, all, &job);
    let create = Box::new({
        let first = first.clone();
        move |number| {
            let now = match first.others {
                Some(_) => sources(&directory, &jobs::all(&directory)?, &job),
                None => first.clone(),
            };
            Ok((page(&now, Some(number))?, now))
        }
    });
    aws::block_on(async {
        let server = Server::start(port, first, create).await?;
        writeln!(io::stdout(), "{}", server.address())?;
        eprintln!("the page shows job {id} and follows it while it runs; Ctrl-C ends this command, and not the job");
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            ran = server.run() => ran.map(|()| ExitCode::SUCCESS),
            _ = interrupt.recv() => Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => Ok(ExitCode::SUCCESS),
        }
    })
}

/// Returns the latest stage of the computation with this run id or name, if no job has it as its own.
fn stage_of<'a>(all: &'a [JobSummary], wanted: &str) -> Option<&'a JobSummary> {
    if all.iter().any(|job| job.id == wanted || job.name.as_deref() == Some(wanted)) {
        return None;
    }
    all.iter().find(|job| job.stage.as_ref().is_some_and(|stage| stage.run == wanted || stage.of == wanted))
}

/// Returns all stages of the computation that the job belongs to, in order, or else only the job.
fn stages<'a>(all: &'a [JobSummary], job: &'a JobSummary) -> impl Iterator<Item = &'a JobSummary> {
    let is_of_run = |other: &&JobSummary| match (&other.stage, &job.stage) {
        (Some(other), Some(stage)) => other.run == stage.run,
        _ => other.id == job.id,
    };
    let mut stages: Vec<_> = all.iter().filter(is_of_run).collect();
    stages.sort_by_key(|job| job.stage.as_ref().map(|stage| stage.number));
    stages.into_iter()
}

/// Returns the output of each task, as far as it was kept.
fn outputs(folder: &Path) -> Result<BTreeMap<u64, String>> {
    let lines = history::outputs(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut outputs = BTreeMap::<_, String>::new();
    for line in lines {
        if let Some(task) = line.task {
            let output = outputs.entry(task).or_default();
            output.push_str(&line.line);
            output.push('\n');
        }
    }
    Ok(outputs)
}

fn write_to(path: &str, write: impl FnOnce(&mut BufWriter<Box<dyn Write>>) -> io::Result<()>) -> Result<()> {
    let out: Box<dyn Write> = match path {
        "-" => Box::new(io::stdout().lock()),
        path => Box::new(File::create(path).with_context(|| format!("cannot write {path}"))?),
    };
    let mut out = BufWriter::new(out);
    write(&mut out).and_then(|()| out.flush()).with_context(|| format!("cannot write {path}"))?;
    if path != "-" {
        eprintln!("wrote {}", Path::new(path).display());
    }
    Ok(())
}

/// Minimum share of the wall time for which the driver's work has a line.
const WORTH_A_LINE: f64 = 0.01;

fn show(out: &mut Screen<impl Write>, timeline: &Timeline, report: &Report<'_>) -> Result<()> {
    let job = report.job;
    let name = job.name.as_ref().map(|name| format!(", named {name}")).unwrap_or_default();
    writeln!(out, "job        {}{name}: {}; function {}", job.id, jobs::state(job.state), job.function)?;
    if let Some(stage) = &job.stage {
        writeln!(out, "stage      {}, number {} of {}; `--html` shows all stages", stage.name, stage.number, stage.of)?;
    }
    if let Some(reason) = &job.reason {
        writeln!(out, "           {}", reason.lines().next().unwrap_or_default())?;
    }
    match job.state {
        JobState::Running => writeln!(out, "           the job is still running; this report covers the time so far")?,
        JobState::Interrupted => {
            writeln!(out, "           the driver ended before the job; this report covers the time until then")?
        }
        _ => {}
    }
    writeln!(out, "tasks      {} done, {} failed, {} attempts retried", jobs::tasks(job), job.failed, job.retried)?;
    writeln!(out, "time       {} on {} workers ({})", durations::short(job.wall_s), job.workers, job.backend)?;
    if timeline.spans.is_empty() {
        writeln!(out, "no task has finished yet")?;
        return Ok(());
    }
    writeln!(
        out,
        "compute    {}: {:.1} times as fast as one worker, {:.0}% of {} workers; {:.1} tasks per second",
        durations::short(job.compute_s),
        report.speed_up,
        100.0 * report.efficiency,
        job.workers,
        report.throughput_per_s
    )?;
    let limit = report.memory_mb.map(|mb| format!(", limit {mb} MB")).unwrap_or_default();
    writeln!(out, "memory     at most {} MB in a worker{limit}", report.peak_mb)?;
    writeln!(out, "data       {} in, {} out", bytes(report.bytes_in), bytes(report.bytes_out))?;
    if report.large_values > 0 {
        let values = match report.large_values {
            1 => "1 large argument".to_owned(),
            n => format!("{n} large arguments"),
        };
        let times = match report.sent_values {
            1 => "once".to_owned(),
            n => format!("{n} times"),
        };
        writeln!(
            out,
            "           {values} of {}, sent to workers {times}: {}; {} of them in all tasks together",
            bytes(report.large_bytes),
            bytes(report.sent_bytes),
            bytes(report.large_in)
        )?;
    }
    let DriverTotals { encode_s, decode_s, .. } = report.driver;
    if encode_s + decode_s >= WORTH_A_LINE * job.wall_s {
        let [encoding, decoding] = [encode_s, decode_s].map(durations::short);
        writeln!(out, "driver     {encoding} to create and encode arguments, {decoding} to decode results")?;
    }
    if report.usd > 0.0 {
        writeln!(out, "dollars    about {:.4}", report.usd)?;
    }
    writeln!(out)?;
    let header = ["PHASE", "TASKS", "MEAN", "P50", "P95", "MAX", "P99", "STD"];
    let us = |us: f64| match us {
        0.0 => "0s".to_owned(),
        us => durations::short(us / 1e6),
    };
    let rows: Vec<_> = report
        .phases
        .iter()
        .map(|row| {
            let numbers = [row.p50_us, row.p95_us, row.p99_us, row.max_us].map(|n| us(n as f64));
            let [p50, p95, p99, max] = numbers;
            [row.name.to_owned(), row.count.to_string(), us(row.mean_us), p50, p95, max, p99, us(row.std_us)]
        })
        .collect();
    table::write(out, header, &rows)?;
    if report.clock_error_us > 0 {
        writeln!(out, "times of other machines are accurate to {}", us(report.clock_error_us as f64))?;
    }
    writeln!(out)?;
    report.critical_path.sentences.iter().try_for_each(|sentence| writeln!(out, "{sentence}"))?;
    let write_causes = |what: &str, causes: &[Cause], out: &mut dyn Write| {
        let cause = |c: &Cause| format!("{} x {} ({} of compute)", c.count, c.class, us(c.compute_us as f64));
        match causes {
            [] => Ok(()),
            causes => writeln!(out, "{what}: {}", causes.iter().map(cause).collect::<Vec<_>>().join(", ")),
        }
    };
    write_causes("retried", &report.retries, out)?;
    write_causes("failed", &report.failures, out)?;
    let late = &report.stragglers;
    if late.count > 0 {
        let longest: Vec<_> =
            late.longest.iter().map(|task| format!("{} ({})", task.task, us(task.compute_us as f64))).collect();
        writeln!(
            out,
            "stragglers: {} tasks took more than {} (at least {STRAGGLER} times the median); the longest are {}",
            late.count,
            us(late.from_us as f64),
            longest.join(", ")
        )?;
    }
    Ok(())
}
