//! Where attempts run. A backend takes [`Batch`]s and gives [`Reply`]s; it knows nothing of
//! retries, jobs or results.

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

pub use crate::attempt::{Batch, BatchId, OutputSink, PrintedLine, RemoteTiming, Reply, Results, Timing};
pub use crate::config::is_lambda;
pub use crate::terminal::Stream;
pub(crate) use inline::{Queued, run_by_who_waits};
#[cfg(feature = "aws")]
pub(crate) use local::LocalBackend;
pub(crate) use scheme::open;
pub use scheme::{BackendContext, BackendScheme, WakeHandle};

/// The machine that a call would run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Its memory, in MB of 2^20 bytes.
    pub memory_mb: u32,
    /// How many calls share it at most.
    pub calls: u32,
}

/// Runs batches. Owned by one executor, which calls it under its lock: nothing here blocks.
pub trait Backend: Send {
    /// How many batches it takes at once.
    fn slots(&self) -> usize;

    /// How many functions run at once at most; with fewer than `slots`, the rest wait at the workers.
    fn workers(&self) -> usize;

    /// Where calls of a function would run with these limits; `None` where each has a worker to itself,
    /// with the memory that it states.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) where nothing here gives calls as much.
    fn placement(&self, function: &str, limits: &Limits) -> Result<Option<Placement>> {
        let _ = (function, limits);
        Ok(None)
    }

    /// Dollars for one second of one running function, by its memory; 0 where nobody is paid.
    fn usd_per_second(&self) -> fn(memory_mb: Option<u32>) -> f64 {
        |_| 0.0
    }

    /// Changes what a scheduler is to know of it: retries, batches, what counts as lost.
    fn tune(&self, config: &mut scheduler::SchedulerConfig) {
        let _ = config;
    }

    /// Begins a batch. What is known of it at once goes to `replies`.
    fn invoke(&mut self, batch: Batch, now: Duration, replies: &mut Vec<Reply>);

    /// Takes back what has not begun of a batch, as [`Reply::Returned`]. May do nothing.
    fn reclaim(&mut self, batch_id: BatchId, replies: &mut Vec<Reply>) {
        let _ = (batch_id, replies);
    }

    /// How many batches make no progress while none does: they may all wait for calls that are to run here. Others
    /// run beside them then, until some go on.
    fn blocked(&mut self) -> usize {
        0
    }

    /// Stops a batch. Its tasks need no reply any more.
    fn cancel(&mut self, batch_id: BatchId, now: Duration);

    /// Stops what runs of a job anywhere; its batches are cancelled besides, one by one.
    fn cancel_job(&mut self, run: &Arc<str>) {
        let _ = run;
    }

    /// Moves replies that have come to `replies`. Gives the time after which it wants to be polled
    /// again though nobody rang.
    fn poll(&mut self, now: Duration, replies: &mut Vec<Reply>) -> Option<Duration>;
}
