//! Injected faults.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Faults to inject, each with its probability or length.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Delay before every answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = whole)]
    latency: u64,
    /// Fraction of invocations and S3 requests to refuse with 429 or 503
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    throttle: f64,
    /// Fraction of events to deliver twice
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    duplicate: f64,
    /// Fraction of invocations and events to lose: the instance is killed, or the event is never delivered
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    lose: f64,
    /// Seconds by which this machine's clock seems slow to all services except S3, which refuse 900 or more
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = whole)]
    clock: u64,
    /// Seed of the faults; random by default
    #[arg(long, value_name = "N", value_parser = whole)]
    seed: Option<u64>,
}

fn part(text: &str) -> Result<f64, String> {
    let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| "expected a number from 0 to 1, such as 0.05".to_owned())
}

fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a whole number, such as 100".to_owned())
}

/// Decides which faults happen.
#[derive(Debug)]
pub(crate) struct Faults {
    options: Options,
    random: Mutex<fastrand::Rng>,
}

impl Faults {
    pub(crate) fn new(options: Options) -> Self {
        let random = options.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        Self { options, random: Mutex::new(random) }
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_millis(self.options.latency)
    }

    /// Returns the time of all services except S3.
    pub(super) fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_add(Duration::from_secs(self.options.clock)).unwrap_or(now)
    }

    pub(super) fn throttles(&self) -> bool {
        self.happens(self.options.throttle)
    }

    pub(super) fn duplicates(&self) -> bool {
        self.happens(self.options.duplicate)
    }

    pub(super) fn loses(&self) -> bool {
        self.happens(self.options.lose)
    }

    /// Whether an event is lost in one of the two ways. Each has half of the probability.
    pub(super) fn loses_half(&self) -> bool {
        self.happens(self.options.lose / 2.0)
    }

    /// Returns a random duration from zero to `time`.
    pub(super) fn moment(&self, time: Duration) -> Duration {
        time.mul_f64(self.random.lock().unwrap_or_else(PoisonError::into_inner).f64())
    }

    fn happens(&self, part: f64) -> bool {
        part > 0.0 && self.random.lock().unwrap_or_else(PoisonError::into_inner).f64() < part
    }
}
