//! Reading logs back.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{About, Event};
use crate::config::Config;
use crate::error::Result;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobState {
    /// Its driver lives.
    Running,
    /// All tasks succeeded, or were handed over one by one.
    Done,
    /// A task failed, and with it the job.
    Failed,
    /// Stopped by its program, or by Ctrl-C.
    Cancelled,
    /// Its driver ended before it: killed, or by a `process::exit`.
    Interrupted,
}

/// What a job's log says of it as a whole.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct JobSummary {
    /// Names the job.
    pub id: String,
    /// What [`named`](crate::Map::named) called it.
    pub name: Option<String>,
    /// The function of the first call.
    pub function: String,
    /// Where it runs.
    pub backend: String,
    /// How many calls ran at once.
    pub workers: usize,
    /// Where it stands.
    pub state: JobState,
    /// How many tasks it has, where that is known.
    pub tasks: Option<u64>,
    /// Tasks that succeeded, of all runs.
    pub done: u64,
    /// Tasks that failed for good, in the latest run.
    pub failed: u64,
    /// Executions that were repeated, of all runs.
    pub retried: u64,
    /// How often it was begun.
    pub runs: u32,
    /// When its latest run began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Seconds that the latest run took, or took until its last line.
    pub wall_s: f64,
    /// Seconds that functions ran, of all runs and workers together.
    pub compute_s: f64,
    /// What it cost, in dollars, of all runs.
    pub usd: f64,
    /// The most memory that a worker used, in MB.
    pub peak_mb: u64,
}

/// Where jobs of programs that run in the current folder are logged: `WREN_DIR`, or `.wren` beside
/// the nearest `Wren.toml` or `Cargo.lock` upwards, or else here.
///
/// # Errors
/// [`crate::Error::Config`].
pub fn directory() -> Result<PathBuf> {
    Ok(Config::load()?.directory)
}

/// All jobs whose logs lie in `directory/jobs`, the latest first; a log that cannot be read is left
/// out.
///
/// # Errors
/// Of reading the folder. A folder that does not exist has no jobs.
pub fn jobs(directory: &Path) -> io::Result<Vec<JobSummary>> {
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

/// How many tasks a job has, where its log says so. Every program can be asked for it: by what it takes
/// of an [`Event`], it is spared the code that reads all of them.
pub(crate) fn task_count(folder: &Path) -> Option<u64> {
    #[derive(Deserialize)]
    struct Begun {
        event: String,
        tasks: Option<u64>,
    }
    let log = fs::read_to_string(folder.join("events.jsonl")).ok()?;
    let begun = log.lines().filter_map(|line| serde_json::from_str::<Begun>(line).ok());
    begun.filter(|begun| begun.event == "job").filter_map(|begun| begun.tasks).next_back()
}

impl JobSummary {
    /// Reads the log in a job's folder.
    ///
    /// # Errors
    /// Of reading it, and [`io::ErrorKind::InvalidData`] if it does not begin as a log does.
    pub fn read(folder: &Path) -> io::Result<Self> {
        Self::read_with(folder, |_| ())
    }

    /// Reads the log in a job's folder, and shows each of its events to `visit`.
    ///
    /// # Errors
    /// As [`JobSummary::read`].
    pub fn read_with(folder: &Path, mut visit: impl FnMut(&Event)) -> io::Result<Self> {
        let file = File::open(folder.join("events.jsonl"))?;
        // Asked before reading: who ends meanwhile has written all.
        let is_running = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
        // Whoever wants to run the job must not find it locked by a reader.
        let _ = flock(&file, FlockOperation::Unlock);
        let mut lines = BufReader::new(file);
        let mut summary: Option<Self> = None;
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            // The last line of a driver that was killed may be half a line.
            if let Ok(event) = serde_json::from_slice(&line) {
                visit(&event);
                match &mut summary {
                    Some(summary) => summary.add(event),
                    None => summary = Self::begin(event),
                }
            }
            line.clear();
        }
        let mut summary = summary.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no log of a job"))?;
        if is_running {
            summary.state = JobState::Running;
        }
        Ok(summary)
    }

    fn begin(event: Event) -> Option<Self> {
        let Event::Job { about, started_unix_ms, .. } = event else { return None };
        let About { id, name, function, tasks, backend, workers, .. } = about;
        Some(Self {
            id,
            name,
            function,
            backend,
            workers,
            state: JobState::Interrupted,
            tasks,
            done: 0,
            failed: 0,
            retried: 0,
            runs: 1,
            started_unix_ms,
            wall_s: 0.0,
            compute_s: 0.0,
            usd: 0.0,
            peak_mb: 0,
        })
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Job { about, started_unix_ms, .. } => {
                self.runs += 1;
                self.state = JobState::Interrupted;
                self.failed = 0;
                self.wall_s = 0.0;
                self.started_unix_ms = started_unix_ms;
                self.tasks = about.tasks.or(self.tasks);
            }
            Event::Done { t, new, times, peak_mb, .. } => {
                self.done += new;
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
            Event::Clock { .. } => {}
            Event::End { state, wall_s, usd, .. } => {
                self.wall_s = wall_s;
                self.usd += usd;
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
    use std::time::Instant;

    use crate::error::Failure;
    use crate::trace::{JobLog, Ran, claim};

    fn begin(directory: &Path, tasks: u64) -> JobLog {
        let about = About {
            id: "abc".to_owned(),
            name: Some("sweep".to_owned()),
            function: "demo::train".to_owned(),
            tasks: Some(tasks),
            backend: "local".to_owned(),
            workers: 2,
            memory_mb: None,
            program: PathBuf::new(),
        };
        JobLog::new(about, true, claim(directory, "abc"), Instant::now())
    }

    #[test]
    fn a_job_is_running_then_as_it_ended_and_a_second_run_adds_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = begin(folder.path(), 10);
        let running = jobs(folder.path()).unwrap().remove(0);
        assert_eq!((running.state, running.tasks, running.done), (JobState::Running, Some(10), 0));
        log.submitted(10);
        log.done(&(0..4), 4, &Ran::default(), 0, 100);
        // As if the driver died: the log is closed and has no end.
        let path = folder.path().join("jobs/abc/events.jsonl");
        log.forget();
        let interrupted = JobSummary::read(path.parent().unwrap()).unwrap();
        assert_eq!((interrupted.state, interrupted.done), (JobState::Interrupted, 4));
        // Half a line does no harm.
        let half = fs::read_to_string(&path).unwrap() + "{\"event\":\"do";
        fs::write(&path, half + "\n").unwrap();

        let mut log = begin(folder.path(), 10);
        log.submitted(6);
        log.retry(4, &Ran::default(), &Failure::Cancelled, std::time::Duration::ZERO);
        log.done(&(3..9), 5, &Ran { attempt: 2, ..Ran::default() }, 0, 100);
        log.failed(9, &Ran::default(), &Failure::Cancelled, "");
        log.finish("failed");
        let mut events = 0;
        let ended = JobSummary::read_with(path.parent().unwrap(), |_| events += 1).unwrap();
        assert_eq!((ended.state, ended.runs, ended.done, ended.failed), (JobState::Failed, 2, 9, 1));
        assert_eq!((ended.retried, events), (1, 7));
    }

    #[test]
    fn a_dropped_log_says_whether_tasks_were_left() {
        let folder = tempfile::tempdir().unwrap();
        for (done, state) in [(3, JobState::Done), (2, JobState::Cancelled)] {
            let mut log = begin(folder.path(), 3);
            log.submitted(3);
            log.done(&(0..done), done, &Ran::default(), 0, 0);
            drop(log);
            assert_eq!(jobs(folder.path()).unwrap()[0].state, state);
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
