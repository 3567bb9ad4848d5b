//! Summaries of jobs, read from their logs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::tasks::Tasks;
use super::{About, Event, Follow, Stage};
use crate::config::Config;
use crate::error::Result;
use crate::terminal::ProgressSnapshot;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobState {
    /// The driver is running the job.
    Running,
    /// All tasks succeeded, or the program received the outcome of each task separately.
    Done,
    /// A task failed, and so did the job.
    Failed,
    /// The job was stopped by its program, by `cargo wren cancel`, or by Ctrl-C.
    Cancelled,
    /// The driver ended before the job did: it was killed, or it called `process::exit`.
    Interrupted,
}

/// A summary of a job's log.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct JobSummary {
    /// ID of the job.
    pub id: String,
    /// Name given by [`named`](crate::Map::named).
    pub name: Option<String>,
    /// Function of the first call.
    pub function: String,
    /// URL of the backend, in the latest run.
    pub backend: String,
    /// URL of the store; empty if the log is of an older version.
    pub store: String,
    /// Number of calls that run at once, in the latest run.
    pub workers: usize,
    /// State of the job.
    pub state: JobState,
    /// Number of tasks, if known.
    pub tasks: Option<u64>,
    /// Tasks that succeeded, in all runs.
    pub done: u64,
    /// The tasks that `done` counts.
    #[serde(skip)]
    done_tasks: Tasks,
    /// Tasks that failed permanently, in the latest run.
    pub failed: u64,
    /// Attempts that were repeated, in all runs.
    pub retried: u64,
    /// Number of runs.
    pub runs: u32,
    /// When the latest run started, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Duration of the latest run in seconds, up to its last line so far.
    pub wall_s: f64,
    /// Seconds inside functions, summed over all runs and workers.
    pub compute_s: f64,
    /// Cost of all runs, in dollars.
    pub usd: f64,
    /// Cost of earlier runs, in dollars.
    #[serde(skip)]
    earlier_usd: f64,
    /// Tasks that succeeded in earlier runs.
    #[serde(skip)]
    earlier_done: u64,
    /// Tasks that run, while the job runs.
    pub running: u64,
    /// Tasks that wait, while the job runs. Some may wait at a worker behind others.
    pub queued: u64,
    /// Peak memory of a worker, in MB.
    pub peak_mb: u64,
    /// The computation that the latest run was a stage of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Why the latest run ended early, if no failed task explains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Returns the directory for the logs of programs that run in the current directory. This is `WREN_DIR` if it is set.
/// Otherwise it is `.wren` next to the nearest `Wren.toml` or `Cargo.lock` in the current directory or a parent
/// directory, or else `.wren` in the current directory.
///
/// # Errors
/// [`crate::Error::Config`] if the configuration is invalid.
pub fn directory() -> Result<PathBuf> {
    Ok(Config::load()?.directory)
}

/// Returns all jobs with a log in `directory/jobs`, the latest first. Logs that cannot be read are skipped.
///
/// # Errors
/// Returns an error if the folder cannot be read. A folder that does not exist has no jobs.
pub fn jobs(directory: &Path) -> io::Result<Vec<JobSummary>> {
    // Some jobs may belong to this program and still have unwritten lines.
    super::notes::write_all();
    let entries = match fs::read_dir(directory.join("jobs")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut jobs = Vec::new();
    for entry in entries {
        jobs.extend(JobSummary::read(&entry?.path()).ok());
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.started_unix_ms));
    Ok(jobs)
}

impl JobSummary {
    /// Reads the log in a job's folder.
    ///
    /// # Errors
    /// Returns an error if the log cannot be read, and [`io::ErrorKind::InvalidData`] if it has no line that describes
    /// the job.
    pub fn read(folder: &Path) -> io::Result<Self> {
        Self::read_with(folder, |_| ())
    }

    /// Reads the log in a job's folder and calls `visit` with each event.
    ///
    /// # Errors
    /// Same as [`JobSummary::read`].
    pub fn read_with(folder: &Path, mut visit: impl FnMut(&Event)) -> io::Result<Self> {
        let mut follow = Follow::open(folder)?;
        follow.read_with(&mut visit)?;
        follow.into_summary().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a job log"))
    }

    /// Returns the values that a progress bar shows.
    pub fn snapshot(&self) -> ProgressSnapshot {
        ProgressSnapshot {
            done: self.done,
            earlier: self.earlier_done,
            failed: self.failed,
            retried: self.retried,
            running: self.running,
            queued: self.queued,
            tasks: self.tasks,
            elapsed: Duration::try_from_secs_f64(self.wall_s).unwrap_or_default(),
            usd: self.usd,
        }
    }

    pub(super) fn begin(event: Event) -> Option<Self> {
        let Event::Job { about, started_unix_ms, .. } = event else { return None };
        let About { id, name, function, tasks, backend, store, workers, stage, .. } = about;
        Some(Self {
            id,
            name,
            function,
            backend,
            store,
            workers,
            state: JobState::Interrupted,
            tasks,
            done: 0,
            done_tasks: Tasks::default(),
            failed: 0,
            retried: 0,
            runs: 1,
            started_unix_ms,
            wall_s: 0.0,
            compute_s: 0.0,
            usd: 0.0,
            earlier_usd: 0.0,
            earlier_done: 0,
            running: 0,
            queued: 0,
            peak_mb: 0,
            stage,
            reason: None,
        })
    }

    pub(super) fn add(&mut self, event: Event) {
        match event {
            Event::Job { about, started_unix_ms, .. } => {
                self.runs += 1;
                self.state = JobState::Interrupted;
                self.failed = 0;
                self.wall_s = 0.0;
                self.started_unix_ms = started_unix_ms;
                self.tasks = about.tasks.or(self.tasks);
                (self.backend, self.store, self.workers) = (about.backend, about.store, about.workers);
                self.stage = about.stage;
                self.reason = None;
                self.earlier_usd = self.usd;
                self.earlier_done = self.done;
            }
            Event::Done { t, first, count, times, peak_mb, .. } => {
                self.done = self.done.saturating_add(self.done_tasks.insert(first..first.saturating_add(count)));
                self.wall_s = t;
                self.compute_s += times.compute_us as f64 / 1e6;
                self.peak_mb = self.peak_mb.max(peak_mb);
            }
            Event::Failed { t, times, .. } => {
                self.failed += 1;
                self.wall_s = t;
                self.compute_s += times.compute_us as f64 / 1e6;
            }
            Event::Retry { t, times, .. } => {
                self.retried += 1;
                self.wall_s = t;
                self.compute_s += times.compute_us as f64 / 1e6;
            }
            Event::Progress { t, running, queued, usd, .. } => {
                self.wall_s = t;
                self.usd = self.earlier_usd + usd;
                (self.running, self.queued) = (running, queued);
            }
            Event::Clock { .. } => {}
            Event::End { state, wall_s, usd, reason, .. } => {
                self.wall_s = wall_s;
                self.reason = reason;
                self.usd = self.earlier_usd + usd;
                (self.running, self.queued) = (0, 0);
                self.state = match &*state {
                    "done" => JobState::Done,
                    "failed" => JobState::Failed,
                    _ => JobState::Cancelled,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;
    use std::time::Instant;

    use crate::error::Failure;
    use crate::history::{JobLog, LOG, LogPlace, Note, Sizes, TaskReport, task_count};

    fn begin(directory: &Path, tasks: u64) -> JobLog {
        let about = About {
            id: "abc".to_owned(),
            name: Some("sweep".to_owned()),
            function: "demo::train".to_owned(),
            tasks: Some(tasks),
            backend: "local".to_owned(),
            store: String::new(),
            workers: 2,
            memory_mb: None,
            stage: None,
            program: PathBuf::new(),
        };
        let place = LogPlace::New { folder: directory.join("jobs/abc"), history: 100 };
        let mut log = JobLog::new(about, true, place, None, Instant::now());
        log.write();
        log
    }

    fn note(log: &mut JobLog, note: Note) {
        log.take(Instant::now(), note);
    }

    fn done(log: &mut JobLog, tasks: Range<u64>, new: u64) {
        let sizes = Sizes { bytes_out: 100, ..Sizes::default() };
        note(log, Note::Done { tasks, new, ran: TaskReport::default(), sizes });
    }

    #[test]
    fn summaries_follow_a_job_to_its_end_and_add_a_second_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = begin(folder.path(), 10);
        let running = jobs(folder.path()).unwrap().remove(0);
        assert_eq!((running.state, running.tasks, running.done), (JobState::Running, Some(10), 0));
        note(&mut log, Note::Submitted(10));
        done(&mut log, 0..4, 4);
        // As if the driver died: the log is closed without an `End` line.
        let path = folder.path().join("jobs/abc/events.jsonl");
        log.forget();
        let interrupted = JobSummary::read(path.parent().unwrap()).unwrap();
        assert_eq!((interrupted.state, interrupted.done), (JobState::Interrupted, 4));
        // An incomplete line is skipped.
        let half = fs::read_to_string(&path).unwrap() + "{\"event\":\"do";
        fs::write(&path, half + "\n").unwrap();

        let mut log = begin(folder.path(), 10);
        note(&mut log, Note::Submitted(6));
        let (ran, failure) = (TaskReport::default(), Failure::Cancelled);
        let after = std::time::Duration::ZERO;
        note(&mut log, Note::Retry { task: 4, ran, failure: failure.clone(), after });
        done(&mut log, 3..9, 5);
        note(&mut log, Note::Failed { task: 9, ran, failure, stderr: String::new() });
        note(&mut log, Note::Reason("no more\u{1b} money".to_owned()));
        log.finish("failed");
        log.write();
        let mut events = 0;
        let ended = JobSummary::read_with(path.parent().unwrap(), |_| events += 1).unwrap();
        assert_eq!((ended.state, ended.runs, ended.done, ended.failed), (JobState::Failed, 2, 9, 1));
        assert_eq!((ended.retried, events), (1, 7));
        assert_eq!(ended.reason.as_deref(), Some("no more\u{fffd} money"));
    }

    #[test]
    fn a_task_that_succeeds_again_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        // As if the results were removed between the runs.
        for done_in_run in [0..20, 0..18] {
            let mut log = begin(folder.path(), 20);
            note(&mut log, Note::Submitted(20));
            let new = done_in_run.end - done_in_run.start;
            done(&mut log, done_in_run, new);
            log.finish("done");
            log.write();
        }
        let job = jobs(folder.path()).unwrap().remove(0);
        assert_eq!((job.done, job.tasks, job.runs), (20, Some(20), 2));
    }

    #[test]
    fn the_latest_run_names_the_backend() {
        let folder = tempfile::tempdir().unwrap();
        begin(folder.path(), 3).forget();
        let mut log = begin(folder.path(), 3);
        log.finish("done");
        log.write();
        let path = folder.path().join("jobs/abc").join(LOG);
        let text = fs::read_to_string(&path).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        let first = first.replace("\"local\"", "\"lambda\"").replace("\"workers\":2", "\"workers\":900");
        fs::write(&path, format!("{first}\n{rest}")).unwrap();
        let job = JobSummary::read(path.parent().unwrap()).unwrap();
        assert_eq!((job.backend.as_str(), job.workers), ("local", 2));
    }

    #[test]
    fn a_dropped_log_is_done_or_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        for (ran, state) in [(3, JobState::Done), (2, JobState::Cancelled)] {
            let mut log = begin(folder.path(), 3);
            note(&mut log, Note::Submitted(3));
            done(&mut log, 0..ran, ran);
            drop(log);
            assert_eq!(jobs(folder.path()).unwrap()[0].state, state);
        }
    }

    #[test]
    fn foreign_logs_are_harmless() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("jobs/evil");
        fs::create_dir_all(&folder).unwrap();
        let about = r#"{"event":"job","id":"../../../victim","name":"\u001b[2Jn","function":"f","tasks":7,
            "backend":"local","workers":2,"started_unix_ms":1,"pid":1,"wren":"0"}"#;
        let done = |t: &str, first: u64, count: u64| {
            format!(
                r#"{{"event":"done","t":{t},"first":{first},"count":{count},"new":{count},"attempt":1,"compute_us":1,
                    "bytes_out":1,"peak_mb":1}}"#
            )
        };
        let lines = [
            about.to_owned(),
            done("1.0", 0, 1 << 63),
            done("1e300", 0, 1),
            done("-1.0", 0, 1),
            done("1.0", u64::MAX, 2),
            r#"{"event":"end","t":1.0,"state":"done","done":1,"failed":0,"retried":0,"compute_s":1e308,"wall_s":1e308,
                "usd":1e308}"#
                .to_owned(),
            done("1.0", 0, 3),
        ];
        let log: String = lines.iter().map(|line| line.replace('\n', "") + "\n").collect();
        fs::write(folder.join(LOG), log).unwrap();
        let job = JobSummary::read(&folder).unwrap();
        assert_eq!((job.id.as_str(), job.done, job.wall_s), ("evil", 3, 1.0));
        assert_eq!(job.name.as_deref(), Some("\u{fffd}[2Jn"));
        let timeline = crate::history::Timeline::read(&folder).unwrap();
        assert_eq!((timeline.about.id.as_str(), timeline.spans.len()), ("evil", 1));
        // A named pipe without a writer is not a log, and opening it must not block.
        let pipe = directory.path().join("jobs/pipe");
        fs::create_dir_all(&pipe).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(pipe.join(LOG)).status().unwrap().success());
        assert_eq!(jobs(directory.path()).unwrap().len(), 1);
        assert_eq!(task_count(&pipe), None);
    }

    proptest::proptest! {
        #[test]
        fn damaged_logs_do_not_panic(cut in 0usize..400, byte: u8, at in 0usize..400) {
            let directory = tempfile::tempdir().unwrap();
            let mut log = begin(directory.path(), 10);
            note(&mut log, Note::Submitted(10));
            done(&mut log, 0..4, 4);
            log.finish("done");
            log.write();
            let path = directory.path().join("jobs/abc").join(LOG);
            let mut bytes = fs::read(&path).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut));
            fs::write(&path, bytes).unwrap();
            let _ = JobSummary::read(path.parent().unwrap());
            let _ = crate::history::Timeline::read(path.parent().unwrap());
        }
    }

    #[test]
    fn a_folder_without_logs_has_no_jobs() {
        let folder = tempfile::tempdir().unwrap();
        assert!(jobs(folder.path()).unwrap().is_empty());
        fs::create_dir_all(folder.path().join("jobs/stray")).unwrap();
        fs::write(folder.path().join("jobs/stray/events.jsonl"), "hello\n").unwrap();
        assert!(jobs(folder.path()).unwrap().is_empty());
    }
}
