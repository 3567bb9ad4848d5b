//! Writing the log of a job, and its summary line.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use super::clock::{Clocks, Exchange};
use super::inputs::Inputs;
use super::output::OutputLog;
use super::{About, Event, Remote, Times};
use crate::backend::{Printed, Timing};
use crate::block::Block;
use crate::error::{Attempt, Failure};
use crate::platform;
use crate::progress::{ProgressBar, Standing};
use crate::scheduler::{self, Progress, Sent};
use crate::spans::JobSpan;
use crate::terminal;

/// The log, in the folder of its job.
pub const LOG: &str = "events.jsonl";

/// Who puts a file of this name beside a running job's log cancels the job.
pub const CANCEL: &str = "cancel";

/// How often the log says where the job stands.
const STAND_EVERY: Duration = Duration::from_secs(1);

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

/// The log of a job, where whoever runs the job and whoever awaits it find it: begun with the first
/// task, taken by who ends it. If nobody does, the log ends with its last holder.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedLog(Arc<Mutex<Option<JobLog>>>);

impl SharedLog {
    fn lock(&self) -> MutexGuard<'_, Option<JobLog>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, log: JobLog) {
        *self.lock() = Some(log);
    }

    pub(crate) fn downgrade(&self) -> WeakLog {
        WeakLog(Arc::downgrade(&self.0))
    }

    /// Notes something, if the log has begun and has not ended.
    pub(crate) fn note(&self, note: impl FnOnce(&mut JobLog)) {
        if let Some(log) = self.lock().as_mut() {
            note(log);
        }
    }

    /// Ends the log, if it has begun; `state` is `done`, `failed` or `cancelled`.
    pub(crate) fn end(&self, state: &'static str) {
        let log = self.lock().take();
        if let Some(mut log) = log {
            log.finish(state);
        }
    }
}

/// A [`SharedLog`] that does not keep the log from its end.
#[derive(Debug, Clone)]
pub(crate) struct WeakLog(Weak<Mutex<Option<JobLog>>>);

impl WeakLog {
    /// The log, if anybody holds it.
    pub(crate) fn upgrade(&self) -> Option<SharedLog> {
        self.0.upgrade().map(SharedLog)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// An execution that ended, as the scheduler tells of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ran {
    /// Counted from 1.
    pub(crate) attempt: u32,
    /// Its function, where it failed.
    pub(crate) function: &'static str,
    pub(crate) sent: Sent,
    pub(crate) timing: Timing,
}

/// Counts, shows and writes down what happens to a job.
#[derive(Debug)]
pub(crate) struct JobLog {
    about: About,
    /// None after the end, or where the folder cannot be written: that costs the log, and nothing else.
    file: Option<File>,
    /// Where the log lies.
    folder: Option<PathBuf>,
    lines: Vec<u8>,
    /// What tasks print, and what they are given, where these are kept.
    output: Option<OutputLog>,
    inputs: Option<Inputs>,
    begun: Instant,
    begun_unix: Duration,
    /// `begun` on the scheduler's clock.
    begun_at: scheduler::Time,
    written: Instant,
    /// When it was last said where the job stands.
    stood: Instant,
    quiet: bool,
    clocks: Clocks,
    bar: Option<ProgressBar>,
    span: JobSpan,
    done: u64,
    failed: u64,
    retried: u64,
    submitted: u64,
    compute: Duration,
    usd: f64,
    /// Where the backend is `sim`.
    #[cfg(feature = "sim")]
    simulated: Option<crate::sim::Watch>,
    ended: bool,
}

impl JobLog {
    /// Begins the log of a job; `file` is what [`claim`] gave.
    /// `clock` is when the scheduler's time began.
    pub(crate) fn new(about: About, quiet: bool, file: Option<File>, clock: Instant) -> Self {
        let now = Instant::now();
        let mut log = Self {
            file,
            folder: None,
            bar: (!quiet).then(|| ProgressBar::new(about.name.as_deref(), &about.function)).flatten(),
            span: JobSpan::begin(&about),
            #[cfg(feature = "sim")]
            simulated: crate::sim::Watch::of(&about.backend),
            about,
            lines: Vec::new(),
            output: None,
            inputs: None,
            begun: now,
            begun_unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            begun_at: now.saturating_duration_since(clock),
            written: now,
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
        log.write();
        log
    }

    /// Keeps in the job's folder what tasks print, and so many bytes of what they are given.
    pub(crate) fn keep_in(&mut self, folder: &Path, inputs: u64) {
        self.folder = Some(folder.to_owned());
        self.output = Some(OutputLog::new(folder));
        self.inputs = (inputs > 0).then(|| Inputs::new(folder, inputs));
    }

    /// A task printed a line.
    pub(crate) fn printed(&mut self, printed: &Printed<'_>) {
        let since = self.begun.elapsed();
        if let Some(output) = &mut self.output {
            output.add(seconds(since.as_micros() as u64), (self.begun_unix + since).as_millis() as u64, printed);
        }
    }

    /// Keeps the arguments of tasks that were submitted.
    pub(crate) fn keep(&self, block: &Arc<Block>) {
        if let Some(inputs) = &self.inputs {
            inputs.keep(block);
        }
    }

    /// Keeps the arguments of a task that failed.
    pub(crate) fn keep_failed(&self, block: &Arc<Block>, task: u64) {
        if let Some(inputs) = &self.inputs {
            inputs.keep_failed(block, task);
        }
    }

    /// Microseconds since the run began.
    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    /// Where the time of an execution went that was heard of at `now`. Moments are rounded first, and
    /// what took time is what lies between them, so that all of it adds up.
    fn times(&self, ran: &Ran, now: u64) -> Times {
        let Ran { sent, timing, .. } = ran;
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
        if self.file.is_none() {
            return;
        }
        // Nothing of ours fails to be JSON; a line less is better than a job less.
        if serde_json::to_writer(&mut self.lines, event).is_ok() {
            self.lines.push(b'\n');
        }
        if self.lines.len() > WRITE_AT || self.written.elapsed() > WRITE_EVERY {
            self.write();
        }
    }

    fn write(&mut self) {
        self.written = Instant::now();
        if let Some(file) = &mut self.file {
            let _ = file.write_all(&self.lines);
        }
        self.lines.clear();
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

    pub(crate) fn submitted(&mut self, tasks: u64) {
        self.submitted += tasks;
        TASKS.fetch_add(tasks, Ordering::Relaxed);
    }

    /// `tasks` were executed; `new` of them had no result before.
    pub(crate) fn done(&mut self, tasks: &Range<u64>, new: u64, ran: &Ran, bytes_in: usize, bytes_out: usize) {
        self.done += new;
        TASKS_DONE.fetch_add(new, Ordering::Relaxed);
        #[cfg(feature = "sim")]
        if let Some(simulated) = &mut self.simulated {
            simulated.done(tasks.end - tasks.start, ran.timing.compute.as_secs_f64(), bytes_in, bytes_out);
        }
        let now = self.heard(ran);
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

    pub(crate) fn failed(&mut self, task: u64, ran: &Ran, failure: &Failure, stderr: &str) {
        self.failed += 1;
        let now = self.heard(ran);
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
    fn heard(&mut self, ran: &Ran) -> u64 {
        self.compute += ran.timing.compute;
        self.usd += ran.timing.usd;
        let now = self.now_us();
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

    pub(crate) fn retry(&mut self, task: u64, ran: &Ran, failure: &Failure, after: Duration) {
        self.retried += 1;
        let now = self.heard(ran);
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
    pub(crate) fn stand(&mut self, Progress { running, queued, .. }: Progress) {
        if let Some(bar) = &mut self.bar {
            bar.update(&Standing {
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
        if self.stood.elapsed() >= STAND_EVERY {
            self.stood = Instant::now();
            self.line(&Event::Progress { t: seconds(self.now_us()), running, queued, usd: self.usd });
            self.write();
        }
    }

    /// Whether somebody asked for the job's end.
    pub(crate) fn is_to_be_cancelled(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.join(CANCEL).exists())
    }

    pub(super) fn finish(&mut self, state: &'static str) {
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
        self.write();
        if let Some(inputs) = self.inputs.take() {
            inputs.finish();
        }
        // Closed, and with that unlocked.
        self.file = None;
        self.ended = true;
        if !self.quiet {
            terminal::note(&self.summary(state, wall));
            #[cfg(feature = "sim")]
            if let Some(words) = self.simulated.take().and_then(|simulated| simulated.words(self.about.memory_mb)) {
                terminal::note(&words);
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

fn message(task: u64, ran: &Ran, failure: &Failure) -> String {
    let function = ran.function.to_owned();
    let attempt = Attempt { function, task, attempt: ran.attempt, ..Attempt::default() };
    failure.clone().into_error(attempt).to_string()
}

/// Microseconds, as the log has moments.
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn remote(timing: &Timing) -> Option<Remote> {
    let remote = timing.remote?;
    let hex = format!("{:032x}", remote.request);
    let pieces = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Some(Remote {
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

impl Claim {
    pub(crate) fn file(self) -> Option<File> {
        match self {
            Claim::Here(file) => Some(file),
            Claim::Elsewhere | Claim::Impossible => None,
        }
    }
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
    let Ok(file) = create(&folder) else { return Claim::Impossible };
    match lock(&file, &folder) {
        Some(()) => Claim::Here(file),
        None => Claim::Elsewhere,
    }
}

fn lock(file: &File, folder: &Path) -> Option<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).ok()?;
    // It was for an earlier run.
    let _ = fs::remove_file(folder.join(CANCEL));
    Some(())
}

/// `.wren` ignores itself in git. What functions print and are given is for nobody else.
fn create(folder: &Path) -> std::io::Result<File> {
    DirBuilder::new().recursive(true).create(folder.parent().unwrap_or(folder))?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if let Some(root) = folder.ancestors().nth(2) {
        let ignore = root.join(".gitignore");
        if !ignore.exists() {
            fs::write(ignore, "*\n")?;
        }
    }
    File::options().create(true).append(true).open(folder.join(LOG))
}
