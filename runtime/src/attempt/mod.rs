//! What schedulers and backends exchange: batches of consecutive tasks, replies, results.

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

/// Names one batch among all of a scheduler's.
pub type BatchId = u64;

/// One attempt at consecutive tasks of one block.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Names this batch in replies.
    pub id: BatchId,
    /// Names the job's keys in a store; random, and no other job's. A single call has none.
    pub job_run: Option<Arc<str>>,
    /// The tasks to run, by index in their job; within `block.tasks()`.
    pub tasks: Range<u64>,
    /// Counted from 1.
    pub attempt: u32,
    /// Function, limits and arguments.
    pub block: Arc<TaskBlock>,
}

impl Batch {
    /// Fails all its tasks, because the backend cannot run them.
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

/// When and at what cost the tasks of one reply were executed. What a backend does not know is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timing {
    /// When the worker began with the batch, on the scheduler's clock; zero where the worker's
    /// clock is another: then [`RemoteTiming::started`] has it.
    pub started: Duration,
    /// Since when the worker was free for the batch, where it waited at the worker behind another.
    pub free: Duration,
    /// How long before `started` the worker made itself ready, if it did so for this batch.
    pub setup: Duration,
    /// Whether the batch was the first of its worker.
    pub cold: bool,
    /// From `started` until the arguments were there.
    pub fetch: Duration,
    /// From then until the first of the reply's tasks began: others of the batch came before.
    pub turn: Duration,
    /// Time inside the functions, summed over the tasks of the reply.
    pub compute: Duration,
    /// From the end of the last of them until the outcome was written.
    pub commit: Duration,
    /// Which worker ran them.
    pub worker: u32,
    /// The largest memory of that worker so far, in bytes.
    pub peak_memory: u64,
    /// What the tasks cost, in dollars.
    pub usd: f64,
    /// What a machine elsewhere tells of the batch.
    pub remote: Option<RemoteTiming>,
}

/// A batch as the machine saw that ran it, by a clock of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteTiming {
    /// The request's id, as the service's logs have it: a UUID's 128 bits.
    pub request: u128,
    /// Tells its machine, and with it the clock, from others.
    pub instance: u64,
    /// The instance's memory, in MB of 2^20 bytes.
    pub memory_mb: u32,
    /// When the instance began with it, by the instance's clock, since 1970.
    pub started: Duration,
    /// How long from begin to end, without sending the answer.
    pub ran: Duration,
}

/// Encoded results of consecutive tasks, each behind its length.
///
/// A long result of a lone task is held apart, so that a `Vec` of numbers can be handed on as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Results {
    start: Vec<u8>,
    rest: Aligned,
}

impl Results {
    /// Results in one buffer.
    pub fn packed(bytes: Vec<u8>) -> Self {
        Self { start: bytes, rest: Aligned::default() }
    }

    /// The result of one task in two pieces: its length and what comes before `rest`, and `rest`.
    pub(crate) fn apart(start: Vec<u8>, rest: Aligned) -> Self {
        Self { start, rest }
    }

    /// Bytes held, lengths included.
    pub fn size(&self) -> usize {
        self.start.len() + self.rest.len()
    }

    /// All in one buffer.
    pub fn into_packed(mut self) -> Vec<u8> {
        self.start.extend_from_slice(&self.rest);
        self.start
    }

    /// The encoded result of a lone task, without its length, in two pieces.
    pub(crate) fn into_lone(mut self) -> (Vec<u8>, Aligned) {
        let behind_length = framed::length(&self.start).map_or(0, |(_, behind)| behind.len());
        self.start.drain(..self.start.len() - behind_length);
        (self.start, self.rest)
    }
}

/// What a backend says of a batch. Every task of it is accounted for by one `Done`, `Failed`
/// or `Returned`, in any order and grouping; repetitions do no harm.
#[derive(Debug)]
pub enum Reply {
    /// These tasks succeeded.
    Done {
        /// The batch.
        batch_id: BatchId,
        /// The tasks.
        tasks: Range<u64>,
        /// What they returned.
        results: Results,
        /// When they ran.
        timing: Timing,
    },
    /// One task failed.
    Failed {
        /// The batch.
        batch_id: BatchId,
        /// The task.
        task: u64,
        /// How.
        failure: Failure,
        /// The tail of what it wrote to standard error.
        stderr: String,
        /// When it ran.
        timing: Timing,
    },
    /// These tasks were not run, through no fault of theirs; they may be run again at no charge.
    Returned {
        /// The batch.
        batch_id: BatchId,
        /// The tasks.
        tasks: Range<u64>,
    },
    /// The backend refused the whole batch for too much load.
    Throttled {
        /// The batch.
        batch_id: BatchId,
        /// The backend's words.
        message: String,
    },
}
