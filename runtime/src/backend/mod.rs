//! Where attempts run. A backend takes [`Invocation`]s and gives [`Reply`]s; it knows nothing of
//! retries, jobs or results.

mod conformance;
pub(crate) mod inline;
#[cfg(feature = "aws")]
pub(crate) mod lambda;
#[cfg(any(feature = "aws", feature = "sim"))]
pub(crate) mod lambda_tuning;
mod lines;
mod local;
mod scheme;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::block::Block;
use crate::codec::Aligned;
use crate::error::{Failure, Result};
use crate::function;
use crate::function::Encoded;
use crate::function::Limits;
use crate::function::framed;
use crate::function::framed::Pieces;
use crate::scheduler;
use crate::spans::InvocationSpan;

pub use crate::config::is_lambda;
pub use crate::terminal::Stream;
pub use conformance::conformance;
pub(crate) use inline::{Queued, run_by_who_waits};
pub use lines::{Lines, Printed};
#[cfg(feature = "aws")]
pub(crate) use local::LocalBackend;
pub(crate) use scheme::open;
pub use scheme::{BackendScheme, Ringer, Setup};

/// Names one invocation among all of a scheduler's.
pub type FlightId = u64;

/// One attempt at consecutive tasks of one block.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Names this invocation in replies.
    pub flight: FlightId,
    /// Names the job's keys in a store; random, and no other job's. A single call has none.
    pub run: Option<Arc<str>>,
    /// The tasks to run, by index in their job; within `block.tasks()`.
    pub tasks: Range<u64>,
    /// Counted from 1.
    pub attempt: u32,
    /// Function, limits and arguments.
    pub block: Arc<Block>,
}

impl Invocation {
    /// Runs one of the tasks on this thread; `now` is when. A panic is a failure of the task.
    pub fn run(&self, task: u64, now: Duration) -> Reply {
        function::install_hook();
        let flight = self.flight;
        let begun = Instant::now();
        let mut out = Encoded::default();
        let one = task..task.saturating_add(1);
        let outcome = if self.tasks.contains(&task) {
            let args = Pieces(self.block.args(one.clone())).next().unwrap_or_default();
            let blobs = self.block.blobs(one.clone()).next().map_or(&[][..], |(_, blobs)| blobs);
            let function = self.block.function();
            let mut span = InvocationSpan::begin(self.block.traceparent(), function.name, &one, self.attempt);
            span.task(task, true, || function::run(function, args, blobs, &mut out))
        } else {
            Err(Failure::Backend(format!("task {task} is none of {:?}", self.tasks)))
        };
        let compute = begun.elapsed();
        let timing = Timing { started: now, compute, ..Timing::default() };
        match outcome {
            Ok(()) => {
                let mut packed = Vec::with_capacity(out.len() + 4);
                out.append_to(&mut packed);
                Reply::Done { flight, tasks: one, results: Results::packed(packed), timing }
            }
            Err(failure) => Reply::Failed { flight, task, failure, stderr: String::new(), timing },
        }
    }
}

/// When and at what cost the tasks of one reply were executed. What a backend does not know is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timing {
    /// When the worker began with the invocation, on the scheduler's clock; zero where the worker's
    /// clock is another: then [`Remote::started`] has it.
    pub started: Duration,
    /// Since when the worker was free for the invocation, where it waited at the worker behind another.
    pub free: Duration,
    /// How long before `started` the worker made itself ready, if it did so for this invocation.
    pub setup: Duration,
    /// Whether the invocation was the first of its worker.
    pub cold: bool,
    /// From `started` until the arguments were there.
    pub fetch: Duration,
    /// From then until the first of the reply's tasks began: others of the invocation came before.
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
    /// What a machine elsewhere tells of the invocation.
    pub remote: Option<Remote>,
}

/// An invocation as the machine saw that ran it, by a clock of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Remote {
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

/// What a backend says of an invocation. Every task of it is accounted for by one `Done`, `Failed`
/// or `Returned`, in any order and grouping; repetitions do no harm.
#[derive(Debug)]
pub enum Reply {
    /// These tasks succeeded.
    Done {
        /// The invocation.
        flight: FlightId,
        /// The tasks.
        tasks: Range<u64>,
        /// What they returned.
        results: Results,
        /// When they ran.
        timing: Timing,
    },
    /// One task failed.
    Failed {
        /// The invocation.
        flight: FlightId,
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
        /// The invocation.
        flight: FlightId,
        /// The tasks.
        tasks: Range<u64>,
    },
    /// The backend refused the whole invocation for too much load.
    Throttled {
        /// The invocation.
        flight: FlightId,
        /// The backend's words.
        message: String,
    },
}

/// The machine that a call would run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Its memory, in MB of 2^20 bytes.
    pub memory_mb: u32,
    /// How many calls share it at most.
    pub calls: u32,
}

/// Runs invocations. Owned by one executor, which calls it under its lock: nothing here blocks.
pub trait Backend: Send {
    /// How many invocations it takes at once.
    fn slots(&self) -> usize;

    /// How many functions run at once at most; with fewer than `slots`, the rest wait at the workers.
    fn workers(&self) -> usize;

    /// Where calls of a function would run with these limits; `None` where each has a worker to itself,
    /// with the memory that it states.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) where nothing here gives calls as much.
    fn room(&self, function: &str, limits: &Limits) -> Result<Option<Room>> {
        let _ = (function, limits);
        Ok(None)
    }

    /// Dollars for one second of one running function, by its memory; 0 where nobody is paid.
    fn usd_per_second(&self) -> fn(memory_mb: Option<u32>) -> f64 {
        |_| 0.0
    }

    /// Changes what a scheduler is to know of it: retries, batches, what counts as lost.
    fn tune(&self, config: &mut scheduler::Config) {
        let _ = config;
    }

    /// Begins an invocation. What is known of it at once goes to `replies`.
    fn invoke(&mut self, invocation: Invocation, now: Duration, replies: &mut Vec<Reply>);

    /// Takes back what has not begun of an invocation, as [`Reply::Returned`]. May do nothing.
    fn reclaim(&mut self, flight: FlightId, replies: &mut Vec<Reply>) {
        let _ = (flight, replies);
    }

    /// How many invocations make no progress while none does: they may all wait for calls that are to run here. Others
    /// run beside them then, until some go on.
    fn blocked(&mut self) -> usize {
        0
    }

    /// Stops an invocation. Its tasks need no reply any more.
    fn cancel(&mut self, flight: FlightId, now: Duration);

    /// Stops what runs of a job anywhere; its invocations are cancelled besides, one by one.
    fn cancel_job(&mut self, run: &Arc<str>) {
        let _ = run;
    }

    /// Moves replies that have come to `replies`. Gives the time after which it wants to be polled
    /// again though nobody rang.
    fn poll(&mut self, now: Duration, replies: &mut Vec<Reply>) -> Option<Duration>;
}
