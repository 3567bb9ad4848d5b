//! The lines of a job's log.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Alignment;
use crate::platform;

/// One line of a job's log. `t` is the number of seconds since the run of the job started, to the microsecond.
///
/// The first line is `Job`; a job that was resumed has one for every run. The last line is `End`, which is missing if
/// the driver died.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A run of the job started.
    Job {
        /// Description of the job.
        #[serde(flatten)]
        about: About,
        /// Wall-clock time of the driver, in milliseconds since 1970.
        started_unix_ms: u64,
        /// Process ID of the driver.
        pid: u32,
        /// Version of wren in the driver.
        wren: Cow<'static, str>,
    },
    /// Tasks `first..first + count` succeeded in one attempt, one after another.
    Done {
        /// When the driver received the outcome.
        t: f64,
        /// Index of the first task.
        first: u64,
        /// Number of tasks.
        count: u64,
        /// Number of tasks that had no result from another attempt before.
        new: u64,
        /// Attempt number, counted from 1.
        attempt: u32,
        /// How the time until `t` was spent.
        #[serde(flatten)]
        times: Times,
        /// Size of the encoded arguments in bytes, without large ones.
        #[serde(default)]
        bytes_in: usize,
        /// Size of the encoded large arguments in bytes. One that several tasks share counts for each of them.
        #[serde(default, skip_serializing_if = "is_zero")]
        large_in: u64,
        /// Size of the encoded results, in bytes.
        bytes_out: usize,
        /// Peak memory of the worker so far, in MB.
        peak_mb: u64,
        /// Times that a remote machine reported; `None` for the local backend.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<RemoteTimes>,
    },
    /// A task failed permanently.
    Failed {
        /// When the driver received the outcome.
        t: f64,
        /// Index of the task.
        task: u64,
        /// Attempt number, counted from 1.
        attempt: u32,
        /// Name of the failure's class, as returned by [`crate::Failure::name`].
        class: Cow<'static, str>,
        /// Error message for people.
        message: String,
        /// The last lines that the task wrote to standard error, at most 4 KiB.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        stderr: String,
        /// The backtrace of a panic, if `RUST_BACKTRACE` was set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backtrace: Option<String>,
        /// How the time until `t` was spent.
        #[serde(flatten)]
        times: Times,
        /// Times that a remote machine reported.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<RemoteTimes>,
    },
    /// A task failed and will run again.
    Retry {
        /// When the driver received the outcome.
        t: f64,
        /// Index of the task.
        task: u64,
        /// Attempt that failed, counted from 1.
        attempt: u32,
        /// Name of the failure's class.
        class: Cow<'static, str>,
        /// Error message for people.
        #[serde(default)]
        message: String,
        /// Pause before the next attempt, in milliseconds.
        after_ms: u64,
        /// How the time until `t` was spent.
        #[serde(flatten)]
        times: Times,
        /// Times that a remote machine reported.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<RemoteTimes>,
    },
    /// Progress of the job; written every second while it runs.
    Progress {
        /// Time of the line.
        t: f64,
        /// Tasks that the backend has.
        running: u64,
        /// Tasks that wait.
        queued: u64,
        /// Cost of the run so far, in dollars.
        #[serde(default)]
        usd: f64,
        /// The tasks that have run for more than a second, the longest first. There are at most eight.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        longest: Vec<LongestTask>,
        /// What the driver did so far.
        #[serde(flatten)]
        driver: DriverTotals,
    },
    /// Relation of a remote machine's clock to the driver's clock; written at the end of the run.
    Clock {
        /// Time of the line.
        t: f64,
        /// The machine, as in [`RemoteTimes::instance`]; `None` if one clock fits all machines.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<u64>,
        /// Difference of the clocks and its uncertainty.
        #[serde(flatten)]
        alignment: Alignment,
    },
    /// The run ended.
    End {
        /// Time of the end.
        t: f64,
        /// `done`, `failed` or `cancelled`.
        state: Cow<'static, str>,
        /// Tasks that succeeded in this run.
        done: u64,
        /// Tasks that failed permanently.
        failed: u64,
        /// Attempts that were repeated.
        retried: u64,
        /// Seconds inside functions, summed over all workers.
        compute_s: f64,
        /// Seconds from the start to the end of the run.
        wall_s: f64,
        /// Cost of the run in dollars; 0 for the local backend.
        usd: f64,
        /// Why the run ended early, if no failed task explains it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What the driver did.
        #[serde(flatten)]
        driver: DriverTotals,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The latest time in a log, in seconds: three hundred years. A later one was not written by wren.
const LATEST: f64 = 1e10;

/// Maximum number of tasks in one line. Batches are smaller.
const MOST_TASKS: u64 = 1 << 24;

impl Event {
    /// Returns whether wren can have written this event: a file may contain anything.
    pub(super) fn is_sound(&self) -> bool {
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
            Event::Progress { t, usd, longest, driver, .. } => {
                let are_sound = longest.iter().all(|running| are_moments(&[running.since]));
                are_moments(&[*t, driver.encode_s, driver.decode_s]) && is_cost(*usd) && are_sound
            }
            Event::Clock { t, .. } => are_moments(&[*t]),
            Event::End { t, compute_s, wall_s, usd, driver, .. } => {
                are_moments(&[*t, *compute_s, *wall_s, driver.encode_s, driver.decode_s]) && is_cost(*usd)
            }
        }
    }

    /// Replaces control characters in texts, which could move a terminal's cursor or change its colours.
    pub(super) fn without_control(mut self) -> Self {
        match &mut self {
            Event::Job { about, .. } => {
                for text in [&mut about.id, &mut about.function, &mut about.backend, &mut about.store] {
                    *text = clean(text);
                }
                about.name = about.name.as_deref().map(clean);
                if let Some(stage) = &mut about.stage {
                    for text in [&mut stage.run, &mut stage.of, &mut stage.name] {
                        *text = clean(text);
                    }
                }
                about.program = platform::path_of_text(&clean(&platform::text_of_path(&about.program)));
            }
            Event::Failed { message, stderr, backtrace, class, .. } => {
                (*message, *stderr) = (clean(message), clean(stderr));
                *backtrace = backtrace.as_deref().map(clean);
                *class = clean(class).into();
            }
            Event::Retry { message, class, .. } => {
                *message = clean(message);
                *class = clean(class).into();
            }
            Event::End { reason, .. } => *reason = reason.as_deref().map(clean),
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

/// How the time of an attempt was spent. Points in time are in seconds since the run started; durations are in
/// microseconds. [`Timeline`](super::Timeline) computes the phases of an attempt from them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// When the tasks became ready: when they were submitted, or when their retry was due.
    #[serde(default)]
    pub queued: f64,
    /// When the driver gave the tasks to the backend or, if they waited at a worker behind others, when that worker
    /// was free.
    #[serde(default)]
    pub invoked: f64,
    /// When the worker started the batch, if worker and driver share a clock.
    #[serde(default)]
    pub started: f64,
    /// How long the worker prepared itself before it started the batch.
    #[serde(default)]
    pub setup_us: u64,
    /// How long the worker waited for arguments.
    #[serde(default)]
    pub fetch_us: u64,
    /// How long other tasks of the same batch ran before these.
    #[serde(default)]
    pub turn_us: u64,
    /// How long arguments were decoded, summed over the tasks. Decoding that takes next to no time counts as
    /// `compute_us`, and so does encoding.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decode_us: u64,
    /// How long the function ran, summed over the tasks.
    pub compute_us: u64,
    /// How long results were encoded, summed over the tasks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub encode_us: u64,
    /// How long the worker took to write the outcome after that.
    #[serde(default)]
    pub commit_us: u64,
    /// Number of the worker on its machine.
    #[serde(default)]
    pub worker: u32,
    /// Whether the batch was the first of its worker.
    #[serde(default)]
    pub cold: bool,
    /// Number of large arguments that were sent to the worker for the batch. It is in the first line of a batch. A
    /// value that the worker still had from an earlier batch was not sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sent_values: u64,
    /// Size of the large arguments that were sent, in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sent_bytes: u64,
}

/// What the driver did since the start of the run, apart from its scheduling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DriverTotals {
    /// How long it took calls from the program's iterator, which creates and encodes arguments, in seconds.
    #[serde(default)]
    pub encode_s: f64,
    /// How long it decoded results, in seconds.
    #[serde(default)]
    pub decode_s: f64,
    /// Number of different large arguments of all tasks so far.
    #[serde(default)]
    pub large_values: u64,
    /// Size of these large arguments, in bytes. One that several tasks share counts once.
    #[serde(default)]
    pub large_bytes: u64,
}

/// A task that runs while the line is written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LongestTask {
    /// Index of the task.
    pub task: u64,
    /// Attempt number, counted from 1.
    pub attempt: u32,
    /// When the task started, in seconds since the run of the job started. On a remote machine, when its batch was sent
    /// or last reported.
    pub since: f64,
}

/// The invocation of AWS Lambda that ran the tasks of a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemoteTimes {
    /// Request ID, as in CloudWatch.
    pub request: String,
    /// Identifies the machine.
    #[serde(default)]
    pub instance: u64,
    /// Memory of the instance, in MB.
    pub memory_mb: u32,
    /// When the instance started the invocation, in microseconds since 1970 by the instance's clock.
    pub started_unix_us: u64,
    /// How long the instance took for the whole invocation, in microseconds.
    pub ran_us: u64,
}

/// The place of a job in a computation of several jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Identifies this run of the computation.
    pub run: String,
    /// Name of the computation: the one that it was given, or that of its type.
    pub of: String,
    /// Name of the stage, such as `map`.
    pub name: String,
    /// Number of the stage in this run, counted from 1.
    pub number: u32,
}

/// The description of a job in the first line of its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Identifies the job in `.wren/jobs`: the name of its folder there.
    pub id: String,
    /// Name given by [`named`](crate::Map::named).
    pub name: Option<String>,
    /// Function of the first call.
    pub function: String,
    /// Number of tasks, if known in advance.
    pub tasks: Option<u64>,
    /// URL of the backend.
    pub backend: String,
    /// URL of the store; empty in logs of older versions.
    #[serde(default)]
    pub store: String,
    /// Number of calls that run at once.
    pub workers: usize,
    /// Memory limit of a call of that function, in MB, if there is one.
    #[serde(default)]
    pub memory_mb: Option<u32>,
    /// The computation that the job is a stage of: a MapReduce, a sort or a superstep program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Path of the program that ran the job.
    #[serde(default, with = "crate::platform::as_text")]
    pub program: PathBuf,
}
