//! What is written down of every job, for whoever asks later where time and results went.
//!
//! A job writes `.wren/jobs/<id>/events.jsonl` while it runs: one [`Event`] a line, as JSON. Calls
//! too short to be worth a line each are written by the batch, so that the log never bounds the
//! speed. [`jobs`] and [`JobSummary::read`] read it back, in this process or any other:
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! for job in wren::history::jobs(".wren".as_ref())? {
//!     println!("{}: {:?}, {} tasks done", job.id, job.state, job.done);
//! }
//! # Ok(()) }
//! ```
//!
//! Who runs a job holds the lock of its log (`flock`), so that others can tell a running job from
//! one whose driver died.

mod clock;
mod follow;
mod inputs;
mod log;
mod notes;
#[cfg(feature = "otel")]
pub mod otel;
mod output;
mod prune;
pub(crate) mod spans;
mod summary;
mod timeline;

use std::borrow::Cow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::platform;

pub use crate::terminal::{ProgressBar, ProgressSnapshot};
pub use clock::{Alignment, Exchange};
pub use follow::Follow;
pub(crate) use inputs::Inputs;
pub use inputs::{TaskInput, task_input};
pub use log::{CANCEL, LOG};
pub(crate) use log::{Claim, Forecast, JobLog, Place, TaskReport, claim, try_claim};
pub(crate) use notes::{Note, SharedLog, WeakLog, tally};
pub use output::{Line, Outputs, outputs};
pub(crate) use summary::task_count;
pub use summary::{JobState, JobSummary, directory, jobs};
pub use timeline::{Ended, Phase, Span, Timeline};

/// One line of a job's log. `t` is in seconds since the run of the job began, to the microsecond.
///
/// The first line is `Job`; a job that was resumed has one for every run. `End` is the last, and
/// lacks where the driver died.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A run of the job began.
    Job {
        /// What runs.
        #[serde(flatten)]
        about: About,
        /// Wall clock of the driver, in milliseconds since 1970.
        started_unix_ms: u64,
        /// The driver's process.
        pid: u32,
        /// The driver's version of wren.
        wren: Cow<'static, str>,
    },
    /// Tasks `first..first + count` succeeded, in one attempt and one after another.
    Done {
        /// When the driver learned of it.
        t: f64,
        /// Index of the first task.
        first: u64,
        /// How many tasks.
        count: u64,
        /// How many of them had no result before, from another execution.
        new: u64,
        /// Which execution of these tasks it was, from 1.
        attempt: u32,
        /// Where the time went until `t`.
        #[serde(flatten)]
        times: Times,
        /// Size of the encoded arguments, without those that are kept as values of their own.
        #[serde(default)]
        bytes_in: usize,
        /// Size of the encoded results.
        bytes_out: usize,
        /// The most memory the worker had used so far, in MB.
        peak_mb: u64,
        /// What a machine elsewhere tells of it; none for the local backend.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<RemoteTimes>,
    },
    /// A task failed for good.
    Failed {
        /// When the driver learned of it.
        t: f64,
        /// Index of the task.
        task: u64,
        /// Which execution it was, from 1.
        attempt: u32,
        /// Name of the failure's class, as [`crate::Failure::name`] gives it.
        class: Cow<'static, str>,
        /// What went wrong, for people.
        message: String,
        /// The last lines that it wrote to standard error, at most 4 KiB.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        stderr: String,
        /// Where the time went until `t`.
        #[serde(flatten)]
        times: Times,
        /// What a machine elsewhere tells of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<RemoteTimes>,
    },
    /// A task failed, and is run again.
    Retry {
        /// When the driver learned of it.
        t: f64,
        /// Index of the task.
        task: u64,
        /// Which execution failed, from 1.
        attempt: u32,
        /// Name of the failure's class.
        class: Cow<'static, str>,
        /// What went wrong, for people.
        #[serde(default)]
        message: String,
        /// How long it waits before it runs again, in milliseconds.
        after_ms: u64,
        /// Where the time went until `t`.
        #[serde(flatten)]
        times: Times,
        /// What a machine elsewhere tells of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<RemoteTimes>,
    },
    /// Where the job stands; written every second while it runs.
    Progress {
        /// When.
        t: f64,
        /// Tasks in flight.
        running: u64,
        /// Tasks that wait.
        queued: u64,
        /// What the run has cost so far, in dollars.
        #[serde(default)]
        usd: f64,
    },
    /// How the clock of a machine elsewhere stands to the driver's; written at the end.
    Clock {
        /// When.
        t: f64,
        /// The machine, as in [`RemoteTimes::instance`]; none where one clock fits all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<u64>,
        /// How it stands, and how well that is known.
        #[serde(flatten)]
        alignment: Alignment,
    },
    /// The run ended.
    End {
        /// When.
        t: f64,
        /// `done`, `failed` or `cancelled`.
        state: Cow<'static, str>,
        /// Tasks that this run did.
        done: u64,
        /// Tasks that failed for good.
        failed: u64,
        /// Executions that were repeated.
        retried: u64,
        /// Seconds that functions ran, of all workers together.
        compute_s: f64,
        /// Seconds from begin to end.
        wall_s: f64,
        /// What it cost, in dollars; 0 for the local backend.
        usd: f64,
    },
}

/// The latest moment of a log, in seconds: three hundred years. A later one was not written by wren.
const LATEST: f64 = 1e10;

/// The most tasks of one line: batches are shorter.
const MOST_TASKS: u64 = 1 << 24;

impl Event {
    /// Whether wren can have written it: what is read from a file may be anything.
    fn is_sound(&self) -> bool {
        let are_moments = |moments: &[f64]| moments.iter().all(|moment| (0.0..=LATEST).contains(moment));
        let is_cost = |usd: f64| (0.0..=LATEST).contains(&usd);
        let are_times = |times: &Times| are_moments(&[times.queued, times.invoked, times.started]);
        match self {
            Event::Job { .. } => true,
            Event::Done { t, first, count, new, times, .. } => {
                let fits = first.checked_add(*count).is_some();
                are_moments(&[*t]) && are_times(times) && *count <= MOST_TASKS && new <= count && fits
            }
            Event::Failed { t, times, .. } | Event::Retry { t, times, .. } => are_moments(&[*t]) && are_times(times),
            Event::Progress { t, usd, .. } => are_moments(&[*t]) && is_cost(*usd),
            Event::Clock { t, .. } => are_moments(&[*t]),
            Event::End { t, compute_s, wall_s, usd, .. } => are_moments(&[*t, *compute_s, *wall_s]) && is_cost(*usd),
        }
    }

    /// Takes out of texts what would move a terminal's cursor or change its colours.
    fn without_control(mut self) -> Self {
        match &mut self {
            Event::Job { about, .. } => {
                for text in [&mut about.id, &mut about.function, &mut about.backend] {
                    *text = clean(text);
                }
                about.name = about.name.as_deref().map(clean);
                about.program = platform::path_of_text(&clean(&platform::text_of_path(&about.program)));
            }
            Event::Failed { message, stderr, class, .. } => {
                (*message, *stderr) = (clean(message), clean(stderr));
                *class = clean(class).into();
            }
            Event::Retry { message, class, .. } => {
                *message = clean(message);
                *class = clean(class).into();
            }
            _ => {}
        }
        self
    }
}

fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// Where the time of an execution went: when the tasks of a line could run and were sent, in seconds
/// since the run began, and how long what followed took, in microseconds. [`Timeline`] puts it
/// together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// When they could run: submitted, or due again after a failure.
    #[serde(default)]
    pub queued: f64,
    /// When the driver handed them to the backend, or a worker was free that they then waited at.
    #[serde(default)]
    pub invoked: f64,
    /// When the worker began with their invocation, where its clock is the driver's.
    #[serde(default)]
    pub started: f64,
    /// How long before that it made itself ready for it.
    #[serde(default)]
    pub setup_us: u64,
    /// How long the worker waited for arguments.
    #[serde(default)]
    pub fetch_us: u64,
    /// How long other tasks of the same invocation ran before these.
    #[serde(default)]
    pub turn_us: u64,
    /// How long the function ran for all of them.
    pub compute_us: u64,
    /// From then until the outcome was written.
    #[serde(default)]
    pub commit_us: u64,
    /// Number of the worker, in its machine.
    #[serde(default)]
    pub worker: u32,
    /// Whether the invocation was the first of its worker.
    #[serde(default)]
    pub cold: bool,
}

/// An invocation of AWS Lambda, of which the tasks of a line were a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemoteTimes {
    /// The request's id, as CloudWatch has it.
    pub request: String,
    /// Tells its machine from others.
    #[serde(default)]
    pub instance: u64,
    /// Memory of the instance, in MB.
    pub memory_mb: u32,
    /// When the instance began with it, in microseconds since 1970 by the instance's clock.
    pub started_unix_us: u64,
    /// How long the instance took for all of it, in microseconds.
    pub ran_us: u64,
}

/// What the first line of a log says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Names the job in `.wren/jobs` and in its store.
    pub id: String,
    /// What [`named`](crate::Map::named) called it.
    pub name: Option<String>,
    /// The function of the first call.
    pub function: String,
    /// How many tasks it will have, where that is known beforehand.
    pub tasks: Option<u64>,
    /// Where it runs.
    pub backend: String,
    /// How many calls run at once.
    pub workers: usize,
    /// What a call of that function may use, in MB, where that is limited.
    #[serde(default)]
    pub memory_mb: Option<u32>,
    /// The program that ran it.
    #[serde(default, with = "crate::platform::as_text")]
    pub program: PathBuf,
}
