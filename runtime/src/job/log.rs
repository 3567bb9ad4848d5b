//! The event log of a job, `.wren/jobs/<id>/events.jsonl`, and its summary line.
//!
//! One JSON object a line: `job` first, then `done` by the batch, `failed` and `retry` by the task,
//! `end` last. Times are seconds since the job began.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::backend::Timing;
use crate::error::Failure;
use crate::progress::Progress;
use crate::terminal;

/// Lines are written when this many bytes wait.
const WRITE_AT: usize = 64 << 10;

/// Lines wait no longer than this while lines come.
const WRITE_EVERY: Duration = Duration::from_millis(500);

static TASKS: AtomicU64 = AtomicU64::new(0);
static TASKS_DONE: AtomicU64 = AtomicU64::new(0);

/// What was done so far, for who interrupts the program.
pub(crate) fn tally() -> String {
    let (done, tasks) = (TASKS_DONE.load(Ordering::Relaxed), TASKS.load(Ordering::Relaxed));
    format!("{done} of {tasks} tasks were done")
}

/// What the first line of a log says.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct About {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) function: String,
    pub(crate) tasks: Option<u64>,
    pub(crate) backend: String,
    pub(crate) workers: usize,
}

/// Counts, shows and writes down what happens to a job.
#[derive(Debug)]
pub(crate) struct JobLog {
    about: About,
    folder: PathBuf,
    file: Option<File>,
    lines: Vec<u8>,
    begun: Instant,
    written: Instant,
    quiet: bool,
    progress: Progress,
    done: u64,
    failed: u64,
    retried: u64,
    submitted: u64,
    compute: Duration,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Job {
        #[serde(flatten)]
        about: &'a About,
        started_unix_ms: u64,
        pid: u32,
        wren: &'a str,
    },
    Done {
        t: f64,
        first: u64,
        count: u64,
        attempt: u32,
        worker: u32,
        compute_us: u64,
        bytes_out: usize,
        peak_mb: u64,
    },
    Failed {
        t: f64,
        task: u64,
        attempt: u32,
        class: &'a str,
        message: String,
        compute_us: u64,
    },
    Retry {
        t: f64,
        task: u64,
        attempt: u32,
        class: &'a str,
        after_ms: u64,
    },
    End {
        t: f64,
        state: &'a str,
        done: u64,
        failed: u64,
        retried: u64,
        compute_s: f64,
        wall_s: f64,
        usd: f64,
    },
}

impl JobLog {
    pub(crate) fn new(directory: &Path, about: About, quiet: bool) -> Self {
        let now = Instant::now();
        let short = about.function.rsplit("::").next().unwrap_or_default().to_owned();
        let mut log = Self {
            folder: directory.join("jobs").join(&about.id),
            progress: Progress::new(about.name.as_deref().unwrap_or(&short), quiet),
            about,
            file: None,
            lines: Vec::new(),
            begun: now,
            written: now,
            quiet,
            done: 0,
            failed: 0,
            retried: 0,
            submitted: 0,
            compute: Duration::ZERO,
        };
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let about = log.about.clone();
        log.line(&Line::Job {
            about: &about,
            started_unix_ms: started.as_millis() as u64,
            pid: std::process::id(),
            wren: env!("CARGO_PKG_VERSION"),
        });
        log
    }

    fn t(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn line(&mut self, line: &Line<'_>) {
        // Nothing of ours fails to be JSON; a line less is better than a job less.
        if serde_json::to_writer(&mut self.lines, line).is_ok() {
            self.lines.push(b'\n');
        }
        if self.lines.len() > WRITE_AT || self.written.elapsed() > WRITE_EVERY {
            self.write();
        }
    }

    fn write(&mut self) {
        self.written = Instant::now();
        if self.file.is_none() {
            self.file = create(&self.folder).ok();
        }
        // A folder that cannot be written costs the log, and nothing else.
        if let Some(file) = &mut self.file {
            let _ = file.write_all(&self.lines);
        }
        self.lines.clear();
    }

    pub(crate) fn submitted(&mut self, tasks: u64) {
        self.submitted += tasks;
        TASKS.fetch_add(tasks, Ordering::Relaxed);
    }

    pub(crate) fn done(&mut self, tasks: &Range<u64>, attempt: u32, timing: &Timing, bytes: usize) {
        let count = tasks.end - tasks.start;
        self.done += count;
        self.compute += timing.compute;
        TASKS_DONE.fetch_add(count, Ordering::Relaxed);
        self.line(&Line::Done {
            t: self.t(),
            first: tasks.start,
            count,
            attempt,
            worker: timing.worker,
            compute_us: timing.compute.as_micros() as u64,
            bytes_out: bytes,
            peak_mb: timing.peak_memory >> 20,
        });
        self.show();
    }

    pub(crate) fn failed(&mut self, task: u64, attempt: u32, failure: &Failure, timing: &Timing) {
        self.failed += 1;
        self.compute += timing.compute;
        self.line(&Line::Failed {
            t: self.t(),
            task,
            attempt,
            class: failure.name(),
            message: failure.clone().into_error(Default::default()).to_string(),
            compute_us: timing.compute.as_micros() as u64,
        });
        self.show();
    }

    pub(crate) fn retry(&mut self, task: u64, attempt: u32, failure: &Failure, after: Duration) {
        self.retried += 1;
        let after_ms = after.as_millis() as u64;
        self.line(&Line::Retry { t: self.t(), task, attempt, class: failure.name(), after_ms });
    }

    fn show(&mut self) {
        let total = self.about.tasks.or(Some(self.submitted));
        self.progress.update(self.done, self.failed, total);
    }

    /// Ends the log; `state` is `done`, `failed`, `cancelled` or `interrupted`.
    pub(crate) fn end(mut self, state: &str) {
        self.progress.finish();
        let wall = self.begun.elapsed();
        self.line(&Line::End {
            t: wall.as_secs_f64(),
            state,
            done: self.done,
            failed: self.failed,
            retried: self.retried,
            compute_s: self.compute.as_secs_f64(),
            wall_s: wall.as_secs_f64(),
            usd: 0.0,
        });
        self.write();
        if !self.quiet {
            terminal::note(&self.summary(state, wall));
        }
    }

    fn summary(&self, state: &str, wall: Duration) -> String {
        let count = |n: u64, what: &str| if n > 0 { format!(", {n} {what}") } else { String::new() };
        format!(
            "{} {state}: {} tasks of {} in {:.2?}, {:.2?} of compute ({:.1}x){}{}; job {}",
            self.about.name.as_deref().unwrap_or("job"),
            self.done,
            self.about.function,
            wall,
            self.compute,
            self.compute.as_secs_f64() / wall.as_secs_f64().max(1e-9),
            count(self.failed, "failed"),
            count(self.retried, "retried"),
            self.about.id,
        )
    }
}

/// Makes the job's folder and its log; `.wren` ignores itself in git.
fn create(folder: &Path) -> std::io::Result<File> {
    fs::create_dir_all(folder)?;
    if let Some(root) = folder.ancestors().nth(2) {
        let ignore = root.join(".gitignore");
        if !ignore.exists() {
            fs::write(ignore, "*\n")?;
        }
    }
    File::options().create(true).append(true).open(folder.join("events.jsonl"))
}
