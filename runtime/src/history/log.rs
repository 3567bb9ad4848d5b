//! Writing the log of a job, and its summary line.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use super::clock::{Clocks, Exchange};
use super::notes::Note;
use super::output::OutputLog;
use super::prune::prune_sometimes;
use super::{About, Event, RemoteTimes, Times};
use crate::attempt::Timing;
use crate::error::{Attempt, Failure};
use crate::history::spans::JobSpan;
use crate::platform;
use crate::scheduler::{self, DispatchTimes, Progress};
use crate::terminal::{self, Bar, ProgressSnapshot};

/// The log, in the folder of its job.
pub const LOG: &str = "events.jsonl";

/// Who puts a file of this name beside a running job's log cancels the job.
pub const CANCEL: &str = "cancel";

/// How often the log says where the job stands.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// An execution that ended, as the scheduler tells of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TaskReport {
    /// Counted from 1.
    pub(crate) attempt: u32,
    /// Its function, where it failed.
    pub(crate) function: &'static str,
    pub(crate) sent: DispatchTimes,
    pub(crate) timing: Timing,
}

/// Where a log is written.
#[derive(Debug)]
pub(crate) enum Place {
    /// Nowhere: nobody wants it, or the folder cannot be written. That costs the log, and nothing else.
    Nowhere,
    /// In the folder of a job that nobody else can have, which is made with the first lines.
    New { directory: PathBuf, history: u64 },
    /// In this file, which is locked, and lies in that folder.
    Open(File, PathBuf),
}

impl Place {
    /// Makes the folder and the file, where they are not there.
    pub(crate) fn opened(self, id: &str) -> Self {
        let Place::New { directory, history } = self else { return self };
        prune_sometimes(&directory, history);
        match claim(&directory, id) {
            Claim::Here(file) => Place::Open(file, directory.join("jobs").join(id)),
            Claim::Elsewhere | Claim::Impossible => Place::Nowhere,
        }
    }
}

/// Says at the end of a job how it would have run elsewhere.
pub(crate) trait Forecast: std::fmt::Debug + Send {
    /// `count` tasks ran one after another, in `seconds`.
    fn done(&mut self, count: u64, seconds: f64, bytes_in: usize, bytes_out: usize);

    /// The forecast, if any task was done.
    fn text(self: Box<Self>, memory_mb: Option<u32>) -> Option<String>;
}

/// Counts, shows and writes down what happens to a job. Only [`write`](JobLog::write) touches a disk.
#[derive(Debug)]
pub(crate) struct JobLog {
    about: About,
    place: Place,
    /// Whether others know the job by its log.
    is_shared: bool,
    /// What is not in the file yet.
    lines: Vec<u8>,
    /// What tasks print, where that is kept.
    output: Option<OutputLog>,
    begun: Instant,
    begun_unix: Duration,
    /// `begun` on the scheduler's clock.
    begun_at: scheduler::Time,
    /// When it was last said where the job stands.
    stood: Instant,
    quiet: bool,
    clocks: Clocks,
    bar: Option<Bar>,
    span: JobSpan,
    done: u64,
    failed: u64,
    retried: u64,
    submitted: u64,
    compute: Duration,
    usd: f64,
    /// Where the backend is `sim`.
    forecast: Option<Box<dyn Forecast>>,
    ended: bool,
}

impl JobLog {
    /// Begins the log of a job. `clock` is when the scheduler's time began.
    pub(crate) fn new(
        about: About,
        quiet: bool,
        place: Place,
        forecast: Option<Box<dyn Forecast>>,
        clock: Instant,
    ) -> Self {
        let now = Instant::now();
        let mut log = Self {
            output: (!matches!(place, Place::Nowhere)).then(OutputLog::new),
            is_shared: matches!(place, Place::Open(..)),
            place,
            bar: (!quiet).then(|| Bar::new(about.name.as_deref(), &about.function)).flatten(),
            span: JobSpan::begin(&about),
            forecast,
            about,
            lines: Vec::new(),
            begun: now,
            begun_unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            begun_at: now.saturating_duration_since(clock),
            stood: now,
            quiet,
            clocks: Clocks::default(),
            done: 0,
            failed: 0,
            retried: 0,
            submitted: 0,
            compute: Duration::ZERO,
            usd: 0.0,
            ended: false,
        };
        log.line(&Event::Job {
            about: log.about.clone(),
            started_unix_ms: log.begun_unix.as_millis() as u64,
            pid: std::process::id(),
            wren: env!("CARGO_PKG_VERSION").into(),
        });
        log
    }

    /// Takes note of what happened at a moment.
    pub(super) fn take(&mut self, at: Instant, note: Note) {
        match note {
            Note::Submitted(tasks) => self.submitted += tasks,
            Note::Done { tasks, new, ran, bytes_in, bytes_out } => {
                self.done(at, &tasks, new, &ran, bytes_in, bytes_out);
            }
            Note::Failed { task, ran, failure, stderr } => self.failed(at, task, &ran, &failure, &stderr),
            Note::Retry { task, ran, failure, after } => self.retry(at, task, &ran, &failure, after),
            Note::PrintedLine(line) => {
                let since = at.saturating_duration_since(self.begun);
                if let Some(output) = &mut self.output {
                    let (t, unix) = (seconds(since.as_micros() as u64), self.begun_unix + since);
                    output.add(t, unix.as_millis() as u64, &line.printed());
                }
            }
            Note::End(state) => self.finish(state),
        }
    }

    /// Notes were lost: there was no room for them.
    pub(super) fn lost(&self, notes: u64) {
        if !self.quiet {
            let id = &self.about.id;
            terminal::note(&format!(
                "the log of job {id} lacks {notes} events: they came faster than it can be written"
            ));
        }
    }

    /// Microseconds since the run began.
    fn us(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.begun).as_micros() as u64
    }

    /// Where the time of an execution went that was heard of at `now`. Moments are rounded first, and
    /// what took time is what lies between them, so that all of it adds up.
    fn times(&self, ran: &TaskReport, now: u64) -> Times {
        let TaskReport { sent, timing, .. } = ran;
        let us = |duration: Duration| duration.as_micros() as u64;
        let since_begun = |time: scheduler::Time| us(time.saturating_sub(self.begun_at)).min(now);
        let queued = since_begun(sent.queued);
        let invoked = since_begun(sent.invoked.max(timing.free)).max(queued);
        let mut times = Times {
            queued: seconds(queued),
            invoked: seconds(invoked),
            worker: timing.worker,
            cold: timing.cold,
            ..Times::default()
        };
        if timing.remote.is_some() {
            times.setup_us = us(timing.setup);
            times.fetch_us = us(timing.fetch);
            times.turn_us = us(timing.turn);
            times.compute_us = us(timing.compute);
            times.commit_us = us(timing.commit);
            return times;
        }
        let started = since_begun(timing.started).max(invoked);
        let mut reached = started;
        let mut moment = timing.started;
        let mut until = |duration: Duration| {
            moment += duration;
            let before = reached;
            reached = since_begun(moment).max(before);
            reached - before
        };
        times.started = seconds(started);
        times.setup_us = us(timing.setup).min(started - invoked);
        times.fetch_us = until(timing.fetch);
        times.turn_us = until(timing.turn);
        times.compute_us = until(timing.compute);
        times.commit_us = until(timing.commit);
        times
    }

    fn line(&mut self, event: &Event) {
        // Nothing of ours fails to be JSON; a line less is better than a job less.
        if !matches!(self.place, Place::Nowhere) && serde_json::to_writer(&mut self.lines, event).is_ok() {
            self.lines.push(b'\n');
        }
    }

    /// Makes the job's folder, where it is not there.
    pub(super) fn open(&mut self) {
        self.place = std::mem::replace(&mut self.place, Place::Nowhere).opened(&self.about.id);
    }

    /// Writes what is not in the file yet; after the end, closes it.
    pub(super) fn write(&mut self) {
        if !self.lines.is_empty() {
            self.open();
            if let Place::Open(file, _) = &mut self.place {
                let _ = file.write_all(&self.lines);
            }
            self.lines.clear();
        }
        if let (Some(output), Place::Open(_, folder)) = (&mut self.output, &self.place) {
            output.write(folder);
        }
        if self.ended {
            // Closed, and with that unlocked.
            self.place = Place::Nowhere;
        }
    }

    /// Closes the file as the death of this process would.
    #[cfg(test)]
    pub(crate) fn forget(mut self) {
        self.write();
        self.ended = true;
    }

    /// The job's span, for its tasks, where spans are exported.
    pub(crate) fn traceparent(&self) -> Option<Arc<str>> {
        self.span.traceparent()
    }

    /// `tasks` were executed; `new` of them had no result before.
    fn done(&mut self, at: Instant, tasks: &Range<u64>, new: u64, ran: &TaskReport, bytes_in: usize, bytes_out: usize) {
        self.done += new;
        if let Some(forecast) = &mut self.forecast {
            forecast.done(tasks.end - tasks.start, ran.timing.compute.as_secs_f64(), bytes_in, bytes_out);
        }
        let now = self.heard(at, ran);
        self.line(&Event::Done {
            t: seconds(now),
            first: tasks.start,
            count: tasks.end - tasks.start,
            new,
            attempt: ran.attempt,
            times: self.times(ran, now),
            bytes_in,
            bytes_out,
            peak_mb: ran.timing.peak_memory >> 20,
            remote: remote(&ran.timing),
        });
    }

    fn failed(&mut self, at: Instant, task: u64, ran: &TaskReport, failure: &Failure, stderr: &str) {
        self.failed += 1;
        let now = self.heard(at, ran);
        self.span.failed(task, ran.attempt, failure.name());
        self.line(&Event::Failed {
            t: seconds(now),
            task,
            attempt: ran.attempt,
            class: failure.name().into(),
            message: message(task, ran, failure),
            stderr: stderr.to_owned(),
            times: self.times(ran, now),
            remote: remote(&ran.timing),
        });
    }

    /// Adds up an execution that ended; gives when that was heard.
    fn heard(&mut self, at: Instant, ran: &TaskReport) -> u64 {
        self.compute += ran.timing.compute;
        self.usd += ran.timing.usd;
        let now = self.us(at);
        if let Some(remote) = &ran.timing.remote {
            self.clocks.add(
                remote.instance,
                &Exchange {
                    sent: ran.sent.invoked.saturating_sub(self.begun_at).as_micros() as u64,
                    started: remote.started.as_micros() as u64,
                    ended: (remote.started + remote.ran).as_micros() as u64,
                    heard: now,
                },
            );
        }
        now
    }

    fn retry(&mut self, at: Instant, task: u64, ran: &TaskReport, failure: &Failure, after: Duration) {
        self.retried += 1;
        let now = self.heard(at, ran);
        self.span.retried(task, ran.attempt, failure.name(), after);
        self.line(&Event::Retry {
            t: seconds(now),
            task,
            attempt: ran.attempt,
            class: failure.name().into(),
            message: message(task, ran, failure),
            after_ms: after.as_millis() as u64,
            times: self.times(ran, now),
            remote: remote(&ran.timing),
        });
    }

    /// Shows and writes where the job stands. To be called some times a second.
    pub(super) fn report_progress(&mut self, Progress { running, queued, .. }: Progress) {
        if let Some(bar) = &self.bar {
            bar.update(ProgressSnapshot {
                done: self.done,
                failed: self.failed,
                retried: self.retried,
                running,
                queued,
                tasks: self.about.tasks.or(Some(self.submitted)),
                elapsed: self.begun.elapsed(),
                usd: self.usd,
            });
        }
        if self.stood.elapsed() >= REPORT_EVERY {
            self.stood = Instant::now();
            self.line(&Event::Progress { t: seconds(self.us(self.stood)), running, queued, usd: self.usd });
        }
    }

    /// Whether others wait for its end to be written.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether somebody asked for the job's end.
    pub(super) fn is_to_be_cancelled(&self) -> bool {
        matches!(&self.place, Place::Open(_, folder) if folder.join(CANCEL).exists())
    }

    /// Ends the log; `state` is `done`, `failed` or `cancelled`.
    pub(super) fn finish(&mut self, state: &'static str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.bar = None;
        self.span.end(state, self.done, self.failed, self.retried);
        let wall = self.begun.elapsed();
        for (instance, alignment) in std::mem::take(&mut self.clocks).aligned() {
            self.line(&Event::Clock { t: seconds(wall.as_micros() as u64), instance, alignment });
        }
        self.line(&Event::End {
            t: seconds(wall.as_micros() as u64),
            state: state.into(),
            done: self.done,
            failed: self.failed,
            retried: self.retried,
            compute_s: self.compute.as_secs_f64(),
            wall_s: wall.as_secs_f64(),
            usd: self.usd,
        });
        if !self.quiet {
            terminal::note(&self.summary(state, wall));
            if let Some(text) = self.forecast.take().and_then(|forecast| forecast.text(self.about.memory_mb)) {
                terminal::note(&text);
            }
        }
    }

    fn summary(&self, state: &str, wall: Duration) -> String {
        let count = |n: u64, what: &str| if n > 0 { format!(", {n} {what}") } else { String::new() };
        format!(
            "{} {state}: {} tasks of {} in {:.2?}, {:.2?} of compute ({:.1}x){}{}{}; job {}",
            self.about.name.as_deref().unwrap_or("job"),
            self.done,
            self.about.function,
            wall,
            self.compute,
            self.compute.as_secs_f64() / wall.as_secs_f64().max(1e-9),
            count(self.failed, "failed"),
            count(self.retried, "retried"),
            if self.usd > 0.0 { format!(", about {:.4} USD", self.usd) } else { String::new() },
            self.about.id,
        )
    }
}

fn message(task: u64, ran: &TaskReport, failure: &Failure) -> String {
    let function = ran.function.to_owned();
    let attempt = Attempt { function, task, attempt: ran.attempt, ..Attempt::default() };
    failure.clone().into_error(attempt).to_string()
}

/// Microseconds, as the log has moments.
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn remote(timing: &Timing) -> Option<RemoteTimes> {
    let remote = timing.remote?;
    let hex = format!("{:032x}", remote.request);
    let pieces = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Some(RemoteTimes {
        request: pieces.join("-"),
        instance: remote.instance,
        memory_mb: remote.memory_mb,
        started_unix_us: remote.started.as_micros() as u64,
        ran_us: remote.ran.as_micros() as u64,
    })
}

impl Drop for JobLog {
    /// A job that nobody waited for.
    fn drop(&mut self) {
        if !self.ended && !platform::is_forked() {
            let left = self.submitted > self.done + self.failed;
            self.quiet = true;
            self.finish(if left { "cancelled" } else { "done" });
            self.write();
        }
    }
}

/// Whether this process may run a job and write its log.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It may: nobody else does while the file is held.
    Here(File),
    /// Another process does.
    Elsewhere,
    /// The folder of jobs cannot be written, so that nobody can claim any.
    Impossible,
}

/// Makes a job's folder and its log, and locks it.
pub(crate) fn claim(directory: &Path, id: &str) -> Claim {
    // A reader has the lock for a moment, and so has a child that is just being started.
    for _ in 0..10 {
        match try_claim(directory, id) {
            Claim::Elsewhere => thread::sleep(Duration::from_millis(1)),
            other => return other,
        }
    }
    Claim::Elsewhere
}

/// As [`claim`], for who will try again.
pub(crate) fn try_claim(directory: &Path, id: &str) -> Claim {
    let folder = directory.join("jobs").join(id);
    let Ok((file, is_new)) = create(&folder) else { return Claim::Impossible };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Claim::Elsewhere;
    }
    if !is_new {
        // It was for an earlier run.
        let _ = fs::remove_file(folder.join(CANCEL));
    }
    Claim::Here(file)
}

/// Makes a job's folder and its log; gives whether the folder is new. `.wren` ignores itself in git. What functions
/// print and are given is for nobody else.
fn create(folder: &Path) -> io::Result<(File, bool)> {
    let make = || DirBuilder::new().mode(0o700).create(folder);
    let made = make().or_else(|error| {
        if error.kind() != ErrorKind::NotFound {
            return Err(error);
        }
        DirBuilder::new().recursive(true).create(folder.parent().unwrap_or(folder))?;
        if let Some(root) = folder.ancestors().nth(2) {
            // One that is there is the program's own.
            if let Ok(mut ignore) = File::create_new(root.join(".gitignore")) {
                ignore.write_all(b"*\n")?;
            }
        }
        make()
    });
    let is_new = match made {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    Ok((File::options().create(true).append(true).open(folder.join(LOG))?, is_new))
}
