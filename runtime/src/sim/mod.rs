//! What a job would take on AWS Lambda and cost there, simulated in virtual time.
//!
//! The scheduler is wren's own, as it drives Lambda; Lambda, S3 and the network are a [`Model`], whose
//! numbers and their sources are in one file. Everything is decided by a seed: equal arguments give equal
//! answers.
//!
//! ```
//! use wren::sim::{Model, Workload, predict};
//!
//! // A thousand calls of about ten seconds each, with the thousand executions at once of a usual account.
//! let prediction = predict(&Model::today(), &Workload::new(1_000, 10.0), 5, 42);
//! assert!(prediction.wall_s.middle > 10.0 && prediction.wall_s.middle < 20.0);
//! println!("{:.1} s for {:.2} dollars", prediction.wall_s.middle, prediction.usd.middle);
//! ```
//!
//! A program whose backend is `sim:` (`WREN_BACKEND=sim:`) runs its calls for real, on threads of its own
//! process, and says at the end of each job what the job would have taken on Lambda.
//!
//! What is not in it: other jobs of the same account, failures of functions themselves, arguments that
//! the driver has to upload first, the time of the driver's own work, and results that a driver far
//! away downloads. Instances stay warm to the end of the job.

mod backend;
mod model;
mod run;
#[cfg(test)]
mod tests;
mod world;

use std::time::Duration;

use serde::Serialize;

use crate::aws::limits;

pub(crate) use backend::Watch;
pub use model::{Limit, Model, Spread};
pub use run::{SimulatedRun, simulate};

/// How far the model with the parameters of PyWren is from four launches that its authors measured, at
/// most, as a part of the measured time; a test holds it to that. Two of its parameters are fitted to
/// them, and nothing says that it is as near to today's Lambda, where nothing was measured.
pub const STATED_ERROR: f64 = 0.1;

/// How long a task takes, in seconds on an instance of ordinary speed.
#[derive(Debug, Clone, PartialEq)]
pub enum Durations {
    /// So long.
    Spread(Spread),
    /// As long as one of these, each as likely; for instance what earlier tasks took.
    Samples(Vec<f64>),
}

impl Durations {
    /// One of the durations that might have been measured instead (a bootstrap), so that a prediction
    /// shows how much depends on which tasks were measured.
    fn resampled(&self, random: &mut fastrand::Rng) -> Self {
        match self {
            Self::Samples(samples) if !samples.is_empty() => {
                Self::Samples((0..samples.len()).map(|_| samples[random.usize(..samples.len())]).collect())
            }
            other => other.clone(),
        }
    }

    /// What a task takes: the same each time that it is asked.
    fn of(&self, seed: u64, task: u64) -> f64 {
        // Fibonacci hashing: neighbours get seeds that are far apart.
        let mut random = fastrand::Rng::with_seed(seed ^ task.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        match self {
            Self::Spread(spread) => spread.draw(&mut random),
            Self::Samples(samples) if samples.is_empty() => 0.0,
            Self::Samples(samples) => samples[random.usize(..samples.len())].max(0.0),
        }
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Workload {
    /// How many tasks.
    pub tasks: u64,
    /// How long each takes.
    pub durations: Durations,
    /// Memory of the function, in MB of 2^20 bytes.
    pub memory_mb: u32,
    /// Encoded arguments of a task, in bytes.
    pub bytes_in: u64,
    /// Encoded result of a task, in bytes.
    pub bytes_out: u64,
    /// The `timeout` of the function; Lambda's own where there is none. A task that would take longer ends
    /// then, and counts as done: what fails in itself is not simulated.
    pub timeout: Option<Duration>,
    /// Tasks of one invocation, as [`chunk`](crate::Map::chunk) says; by their duration where none.
    pub chunk: Option<usize>,
}

impl Workload {
    /// So many tasks of so many seconds each, with the memory that functions have which state none and with
    /// small arguments and results.
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

    /// So many tasks, each as long as one of those measured, in seconds.
    pub fn measured(tasks: u64, seconds: Vec<f64>) -> Self {
        Self { durations: Durations::Samples(seconds), ..Self::new(tasks, 0.0) }
    }

    /// The same with another memory.
    pub fn with_memory(self, memory_mb: u32) -> Self {
        Self { memory_mb, ..self }
    }
}

/// What several simulated runs say together: 5% of them are below `low` and 5% above `high`, by
/// interpolation where there are few.
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

/// What a job would take.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Prediction {
    /// How many runs were simulated.
    pub runs: usize,
    /// Seconds from begin to end.
    pub wall_s: Interval,
    /// Dollars, of Lambda and S3 together.
    pub usd: Interval,
    /// See [`SimulatedRun::efficiency`].
    pub efficiency: Interval,
    /// Executions at once at most.
    pub most_at_once: usize,
    /// Instances that were started, in the mean.
    pub instances: f64,
    /// Invocations that were sent, in the mean.
    pub invocations: f64,
    /// Times that Lambda had no room for an invocation, in the mean.
    pub refused: f64,
    /// Executions that were repeated, in the mean.
    pub retried: f64,
    /// Tasks that failed for good, of all runs.
    pub failed: u64,
    /// How long the first of the runs would have taken without each of the limits, the one that costs most
    /// first. With ten times the concurrency, where that is the limit.
    pub without: Vec<Without>,
}

/// A job without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Without {
    /// The limit.
    pub limit: Limit,
    /// Seconds from begin to end.
    pub wall_s: f64,
    /// How many seconds of the run's wall time are by the limit.
    pub saved_s: f64,
}

impl Prediction {
    /// What most keeps the job from being shorter; none where no limit costs 2% of it: the tasks
    /// themselves do.
    pub fn limited_by(&self) -> Option<Limit> {
        self.without.first().filter(|most| most.saved_s > 0.02 * self.wall_s.middle).map(|most| most.limit)
    }
}

/// Simulates so many runs, from one seed, and says what they have in common.
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
