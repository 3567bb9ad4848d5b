//! The settings of a scheduler, and the options of each job.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::attempt::TaskBlock;
use crate::function::Backoff;

/// The settings of a scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Batches that the backend accepts at once.
    pub slots: usize,
    /// Functions that run at once. Slots beyond this number hold batches that wait at the workers.
    pub workers: usize,
    /// Maximum number of attempts of a task when the machine or the store fails.
    pub attempts: u32,
    /// Pauses before retries. A function's own backoff replaces them after a failure of the function itself.
    pub backoff: Backoff,
    /// Number of refusals for too much load after which a task fails.
    pub throttle_attempts: u32,
    /// Target compute time of a batch: short calls are sent together.
    pub batch: Duration,
    /// Compute time below which batches are not made smaller to occupy more workers: about the overhead of one batch.
    pub least_batch: Duration,
    /// How a function of unknown duration starts; with `None`, all its batches start at once.
    pub probe: Option<Probe>,
    /// Maximum number of tasks in a batch of a job without [`JobSpec::chunk`].
    pub max_batch: u64,
    /// When to run a second copy of a task; `None` disables copies.
    pub speculation: Option<Speculation>,
    /// How long a batch may go without a reply, beyond its tasks' timeouts, before it counts as never started. `None`
    /// trusts the backend to account for every batch.
    pub lost_after: Option<Duration>,
    /// Longest time that a batch may take, whatever its number of tasks. It caps the sum of the tasks' timeouts in
    /// `lost_after`, and replaces it for tasks without a timeout.
    pub longest_batch: Option<Duration>,
    /// Price of one running function, in dollars per second.
    pub usd_per_second: fn(memory_mb: Option<u32>) -> f64,
    /// Maximum number of calls that one batch runs at once.
    pub calls_at_once: fn(memory_mb: Option<u32>) -> u64,
    /// How long a batch may keep running, and be paid for, after it is stopped.
    pub stops_within: Duration,
    /// Seed for the random part of pauses.
    pub seed: u64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            slots: 1,
            workers: 1,
            attempts: 3,
            backoff: Backoff::new(Duration::from_millis(10)).longest(Duration::from_secs(5)),
            throttle_attempts: 50,
            batch: Duration::from_millis(1),
            least_batch: Duration::ZERO,
            probe: None,
            max_batch: 32 << 10,
            speculation: None,
            lost_after: None,
            longest_batch: None,
            usd_per_second: |_| 0.0,
            calls_at_once: |_| 1,
            stops_within: Duration::from_millis(100),
            seed: 0,
        }
    }
}

impl SchedulerConfig {
    /// Returns how many calls a batch of `tasks` tasks of `block` runs at once.
    pub(super) fn at_once(&self, block: &TaskBlock, tasks: u64) -> u64 {
        tasks.min((self.calls_at_once)(block.limits().memory_mb).max(1))
    }
}

/// A few batches that are sent first, so that short calls do not start a thousand machines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// Number of batches to send first.
    pub batches: usize,
    /// How long the other batches wait for the first one to finish. Calls that take longer are worth a machine each.
    pub wait: Duration,
}

/// The conditions under which a straggler gets a second copy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speculation {
    /// Fraction of the job's tasks that must be done. Before that, a copy waits five times longer.
    pub done_fraction: f64,
    /// How many times its expected duration a batch must go without a reply.
    pub factor: f64,
    /// Minimum time that a batch must go without a reply in any case.
    pub at_least: Duration,
}

/// The options of a job.
#[derive(Debug, Clone, Default)]
pub struct JobSpec {
    /// Identifies the job's keys in the store, if its backend uses one. Random and unique.
    pub run: Option<Arc<str>>,
    /// Maximum number of calls that run at once.
    pub concurrency: Option<NonZeroUsize>,
    /// Tasks per batch; `None` derives the number from their duration.
    pub chunk: Option<NonZeroUsize>,
    /// Maximum cost, in dollars.
    pub budget_usd: Option<f64>,
}
