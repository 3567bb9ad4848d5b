//! The data that schedulers and backends exchange: batches of consecutive tasks, replies, results.

mod block;
mod decode;
mod printed;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::Aligned;
use crate::error::Failure;
use crate::function::framed;

pub use block::TaskBlock;
pub(crate) use decode::{Decoded, decode_lone_result, decode_result};
pub use printed::{OutputSink, PrintedLine};

/// Identifies a batch among all batches of a scheduler.
pub type BatchId = u64;

/// Consecutive tasks of one block, sent to one worker.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Identifies this batch in replies.
    pub id: BatchId,
    /// Identifies the job's keys in a store; random and unique. `None` for a single call.
    pub job_run: Option<Arc<str>>,
    /// The tasks to run, by index in their job. They are part of `block.tasks()`.
    pub tasks: Range<u64>,
    /// Number of the attempt, counted from 1.
    pub attempt: u32,
    /// The function, the limits and the arguments.
    pub block: Arc<TaskBlock>,
}

impl Batch {
    /// Reports all tasks as failed because the backend cannot run them.
    pub(crate) fn fail(self, message: &str, replies: &mut Vec<Reply>) {
        let batch_id = self.id;
        replies.extend(self.tasks.map(|task| Reply::Failed {
            batch_id,
            task,
            failure: Failure::Backend(message.to_owned()),
            stderr: String::new(),
            timing: Timing::default(),
        }));
    }
}

/// The task of a batch that runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningTask {
    /// The batch.
    pub batch_id: BatchId,
    /// Index of the task.
    pub task: u64,
    /// When the task started, on the scheduler's clock.
    pub since: Duration,
}

/// The times and the cost of the tasks of one reply. Values that a backend does not know are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timing {
    /// Time at which the worker started the batch, on the scheduler's clock. Zero if the worker has another clock; then
    /// see [`RemoteTiming::started`].
    pub started: Duration,
    /// Time at which the worker became free for the batch, if the batch waited at the worker behind another one.
    pub free: Duration,
    /// Time that the worker needed to get ready before `started`, if it did so for this batch.
    pub setup: Duration,
    /// Whether the batch was the first one of its worker.
    pub cold: bool,
    /// Time from `started` until the arguments were available.
    pub fetch: Duration,
    /// Time from then until the first task of the reply started: other tasks of the batch ran before it.
    pub turn: Duration,
    /// Time spent on decoding arguments, summed over the tasks of the reply. Decoding that takes next to no time counts
    /// as `compute`, and so does encoding.
    pub decode: Duration,
    /// Time spent in the functions, summed over the tasks of the reply.
    pub compute: Duration,
    /// Time spent on encoding results, summed over the tasks of the reply.
    pub encode: Duration,
    /// Time from the end of the last of these tasks until the outcome was written.
    pub commit: Duration,
    /// Number of large arguments that were sent to the worker for the batch. One that the worker still had from an
    /// earlier batch was not sent.
    pub sent_values: u32,
    /// Size of the large arguments that were sent, in bytes.
    pub sent_bytes: u64,
    /// Number of the worker that ran the tasks.
    pub worker: u32,
    /// Peak memory of that worker so far, in bytes.
    pub peak_memory: u64,
    /// Cost of the tasks, in dollars.
    pub usd: f64,
    /// The report of the machine, if the batch ran on another machine.
    pub remote: Option<RemoteTiming>,
}

impl Timing {
    /// Returns the time that the tasks occupied the worker.
    pub(crate) fn busy(&self) -> Duration {
        self.decode.saturating_add(self.compute).saturating_add(self.encode)
    }
}

/// The times of a batch as measured by the machine that ran it, with its own clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteTiming {
    /// The request's id in the service's logs: the 128 bits of a UUID.
    pub request: u128,
    /// Identifies the machine, and with it the clock.
    pub instance: u64,
    /// The instance's memory, in MB of 2^20 bytes.
    pub memory_mb: u32,
    /// Time at which the instance started the batch, by the instance's clock, since 1970.
    pub started: Duration,
    /// Duration of the batch, without sending the answer.
    pub ran: Duration,
}

/// The encoded results of consecutive tasks, each prefixed with its length.
///
/// A long result of a lone task is held in a separate buffer, so that a `Vec` of numbers needs no copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Results {
    start: Vec<u8>,
    rest: Aligned,
}

impl Results {
    /// Creates results from one buffer.
    pub fn packed(bytes: Vec<u8>) -> Self {
        Self { start: bytes, rest: Aligned::default() }
    }

    /// Creates the result of one task from two pieces: `start` holds its length and its first bytes, `rest` the others.
    pub(crate) fn apart(start: Vec<u8>, rest: Aligned) -> Self {
        Self { start, rest }
    }

    /// Returns the number of bytes held, lengths included.
    pub fn size(&self) -> usize {
        self.start.len() + self.rest.len()
    }

    /// Returns all results in one buffer.
    pub fn into_packed(mut self) -> Vec<u8> {
        self.start.extend_from_slice(&self.rest);
        self.start
    }

    /// Returns the encoded result of a lone task, without its length, in two pieces.
    pub(crate) fn into_lone(mut self) -> (Vec<u8>, Aligned) {
        let behind_length = framed::length(&self.start).map_or(0, |(_, behind)| behind.len());
        self.start.drain(..self.start.len() - behind_length);
        (self.start, self.rest)
    }
}

/// A backend's report about a batch. Every task of the batch is covered by one `Done`, `Failed` or `Returned`, in any
/// order and grouping, unless the whole batch is `Throttled`. Repeated replies do no harm.
#[derive(Debug)]
pub enum Reply {
    /// These tasks succeeded.
    Done {
        /// The batch.
        batch_id: BatchId,
        /// The tasks.
        tasks: Range<u64>,
        /// The results of the tasks.
        results: Results,
        /// The times of the tasks.
        timing: Timing,
    },
    /// One task failed.
    Failed {
        /// The batch.
        batch_id: BatchId,
        /// The task.
        task: u64,
        /// The reason.
        failure: Failure,
        /// The end of the task's standard error.
        stderr: String,
        /// The times of the task.
        timing: Timing,
    },
    /// These tasks were not started; they are requeued without counting an attempt.
    Returned {
        /// The batch.
        batch_id: BatchId,
        /// The tasks.
        tasks: Range<u64>,
    },
    /// The backend refused the whole batch because of too much load.
    Throttled {
        /// The batch.
        batch_id: BatchId,
        /// The backend's error message.
        message: String,
    },
}
