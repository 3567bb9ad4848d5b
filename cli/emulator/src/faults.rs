//! What goes wrong on purpose.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Faults that the emulator makes, each with its probability or length.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Milliseconds before every answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Part of the invocations and objects that are refused with 429 or 503
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    throttle: f64,
    /// Part of the events that are delivered twice
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    duplicate: f64,
    /// Part of the invocations whose instance is killed, and of the events that are never delivered
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    lose: f64,
    /// Seconds that this machine's clock is behind that of the services, but for S3; more than 900 are refused there
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    clock: u64,
    /// Seed of the faults; by default another each time
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn part(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1.0).contains(&part) { Ok(part) } else { Err(format!("{part} is no part: it lies between 0 and 1")) }
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

    /// The time, as the services but S3 have it.
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

    /// For events, which are lost in two ways: each takes a half.
    pub(super) fn loses_half(&self) -> bool {
        self.happens(self.options.lose / 2.0)
    }

    /// A random moment in a time.
    pub(super) fn moment(&self, time: Duration) -> Duration {
        time.mul_f64(self.random.lock().unwrap_or_else(PoisonError::into_inner).f64())
    }

    fn happens(&self, part: f64) -> bool {
        part > 0.0 && self.random.lock().unwrap_or_else(PoisonError::into_inner).f64() < part
    }
}
