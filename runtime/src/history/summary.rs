//! Reading logs back.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{About, Event, Follow, LOG};
use crate::config::Config;
use crate::error::Result;
use crate::platform;
use crate::terminal::ProgressSnapshot;

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
    /// Stopped by its program, by `cargo wren cancel`, or by Ctrl-C.
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
    /// What earlier runs cost.
    #[serde(skip)]
    earlier_usd: f64,
    /// Tasks in flight, where it runs.
    pub running: u64,
    /// Tasks that wait, where it runs.
    pub queued: u64,
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
    // Some may be jobs of this program.
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

/// How many tasks a job has, where its log says so. Every program can be asked for it: by what it takes
/// of an [`Event`], it is spared the code that reads all of them.
pub(crate) fn task_count(folder: &Path) -> Option<u64> {
    #[derive(Deserialize)]
    struct Begun {
        event: String,
        tasks: Option<u64>,
    }
    let mut log = String::new();
    platform::open_file(&folder.join(LOG)).ok()?.read_to_string(&mut log).ok()?;
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
        let mut follow = Follow::open(folder)?;
        follow.read_with(&mut visit)?;
        follow.into_summary().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no log of a job"))
    }

    /// What a progress bar shows of it.
    pub fn snapshot(&self) -> ProgressSnapshot {
        ProgressSnapshot {
            done: self.done,
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
            earlier_usd: 0.0,
            running: 0,
            queued: 0,
            peak_mb: 0,
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
                self.earlier_usd = self.usd;
            }
            Event::Done { t, new, times, peak_mb, .. } => {
                self.done = self.done.saturating_add(new);
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
            Event::Progress { t, running, queued, usd } => {
                self.wall_s = t;
                self.usd = self.earlier_usd + usd;
                (self.running, self.queued) = (running, queued);
            }
            Event::Clock { .. } => {}
            Event::End { state, wall_s, usd, .. } => {
                self.wall_s = wall_s;
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
    use crate::history::{JobLog, Note, Place, TaskReport};

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
        let place = Place::New { directory: directory.to_owned(), history: 100 };
        let mut log = JobLog::new(about, true, place, None, Instant::now());
        log.write();
        log
    }

    fn note(log: &mut JobLog, note: Note) {
        log.take(Instant::now(), note);
    }

    fn done(log: &mut JobLog, tasks: Range<u64>, new: u64) {
        note(log, Note::Done { tasks, new, ran: TaskReport::default(), bytes_in: 0, bytes_out: 100 });
    }

    #[test]
    fn a_job_is_running_then_as_it_ended_and_a_second_run_adds_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = begin(folder.path(), 10);
        let running = jobs(folder.path()).unwrap().remove(0);
        assert_eq!((running.state, running.tasks, running.done), (JobState::Running, Some(10), 0));
        note(&mut log, Note::Submitted(10));
        done(&mut log, 0..4, 4);
        // As if the driver died: the log is closed and has no end.
        let path = folder.path().join("jobs/abc/events.jsonl");
        log.forget();
        let interrupted = JobSummary::read(path.parent().unwrap()).unwrap();
        assert_eq!((interrupted.state, interrupted.done), (JobState::Interrupted, 4));
        // Half a line does no harm.
        let half = fs::read_to_string(&path).unwrap() + "{\"event\":\"do";
        fs::write(&path, half + "\n").unwrap();

        let mut log = begin(folder.path(), 10);
        note(&mut log, Note::Submitted(6));
        let (ran, failure) = (TaskReport::default(), Failure::Cancelled);
        let after = std::time::Duration::ZERO;
        note(&mut log, Note::Retry { task: 4, ran, failure: failure.clone(), after });
        done(&mut log, 3..9, 5);
        note(&mut log, Note::Failed { task: 9, ran, failure, stderr: String::new() });
        log.finish("failed");
        log.write();
        let mut events = 0;
        let ended = JobSummary::read_with(path.parent().unwrap(), |_| events += 1).unwrap();
        assert_eq!((ended.state, ended.runs, ended.done, ended.failed), (JobState::Failed, 2, 9, 1));
        assert_eq!((ended.retried, events), (1, 7));
    }

    #[test]
    fn a_dropped_log_says_whether_tasks_were_left() {
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
    fn what_wren_did_not_write_harms_nobody() {
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
        // A pipe that nobody writes to is no log.
        let pipe = directory.path().join("jobs/pipe");
        fs::create_dir_all(&pipe).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(pipe.join(LOG)).status().unwrap().success());
        assert_eq!(jobs(directory.path()).unwrap().len(), 1);
        assert_eq!(task_count(&pipe), None);
    }

    proptest::proptest! {
        #[test]
        fn damaged_logs_are_read_as_far_as_they_go(cut in 0usize..400, byte: u8, at in 0usize..400) {
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
