//! The phases of every attempt of a job, all by the driver's clock.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use super::clock::{Alignment, Clocks, Exchange};
use super::{About, DriverTotals, Event, JobSummary, RemoteTimes, Times};

/// A phase of a task. Phases follow each other without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The task was ready and waited for a worker.
    Queue,
    /// The task was sent, but the worker had not started its batch.
    Start,
    /// A new worker prepared itself.
    Setup,
    /// The worker waited for arguments.
    Fetch,
    /// Earlier tasks of the same batch ran.
    Turn,
    /// The worker decoded arguments. Decoding that takes next to no time belongs to `Compute`, and so does encoding.
    Decode,
    /// The function ran.
    Compute,
    /// The worker encoded the result.
    Encode,
    /// The outcome was written, together with the outcomes of the batch's other tasks.
    Commit,
    /// The outcome was on its way to the driver.
    Observe,
}

impl Phase {
    /// Number of phases.
    pub const COUNT: usize = 10;

    /// All phases, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Queue,
        Self::Start,
        Self::Setup,
        Self::Fetch,
        Self::Turn,
        Self::Decode,
        Self::Compute,
        Self::Encode,
        Self::Commit,
        Self::Observe,
    ];

    /// The phases in which a task occupies a worker, in order.
    pub const BUSY: [Self; 3] = [Self::Decode, Self::Compute, Self::Encode];

    /// Returns the name of the phase in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Start => "start",
            Self::Setup => "setup",
            Self::Fetch => "fetch",
            Self::Turn => "turn",
            Self::Decode => "decode",
            Self::Compute => "compute",
            Self::Encode => "encode",
            Self::Commit => "commit",
            Self::Observe => "observe",
        }
    }
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Ended {
    /// The attempt succeeded.
    Done,
    /// The attempt failed, and so did the task.
    Failed {
        /// Name of the failure's class, as returned by [`crate::Failure::name`].
        class: String,
        /// Error message for people.
        message: String,
    },
    /// The attempt failed, and the task was retried.
    Retried {
        /// Name of the failure's class.
        class: String,
        /// Error message for people.
        message: String,
    },
}

/// Consecutive tasks that one worker ran one after the other, and whose outcomes arrived together. Times are in
/// microseconds since the start of the job's first run, by the driver's clock.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// Number of the job's run, counted from 0.
    pub run: usize,
    /// The tasks.
    pub tasks: Range<u64>,
    /// Attempt number, counted from 1.
    pub attempt: u32,
    /// Outcome of the attempt.
    pub ended: Ended,
    /// Number of the worker on its machine.
    pub worker: u32,
    /// The machine, if it was remote.
    pub instance: Option<u64>,
    /// Request ID, if the machine was remote.
    pub request: Option<String>,
    /// Whether the batch was the first of its worker.
    pub cold: bool,
    /// Start of each phase in [`Phase::ALL`], followed by the end of the last one.
    pub moments: [u64; Phase::COUNT + 1],
    /// Size of the encoded arguments in bytes, without large ones.
    pub bytes_in: usize,
    /// Size of the encoded large arguments in bytes. One that several tasks share counts for each of them.
    pub large_in: u64,
    /// Number of large arguments that were sent to the worker for these tasks.
    pub sent_values: u64,
    /// Size of the large arguments that were sent, in bytes.
    pub sent_bytes: u64,
    /// Size of the encoded results, in bytes.
    pub bytes_out: usize,
    /// Peak memory of the worker so far, in MB; 0 if unknown.
    pub peak_mb: u64,
}

impl Span {
    /// Returns the start and end of a phase.
    pub fn phase(&self, phase: Phase) -> Range<u64> {
        self.moments[phase as usize]..self.moments[phase as usize + 1]
    }

    /// Returns the number of tasks.
    pub fn count(&self) -> u64 {
        self.tasks.end - self.tasks.start
    }

    /// Returns the time at which the driver received the outcome.
    pub fn received(&self) -> u64 {
        self.moments[Phase::COUNT]
    }

    /// Returns how long the tasks occupied the worker: the sum of the phases in [`Phase::BUSY`].
    pub fn busy(&self) -> u64 {
        self.moments[Phase::Commit as usize] - self.moments[Phase::Decode as usize]
    }

    /// Returns the times of a single task, in the order of [`Span::moments`]. They assume that all tasks decoded,
    /// computed and encoded equally long, one task after the other, and that their outcomes were committed together.
    pub fn moments_of(&self, task: u64) -> [u64; Phase::COUNT + 1] {
        let count = self.count().max(1);
        let index = task.saturating_sub(self.tasks.start).min(count - 1);
        let first = self.moments[Phase::Decode as usize];
        // The time from `first` until `n` tasks have ended, and the part of the next one before a phase.
        let part = |us: u64, n: u64| (u128::from(us) * u128::from(n) / u128::from(count)) as u64;
        let start = first + part(self.busy(), index);
        let end = first + part(self.busy(), index + 1);
        let mut moments = self.moments;
        moments[Phase::Decode as usize] = start;
        for phase in [Phase::Compute, Phase::Encode] {
            moments[phase as usize] = (start + part(self.moments[phase as usize] - first, 1)).min(end);
        }
        moments[Phase::Commit as usize] = end;
        moments
    }
}

impl Event {
    /// Returns how long the attempt of this line spent in each of [`Phase::ALL`], in microseconds, or `None` if the line
    /// reports no attempt. [`Timeline`] aligns the clocks of remote machines; here, the way to such a machine counts as
    /// long as the way back.
    pub fn phases(&self) -> Option<[u64; Phase::ALL.len()]> {
        let (Event::Done { t, times, remote, .. }
        | Event::Failed { t, times, remote, .. }
        | Event::Retry { t, times, remote, .. }) = self
        else {
            return None;
        };
        let received = us(*t);
        let started = match remote {
            Some(remote) => {
                let sent = us(times.invoked);
                sent.midpoint(received.saturating_sub(remote.ran_us).max(sent))
            }
            None => us(times.started),
        };
        let moments = moments(times, started, received, 0);
        Some(std::array::from_fn(|phase| moments[phase + 1].saturating_sub(moments[phase])))
    }
}

/// The attempts of a job over time, read from its log.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Timeline {
    /// The job as a whole.
    pub job: JobSummary,
    /// Description of the job by its latest run.
    pub about: About,
    /// All attempts, in the order in which their outcomes arrived.
    pub spans: Vec<Span>,
    /// Start and end of each run of the job, in microseconds since the start of the first run.
    pub runs: Vec<Range<u64>>,
    /// Maximum error of the times of remote machines, in microseconds; 0 if there were none.
    pub clock_error_us: u64,
    /// What the driver did in the latest run.
    pub driver: DriverTotals,
}

impl Timeline {
    /// Reads the log in a job's folder.
    ///
    /// # Errors
    /// Same as [`JobSummary::read`].
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut reader = Reader::default();
        let job = JobSummary::read_with(folder, |event| reader.take(event))?;
        reader.end_run();
        let about = reader.about.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a job log"))?;
        let Reader { spans, runs, clock_error_us, driver, .. } = reader;
        Ok(Self { job, about, spans, runs, clock_error_us, driver })
    }
}

#[derive(Default)]
struct Reader {
    about: Option<About>,
    first_unix_ms: u64,
    spans: Vec<Span>,
    runs: Vec<Range<u64>>,
    /// Spans of the current run on remote machines, whose clocks are not aligned yet.
    elsewhere: Vec<(usize, Times, RemoteTimes)>,
    clocks: Clocks,
    known: HashMap<Option<u64>, Alignment>,
    clock_error_us: u64,
    driver: DriverTotals,
}

/// The sizes in a line.
#[derive(Default)]
struct LineSizes {
    bytes_in: usize,
    large_in: u64,
    bytes_out: usize,
    peak_mb: u64,
}

fn us(seconds: f64) -> u64 {
    (seconds * 1e6).round().max(0.0) as u64
}

impl Reader {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Job { about, started_unix_ms, .. } => {
                self.end_run();
                if self.runs.is_empty() {
                    self.first_unix_ms = *started_unix_ms;
                }
                self.about = Some(about.clone());
                self.driver = DriverTotals::default();
                let start = started_unix_ms.saturating_sub(self.first_unix_ms).saturating_mul(1_000);
                self.runs.push(start..start);
            }
            Event::Done { t, first, count, attempt, times, remote, bytes_in, large_in, bytes_out, peak_mb, .. } => {
                let (bytes_in, large_in, bytes_out, peak_mb) = (*bytes_in, *large_in, *bytes_out, *peak_mb);
                let sizes = LineSizes { bytes_in, large_in, bytes_out, peak_mb };
                self.span(*t, *first..first.saturating_add(*count), *attempt, Ended::Done, times, remote, sizes);
            }
            Event::Failed { t, task, attempt, class, message, times, remote, .. } => {
                let ended = Ended::Failed { class: class.to_string(), message: message.clone() };
                self.span(*t, *task..task.saturating_add(1), *attempt, ended, times, remote, LineSizes::default());
            }
            Event::Retry { t, task, attempt, class, message, times, remote, .. } => {
                let ended = Ended::Retried { class: class.to_string(), message: message.clone() };
                self.span(*t, *task..task.saturating_add(1), *attempt, ended, times, remote, LineSizes::default());
            }
            Event::Progress { t, driver, .. } => {
                self.driver = *driver;
                self.reached(us(*t));
            }
            Event::Clock { instance, alignment, .. } => {
                self.known.insert(*instance, *alignment);
            }
            Event::End { t, driver, .. } => {
                self.driver = *driver;
                self.reached(us(*t));
            }
        }
    }

    fn reached(&mut self, t: u64) {
        if let Some(run) = self.runs.last_mut() {
            run.end = run.end.max(run.start.saturating_add(t));
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of three kinds of lines")]
    fn span(
        &mut self,
        t: f64,
        tasks: Range<u64>,
        attempt: u32,
        ended: Ended,
        times: &Times,
        remote: &Option<RemoteTimes>,
        LineSizes { bytes_in, large_in, bytes_out, peak_mb }: LineSizes,
    ) {
        let received = us(t);
        self.reached(received);
        if let Some(remote) = remote {
            let exchange = Exchange {
                sent: us(times.invoked),
                started: remote.started_unix_us,
                ended: remote.started_unix_us.saturating_add(remote.ran_us),
                received,
            };
            self.clocks.add(remote.instance, &exchange);
            self.elsewhere.push((self.spans.len(), *times, remote.clone()));
        }
        self.spans.push(Span {
            run: self.runs.len().saturating_sub(1),
            tasks,
            attempt,
            ended,
            worker: times.worker,
            instance: remote.as_ref().map(|remote| remote.instance),
            request: remote.as_ref().map(|remote| remote.request.clone()),
            cold: times.cold,
            moments: moments(times, us(times.started), received, self.runs.last().map_or(0, |run| run.start)),
            bytes_in,
            large_in,
            sent_values: times.sent_values,
            sent_bytes: times.sent_bytes,
            bytes_out,
            peak_mb,
        });
    }

    /// Converts the times of remote machines to the driver's clock.
    fn end_run(&mut self) {
        let clocks = std::mem::take(&mut self.clocks);
        let mut known = std::mem::take(&mut self.known);
        if self.elsewhere.is_empty() {
            return;
        }
        if known.is_empty() {
            // The driver died, or is still running: the log has no alignments yet.
            known.extend(clocks.aligned());
        }
        let run_start = self.runs.last().map_or(0, |run| run.start);
        for (index, times, remote) in std::mem::take(&mut self.elsewhere) {
            let Some(span) = self.spans.get_mut(index) else { continue };
            let received = span.received().saturating_sub(run_start);
            let (sent, ran) = (us(times.invoked), remote.ran_us);
            // The batch started between `sent` and `last`.
            let last = received.saturating_sub(ran).max(sent);
            let alignment = known.get(&None).or_else(|| known.get(&Some(remote.instance)));
            let started = match alignment {
                Some(alignment) => {
                    self.clock_error_us = self.clock_error_us.max(alignment.error_us);
                    alignment.driver_time(remote.started_unix_us).clamp(sent, last)
                }
                None => {
                    self.clock_error_us = self.clock_error_us.max((last - sent) / 2);
                    sent.midpoint(last)
                }
            };
            span.moments = moments(&times, started, received, run_start);
        }
    }
}

/// Returns the boundaries of the phases, one after the other. Times that contradict each other are adjusted to fit.
fn moments(times: &Times, started: u64, received: u64, run_start: u64) -> [u64; Phase::COUNT + 1] {
    let queued = us(times.queued).min(received);
    let invoked = us(times.invoked).clamp(queued, received);
    let started = started.clamp(invoked, received);
    let setup = started.saturating_sub(times.setup_us).max(invoked);
    let mut moments = [queued, invoked, setup, started, 0, 0, 0, 0, 0, 0, received];
    let Times { fetch_us, turn_us, decode_us, compute_us, encode_us, commit_us, .. } = *times;
    let took = [fetch_us, turn_us, decode_us, compute_us, encode_us, commit_us];
    let mut reached = started;
    for (moment, took) in moments[4..10].iter_mut().zip(took) {
        reached = reached.saturating_add(took).min(received);
        *moment = reached;
    }
    moments.map(|moment| run_start.saturating_add(moment))
}
