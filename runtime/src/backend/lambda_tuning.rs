//! Scheduler settings for AWS Lambda. The simulator uses the same settings.

use std::time::Duration;

use crate::function::Backoff;
use crate::scheduler::{self, Probe, Speculation};

/// Maximum number of invocations that wait for their response at once. Further ones are sent as events.
pub(crate) const DIRECT: usize = 64;

/// Time after which an accepted event counts as lost. Before, it may be waiting in Lambda's queue while instances
/// start.
const LOST_AFTER: Duration = Duration::from_secs(120);

/// Number of refusals for too much load after which a task fails: over an hour of pauses.
const REFUSALS: u32 = 1_000;

/// How long an invocation may keep running after it is stopped. Its worker looks for a stop mark in the store every two
/// seconds, alternately under two keys.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Adapts scheduler settings to Lambda, where no invocation runs longer than `longest`.
pub(crate) fn tune(config: &mut scheduler::SchedulerConfig, longest: Option<Duration>) {
    config.longest_batch = longest;
    config.lost_after = Some(LOST_AFTER);
    config.speculation = Some(Speculation { done_fraction: 0.75, factor: 4.0, at_least: Duration::from_secs(2) });
    config.throttle_attempts = REFUSALS;
    config.backoff = Backoff::new(Duration::from_millis(50)).longest(Duration::from_secs(10));
    // A request costs as much as some milliseconds of an instance, and takes about as long.
    config.batch = Duration::from_millis(500);
    config.least_batch = Duration::from_millis(50);
    config.probe = Some(Probe { batches: DIRECT / 2, wait: Duration::from_millis(300) });
    config.max_batch = 10_000;
    config.stops_within = STOPS_WITHIN;
}
