//! What a scheduler is to know of AWS Lambda; the simulator tells its scheduler the same.

use std::time::Duration;

use crate::function::Backoff;
use crate::scheduler::{self, Probe, Speculation};

/// Invocations that wait for their response at once; further ones are events.
pub(crate) const DIRECT: usize = 64;

/// An event that was accepted waits in Lambda's queue while instances are started; later than this it
/// counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(120);

/// How often one task is refused for too much load before that is its failure: over an hour of pauses.
const REFUSALS: u32 = 1_000;

/// How long an invocation that is stopped may run on: its worker looks for the word every two seconds, in two places by
/// turns.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// What a scheduler is to know of Lambda, where no invocation takes longer than `longest`.
pub(crate) fn tune(config: &mut scheduler::SchedulerConfig, longest: Option<Duration>) {
    config.longest_batch = longest;
    config.lost_after = Some(LOST_AFTER);
    config.speculation = Some(Speculation { done_fraction: 0.75, factor: 4.0, at_least: Duration::from_secs(2) });
    config.throttle_attempts = REFUSALS;
    config.backoff = Backoff::new(Duration::from_millis(50)).longest(Duration::from_secs(10));
    // A request costs what some milliseconds of an instance cost, and takes about as long.
    config.batch = Duration::from_millis(500);
    config.least_batch = Duration::from_millis(50);
    config.probe = Some(Probe { batches: DIRECT / 2, wait: Duration::from_millis(300) });
    config.max_batch = 10_000;
    config.stops_within = STOPS_WITHIN;
}
