//! Simulation of a job on AWS Lambda in virtual time, to predict its duration and cost.
//!
//! The scheduler is wren's own, set up as for Lambda. Lambda, S3 and the network are a [`Model`], whose numbers and
//! their sources are in one file. A seed decides everything random: equal arguments give equal results.
//!
//! ```
//! use wren::sim::{Model, Workload, predict};
//!
//! // A thousand calls of about ten seconds each, on a usual account, which allows a thousand executions at once.
//! let prediction = predict(&Model::today(), &Workload::new(1_000, 10.0), 5, 42);
//! assert!(prediction.wall_s.middle > 10.0 && prediction.wall_s.middle < 20.0);
//! println!("{:.1} s for {:.2} dollars", prediction.wall_s.middle, prediction.usd.middle);
//! ```
//!
//! A program with the backend `sim:` (`WREN_BACKEND=sim:`) runs its calls for real, on threads of its own process. At
//! the end of each job it prints a prediction of the job on Lambda.
//!
//! The simulation does not include other jobs of the same account, failures of the functions themselves, arguments that
//! the driver has to upload first, the time of the driver's own work, and the download of results to a distant driver.
//! Instances stay warm until the end of the job.

mod backend;
mod capacity;
mod model;
mod run;
#[cfg(test)]
mod tests;
mod world;

use std::time::Duration;

use serde::Serialize;

use crate::aws::limits;

pub(crate) use backend::JobForecast;
pub use model::{Limit, Model, Spread};
pub use run::{SimulatedRun, simulate};

/// Maximum relative error of the model with PyWren's parameters, compared to four launches that PyWren's authors
/// measured. A test checks it. Two of the parameters are fitted to these launches. The error for today's Lambda is
/// unknown, because nothing was measured there.
pub const STATED_ERROR: f64 = 0.1;

/// The durations of tasks, in seconds on an instance of ordinary speed.
#[derive(Debug, Clone, PartialEq)]
pub enum Durations {
    /// Random durations with this mean and deviation.
    Spread(Spread),
    /// One of these durations, each with the same probability; for example those of earlier tasks.
    Samples(Vec<f64>),
}

impl Durations {
    /// Draws samples with replacement (a bootstrap), so that predictions vary with the choice of the measured tasks.
    fn resampled(&self, random: &mut fastrand::Rng) -> Self {
        match self {
            Self::Samples(samples) if !samples.is_empty() => {
                Self::Samples((0..samples.len()).map(|_| samples[random.usize(..samples.len())]).collect())
            }
            other => other.clone(),
        }
    }

    /// Returns the duration of a task, which depends only on the seed and the task.
    fn of(&self, seed: u64, task: u64) -> f64 {
        // Fibonacci hashing: neighbouring tasks get seeds that are far apart.
        let mut random = fastrand::Rng::with_seed(seed ^ task.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        match self {
            Self::Spread(spread) => spread.draw(&mut random),
            Self::Samples(samples) if samples.is_empty() => 0.0,
            Self::Samples(samples) => samples[random.usize(..samples.len())].max(0.0),
        }
    }
}

/// A job to simulate.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Workload {
    /// Number of tasks.
    pub tasks: u64,
    /// Durations of the tasks.
    pub durations: Durations,
    /// Memory of the function, in MB of 2^20 bytes.
    pub memory_mb: u32,
    /// Size of a task's encoded arguments, in bytes.
    pub bytes_in: u64,
    /// Size of a task's encoded result, in bytes.
    pub bytes_out: u64,
    /// The `timeout` of the function; `None` means Lambda's maximum. A task that would take longer ends at the timeout
    /// and counts as done, because failures of the functions themselves are not simulated.
    pub timeout: Option<Duration>,
    /// Tasks per batch, as set by [`chunk`](crate::Map::chunk); `None` derives the number from their duration.
    pub chunk: Option<usize>,
}

impl Workload {
    /// Creates a job of `tasks` tasks that take `seconds` each, with the default memory and with small arguments and
    /// results.
    pub fn new(tasks: u64, seconds: f64) -> Self {
        Self {
            tasks,
            durations: Durations::Spread(Spread::new(seconds, 0.0)),
            memory_mb: limits::DEFAULT_MEMORY_MB,
            bytes_in: 100,
            bytes_out: 100,
            timeout: None,
            chunk: None,
        }
    }

    /// Creates a job of `tasks` tasks, each as long as one of the measured durations, in seconds.
    pub fn measured(tasks: u64, seconds: Vec<f64>) -> Self {
        Self { durations: Durations::Samples(seconds), ..Self::new(tasks, 0.0) }
    }

    /// Returns the same job with another memory size.
    pub fn with_memory(self, memory_mb: u32) -> Self {
        Self { memory_mb, ..self }
    }
}

/// The distribution of a value over several simulated runs: 5% of them are below `low` and 5% above `high`. Percentiles
/// are interpolated if there are few runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The 5th percentile.
    pub low: f64,
    /// The median.
    pub middle: f64,
    /// The 95th percentile.
    pub high: f64,
}

impl Interval {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * values.len().saturating_sub(1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            let value = |i: usize| values.get(i).copied().unwrap_or_default();
            value(below) + (value(above) - value(below)) * place.fract()
        };
        Self { low: at(0.05), middle: at(0.5), high: at(0.95) }
    }
}

/// The predicted duration and cost of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Prediction {
    /// Number of simulated runs.
    pub runs: usize,
    /// Seconds from start to end.
    pub wall_s: Interval,
    /// Cost of Lambda and S3 together, in dollars.
    pub usd: Interval,
    /// See [`SimulatedRun::efficiency`].
    pub efficiency: Interval,
    /// Maximum number of executions at once, over all runs.
    pub most_at_once: usize,
    /// Mean number of instances that were started.
    pub instances: f64,
    /// Mean number of batches that were sent.
    pub invocations: f64,
    /// Mean number of times that Lambda had no capacity for a batch.
    pub refused: f64,
    /// Mean number of attempts that were repeated.
    pub retried: f64,
    /// Tasks that failed permanently, in all runs.
    pub failed: u64,
    /// Duration of the first run without each of the limits, the limit with the largest effect first. The concurrency
    /// limit is multiplied by ten instead of removed.
    pub without: Vec<Without>,
}

/// The duration of a job without one of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Without {
    /// The limit.
    pub limit: Limit,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Seconds of the run's wall time that the limit causes.
    pub saved_s: f64,
}

impl Prediction {
    /// Returns the limit with the largest effect on the duration, or `None` if no limit causes more than 2% of it. In
    /// that case, the tasks themselves determine the duration.
    pub fn limited_by(&self) -> Option<Limit> {
        self.without.first().filter(|most| most.saved_s > 0.02 * self.wall_s.middle).map(|most| most.limit)
    }
}

/// Simulates `runs` runs (at least one), starting from one seed, and summarizes them.
pub fn predict(model: &Model, work: &Workload, runs: usize, seed: u64) -> Prediction {
    let runs: Vec<SimulatedRun> =
        (0..runs.max(1) as u64).map(|run| simulate(model, work, seed.wrapping_add(run))).collect();
    let interval = |value: fn(&SimulatedRun) -> f64| Interval::of(runs.iter().map(value).collect());
    let mean = |value: fn(&SimulatedRun) -> u64| runs.iter().map(value).sum::<u64>() as f64 / runs.len() as f64;
    let mut without: Vec<_> = Limit::ALL
        .into_iter()
        .map(|limit| {
            let wall_s = simulate(&limit.lifted(model), work, seed).wall_s;
            Without { limit, wall_s, saved_s: (runs[0].wall_s - wall_s).max(0.0) }
        })
        .collect();
    without.sort_by(|a, b| b.saved_s.total_cmp(&a.saved_s));
    Prediction {
        wall_s: interval(|run| run.wall_s),
        usd: interval(|run| run.usd),
        efficiency: interval(SimulatedRun::efficiency),
        most_at_once: runs.iter().map(|run| run.most_at_once).max().unwrap_or(0),
        instances: mean(|run| run.instances),
        invocations: mean(|run| run.invocations),
        refused: mean(|run| run.refused + run.requeued),
        retried: mean(|run| run.retried),
        failed: runs.iter().map(|run| run.failed).sum(),
        runs: runs.len(),
        without,
    }
}
