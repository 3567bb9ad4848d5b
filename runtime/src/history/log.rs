//! Writes the log of a job and its summary line.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::clock::{Clocks, Exchange};
use super::display::{Display, Totals};
use super::files::{LogFiles, LogPlace};
use super::notes::Note;
use super::{About, DriverTotals, Event, LongestTask, RemoteTimes, Sizes, TaskReport, seconds};
use crate::attempt::Timing;
use crate::error::{Attempt, Failure};
use crate::history::spans::JobSpan;
use crate::platform;
use crate::scheduler::{self, LongTask, Progress};

/// Interval of [`Event::Progress`] lines.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// A forecast, printed at the end of a job, of how the job would have run elsewhere.
pub(crate) trait Forecast: std::fmt::Debug + Send {
    /// Records that `count` tasks ran one after another in `seconds`.
    fn done(&mut self, count: u64, seconds: f64, bytes_in: usize, bytes_out: usize);

    /// Returns the forecast, if any task was done.
    fn text(self: Box<Self>, memory_mb: Option<u32>) -> Option<String>;
}

/// Counts, shows and logs the events of a job. Only [`open`](JobLog::open) and [`write`](JobLog::write) access a disk.
#[derive(Debug)]
pub(crate) struct JobLog {
    about: About,
    files: LogFiles,
    started: Instant,
    started_unix: Duration,
    /// `started` on the scheduler's clock.
    started_at: scheduler::Time,
    /// Time of the last [`Event::Progress`] line.
    reported: Instant,
    clocks: Clocks,
    display: Display,
    span: JobSpan,
    totals: Totals,
    /// The tasks that have run longest.
    longest: Vec<LongTask>,
    driver: DriverTotals,
    /// Set if the backend is `sim`.
    forecast: Option<Box<dyn Forecast>>,
    /// Why the job ends early, if it does.
    reason: Option<String>,
    ended: bool,
}

impl JobLog {
    /// Starts the log of a job. `clock` is the start of the scheduler's time.
    pub(crate) fn new(
        about: About,
        quiet: bool,
        place: LogPlace,
        forecast: Option<Box<dyn Forecast>>,
        clock: Instant,
    ) -> Self {
        let now = Instant::now();
        let mut log = Self {
            files: LogFiles::new(place),
            display: Display::new(&about, quiet),
            span: JobSpan::begin(&about),
            forecast,
            about,
            started: now,
            started_unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            started_at: now.saturating_duration_since(clock),
            reported: now,
            clocks: Clocks::default(),
            totals: Totals::default(),
            longest: Vec::new(),
            reason: None,
            driver: DriverTotals::default(),
            ended: false,
        };
        log.files.line(&Event::Job {
            about: log.about.clone(),
            started_unix_ms: log.started_unix.as_millis() as u64,
            pid: std::process::id(),
            wren: env!("CARGO_PKG_VERSION").into(),
        });
        log
    }

    /// Processes a note that was queued at `at`.
    pub(super) fn take(&mut self, at: Instant, note: Note) {
        match note {
            Note::Submitted(tasks) => self.totals.submitted += tasks,
            Note::Earlier(tasks) => self.totals.earlier += tasks,
            Note::Done { tasks, new, ran, sizes } => self.done(at, &tasks, new, &ran, sizes),
            Note::Failed { task, ran, failure, stderr } => self.failed(at, task, &ran, &failure, &stderr),
            Note::Retry { task, ran, failure, after } => self.retry(at, task, &ran, &failure, after),
            Note::PrintedLine(line) => {
                let since = at.saturating_duration_since(self.started);
                let (t, unix) = (seconds(since.as_micros() as u64), self.started_unix + since);
                self.files.printed(t, unix.as_millis() as u64, &line.printed());
            }
            Note::Reason(reason) => self.reason = Some(reason),
            Note::End(state) => self.finish(state),
        }
    }

    /// Records what the driver did so far.
    pub(super) fn set_driver(&mut self, driver: DriverTotals) {
        self.driver = driver;
    }

    /// Prints that notes were lost because the queue was full.
    pub(super) fn lost(&self, notes: u64) {
        let id = &self.about.id;
        self.display.note(&format!(
            "the log of job {id} is missing {notes} events: they came faster than the log could be written"
        ));
    }

    /// Returns the microseconds since the start of the run.
    fn us(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_micros() as u64
    }

    /// Creates the job's folder if it does not exist, and opens the log.
    pub(super) fn open(&mut self) {
        self.files.open();
    }

    /// Writes the waiting lines to the file. After the end of the log, closes the file.
    pub(super) fn write(&mut self) {
        self.files.write();
        if self.ended {
            self.files.close();
        }
    }

    /// Closes the file as if this process had died.
    #[cfg(test)]
    pub(crate) fn forget(mut self) {
        self.write();
        self.ended = true;
    }

    /// Returns the number of tasks, if the job announced it.
    pub(super) fn tasks(&self) -> Option<u64> {
        self.about.tasks
    }

    /// Returns the `traceparent` of the job's span for its tasks, if spans are exported.
    pub(crate) fn traceparent(&self) -> Option<Arc<str>> {
        self.span.traceparent()
    }

    /// Records that `tasks` succeeded; `new` of them had no result before.
    fn done(&mut self, at: Instant, tasks: &Range<u64>, new: u64, ran: &TaskReport, sizes: Sizes) {
        let Sizes { bytes_in, large_in, bytes_out } = sizes;
        self.totals.done += new;
        if let Some(forecast) = &mut self.forecast {
            forecast.done(tasks.end - tasks.start, ran.timing.busy().as_secs_f64(), bytes_in, bytes_out);
        }
        let now = self.count_attempt(at, ran);
        self.files.line(&Event::Done {
            t: seconds(now),
            first: tasks.start,
            count: tasks.end - tasks.start,
            new,
            attempt: ran.attempt,
            times: ran.times(self.started_at, now),
            bytes_in,
            large_in,
            bytes_out,
            peak_mb: ran.timing.peak_memory >> 20,
            remote: remote(&ran.timing),
        });
    }

    fn failed(&mut self, at: Instant, task: u64, ran: &TaskReport, failure: &Failure, stderr: &str) {
        self.totals.failed += 1;
        let now = self.count_attempt(at, ran);
        self.span.failed(task, ran.attempt, failure.name());
        let message = message(task, ran, failure);
        self.display.failed(task, failure.name(), &message, stderr);
        self.files.line(&Event::Failed {
            t: seconds(now),
            task,
            attempt: ran.attempt,
            class: failure.name().into(),
            message,
            stderr: stderr.to_owned(),
            backtrace: failure.backtrace().map(str::to_owned),
            times: ran.times(self.started_at, now),
            remote: remote(&ran.timing),
        });
    }

    /// Adds an attempt that ended to the totals. Returns when its outcome arrived.
    fn count_attempt(&mut self, at: Instant, ran: &TaskReport) -> u64 {
        self.totals.compute += ran.timing.compute;
        self.totals.usd += ran.timing.usd;
        let now = self.us(at);
        if let Some(remote) = &ran.timing.remote {
            self.clocks.add(
                remote.instance,
                &Exchange {
                    sent: ran.sent.invoked.saturating_sub(self.started_at).as_micros() as u64,
                    started: remote.started.as_micros() as u64,
                    ended: (remote.started + remote.ran).as_micros() as u64,
                    received: now,
                },
            );
        }
        now
    }

    fn retry(&mut self, at: Instant, task: u64, ran: &TaskReport, failure: &Failure, after: Duration) {
        self.totals.retried += 1;
        let now = self.count_attempt(at, ran);
        self.span.retried(task, ran.attempt, failure.name(), after);
        self.files.line(&Event::Retry {
            t: seconds(now),
            task,
            attempt: ran.attempt,
            class: failure.name().into(),
            message: message(task, ran, failure),
            after_ms: after.as_millis() as u64,
            times: ran.times(self.started_at, now),
            remote: remote(&ran.timing),
        });
    }

    /// Records the tasks that have run longest, for the next [`Event::Progress`] line.
    pub(super) fn report_longest(&mut self, longest: Vec<LongTask>) {
        self.longest = longest;
    }

    /// Shows and logs the progress of the job. Must be called several times per second.
    pub(super) fn report_progress(&mut self, Progress { running, queued, .. }: Progress) {
        let snapshot = self.totals.snapshot(&self.about, running, queued, self.started.elapsed());
        self.display.report_progress(&self.about, snapshot);
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            let (t, usd, driver) = (seconds(self.us(self.reported)), self.totals.usd, self.driver);
            let started_at = self.started_at;
            let longest = self.longest.iter().map(|&LongTask { task, attempt, since }| LongestTask {
                task,
                attempt,
                since: seconds(since.saturating_sub(started_at).as_micros() as u64),
            });
            let longest = longest.collect();
            self.files.line(&Event::Progress { t, running, queued, usd, longest, driver });
        }
    }

    /// Returns whether other processes wait for the end of the job in this log.
    pub(super) fn is_shared(&self) -> bool {
        self.files.is_shared()
    }

    /// Returns whether another process asked to cancel the job.
    pub(super) fn cancel_requested(&self) -> bool {
        self.files.cancel_requested()
    }

    /// Ends the log; `state` is `done`, `failed` or `cancelled`.
    pub(super) fn finish(&mut self, state: &'static str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let Totals { done, failed, retried, compute, usd, .. } = self.totals;
        self.span.end(state, done, failed, retried);
        let wall = self.started.elapsed();
        for (instance, alignment) in std::mem::take(&mut self.clocks).aligned() {
            self.files.line(&Event::Clock { t: seconds(wall.as_micros() as u64), instance, alignment });
        }
        self.files.line(&Event::End {
            t: seconds(wall.as_micros() as u64),
            state: state.into(),
            done,
            failed,
            retried,
            compute_s: compute.as_secs_f64(),
            wall_s: wall.as_secs_f64(),
            usd,
            reason: self.reason.take(),
            driver: self.driver,
        });
        self.display.end(&self.about, &self.totals, state, wall, self.files.is_kept());
        if let Some(text) = self.forecast.take().and_then(|forecast| forecast.text(self.about.memory_mb)) {
            self.display.note(&text);
        }
    }
}

fn message(task: u64, ran: &TaskReport, failure: &Failure) -> String {
    let function = ran.function.to_owned();
    let attempt = Attempt { function, task, attempt: ran.attempt, ..Attempt::default() };
    failure.clone().into_error(attempt).to_string()
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
    /// Ends the log of a job whose result no caller awaited.
    fn drop(&mut self) {
        if !self.ended && !platform::is_forked() {
            let left = self.totals.submitted > self.totals.done + self.totals.failed;
            self.display.make_quiet();
            self.finish(if left { "cancelled" } else { "done" });
            self.write();
        }
    }
}
