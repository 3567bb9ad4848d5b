//! The scheduler's decisions.

use std::ops::Range;
use std::sync::Arc;

use super::{JobKey, Time};
use crate::attempt::{BatchId, Results, TaskBlock, Timing};
use crate::error::Failure;

/// An event that the executor must record or act on.
#[derive(Debug)]
pub enum Update {
    /// Tasks succeeded.
    Done {
        /// The job.
        job: JobKey,
        /// The tasks that `results` belongs to.
        tasks: Range<u64>,
        /// Those of `tasks` that were not done before. Over the whole job, each task is in only one `new`.
        new: Vec<Range<u64>>,
        /// Results of `tasks`.
        results: Results,
        /// Attempt number, counted from 1.
        attempt: u32,
        /// Size of the encoded arguments, in bytes, without large ones.
        bytes_in: usize,
        /// Size of the encoded large arguments, in bytes. One that several tasks share counts for each of them.
        large_in: u64,
        /// When the tasks became ready and were sent.
        sent: DispatchTimes,
        /// When the tasks ran.
        timing: Timing,
    },
    /// A task failed permanently.
    Failed {
        /// The job.
        job: JobKey,
        /// The task.
        task: u64,
        /// The attempt that failed last, counted from 1.
        attempt: u32,
        /// Name of the task's function.
        function: &'static str,
        /// The failure.
        failure: Failure,
        /// Last output of the task on standard error.
        stderr: String,
        /// The block that holds the task's arguments.
        block: Arc<TaskBlock>,
        /// When the task became ready and was sent.
        sent: DispatchTimes,
        /// When the task ran.
        timing: Timing,
    },
    /// A task failed and will run again.
    Retry {
        /// The job.
        job: JobKey,
        /// The task.
        task: u64,
        /// The attempt that failed, counted from 1.
        attempt: u32,
        /// The failure.
        failure: Failure,
        /// The block that holds the task's arguments.
        block: Arc<TaskBlock>,
        /// Earliest time of the next attempt.
        at: Time,
        /// When the failed attempt became ready and was sent.
        sent: DispatchTimes,
        /// When the failed attempt ran.
        timing: Timing,
    },
    /// The backend must stop a batch.
    Cancel {
        /// The batch.
        batch_id: BatchId,
    },
    /// The backend must stop everything that runs for a job, including batches that it no longer tracks.
    CancelJob {
        /// As in [`JobSpec::run`](super::JobSpec::run).
        run: Arc<str>,
    },
    /// The backend should return the tasks of a batch that have not started.
    Reclaim {
        /// The batch.
        batch_id: BatchId,
    },
    /// The job would exceed its budget and was cancelled.
    OverBudget {
        /// The job.
        job: JobKey,
        /// Estimated cost of the job so far, in dollars.
        spent_usd: f64,
    },
    /// Every task of a closed job has succeeded or failed permanently.
    JobDone {
        /// The job.
        job: JobKey,
    },
}

/// When the tasks of a batch became ready and when they were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DispatchTimes {
    /// When the tasks became ready: when they were submitted, or when their retry was due.
    pub queued: Time,
    /// When the batch was sent.
    pub invoked: Time,
}

/// The progress of a job, in tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Tasks submitted so far.
    pub submitted: u64,
    /// Tasks that succeeded.
    pub done: u64,
    /// Tasks that failed permanently.
    pub failed: u64,
    /// Tasks that run.
    pub running: u64,
    /// Tasks that wait: to be sent, for the end of a pause before a retry, or at a worker behind other tasks.
    pub queued: u64,
    /// Attempts beyond each task's first.
    pub retried: u64,
}
