//! Backends, which run batches. A backend takes [`Batch`]es and returns [`Reply`]s; it knows nothing of retries, jobs
//! or results.

pub(crate) mod inline;
#[cfg(feature = "aws")]
pub(crate) mod lambda;
#[cfg(any(feature = "aws", feature = "sim"))]
pub(crate) mod lambda_tuning;
pub(crate) mod local;
mod run;
mod scheme;

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::function::Limits;
use crate::scheduler;

pub use crate::attempt::{Batch, BatchId, OutputSink, PrintedLine, RemoteTiming, Reply, Results, RunningTask, Timing};
pub use crate::config::is_lambda;
pub use crate::terminal::Stream;
pub(crate) use inline::{Queued, open_for_waiter};
#[cfg(feature = "aws")]
pub(crate) use local::LocalBackend;
pub(crate) use scheme::open;
pub use scheme::{BackendContext, BackendScheme, WakeHandle};

/// The machine that a call would run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Its memory, in MB of 2^20 bytes.
    pub memory_mb: u32,
    /// Maximum number of calls that share it.
    pub calls: u32,
}

/// Runs batches. Owned by one executor, which calls the methods while it holds its lock: no method may block.
pub trait Backend: Send {
    /// Returns the maximum number of batches that the backend accepts at once.
    fn slots(&self) -> usize;

    /// Returns the maximum number of functions that run at once. If it is less than `slots`, the other batches wait at
    /// the workers.
    fn workers(&self) -> usize;

    /// Returns the machine on which calls of a function with these limits would run; `None` if each call has a worker
    /// of its own, with the memory that its limits state.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if the backend has no machine that satisfies the limits.
    fn placement(&self, function: &str, limits: &Limits) -> Result<Option<Placement>> {
        let _ = (function, limits);
        Ok(None)
    }

    /// Returns the price of one running function, in dollars per second, by its memory; 0 if running is free.
    fn usd_per_second(&self) -> fn(memory_mb: Option<u32>) -> f64 {
        |_| 0.0
    }

    /// Adapts the scheduler's settings to this backend: retries, batches, and when a batch counts as lost.
    fn tune(&self, config: &mut scheduler::SchedulerConfig) {
        let _ = config;
    }

    /// Starts a batch. Replies that are available immediately go to `replies`.
    fn invoke(&mut self, batch: Batch, now: Duration, replies: &mut Vec<Reply>);

    /// Takes back tasks of a batch that have not started, as [`Reply::Returned`]. May do nothing.
    fn reclaim(&mut self, batch_id: BatchId, replies: &mut Vec<Reply>) {
        let _ = (batch_id, replies);
    }

    /// Returns the number of running batches if none of them makes progress, otherwise 0. They may all be waiting for
    /// calls that this backend has yet to run. Other batches then run beside them, until some make progress again.
    fn blocked(&mut self) -> usize {
        0
    }

    /// Adds the tasks that run now to `running`, and returns whether the backend knows them. If it does not, each batch
    /// counts as running the first of its tasks without an outcome. Called about once a second while a job runs.
    fn running(&mut self, now: Duration, running: &mut Vec<RunningTask>) -> bool {
        let _ = (now, running);
        false
    }

    /// Stops a batch. Its tasks no longer need a reply.
    fn cancel(&mut self, batch_id: BatchId, now: Duration);

    /// Stops everything that runs for a job. Its batches are also cancelled one by one.
    fn cancel_job(&mut self, run: &Arc<str>) {
        let _ = run;
    }

    /// Moves the replies that have arrived to `replies`. Returns the time after which the backend must be polled again
    /// even if it does not notify its [`WakeHandle`].
    fn poll(&mut self, now: Duration, replies: &mut Vec<Reply>) -> Option<Duration>;
}
