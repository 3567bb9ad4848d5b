//! The `sim` backend: calls run for real, on threads of this process, and at the end of each job its
//! program is told what the job would have taken on Lambda.
//!
//! `sim:` takes the [`Model`] of today, `sim:pywren2017` another by its name. Tasks are as long as they
//! were here, so that a processor of Lambda's that is slower makes the job longer than is said.

use crate::aws::limits;
use crate::backend::{BackendScheme, inline};
use crate::error::Error;
use crate::history::Forecast;

use super::{Durations, Model, Workload, predict};

/// Runs that are simulated of a job.
const RUNS: usize = 5;

/// Durations that are kept; of more, every second or tenth.
const KEPT: usize = 20_000;

inventory::submit! {
    BackendScheme {
        scheme: "sim",
        open: |rest, setup| match model(rest) {
            Some(_) => Ok(inline::open(setup)),
            None => Err(Error::Config(format!(
                "no model of Lambda is called `{rest}`; use `sim:`, `sim:today` or `sim:pywren2017`"
            ))),
        },
    }
}

fn model(rest: &str) -> Option<Model> {
    Model::named(if rest.is_empty() { "today" } else { rest })
}

/// What is measured of a job that runs on this backend.
#[derive(Debug)]
pub(crate) struct Watch {
    model: Model,
    seconds: Vec<f64>,
    /// Of so many tasks one is kept.
    step: u64,
    tasks: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Watch {
    /// For a job on the backend of this URL, if that is `sim`.
    pub(crate) fn of(backend: &str) -> Option<Self> {
        let rest = backend.strip_prefix("sim")?;
        let model = model(rest.strip_prefix(':').unwrap_or(rest))?;
        Some(Self { model, seconds: Vec::new(), step: 1, tasks: 0, bytes_in: 0, bytes_out: 0 })
    }
}

impl Forecast for Watch {
    fn done(&mut self, count: u64, seconds: f64, bytes_in: usize, bytes_out: usize) {
        self.bytes_in += bytes_in as u64;
        self.bytes_out += bytes_out as u64;
        for task in self.tasks..self.tasks + count {
            if task.is_multiple_of(self.step) {
                self.seconds.push(seconds / count as f64);
            }
            if self.seconds.len() > KEPT {
                self.step *= 2;
                let mut index = 0;
                self.seconds.retain(|_| (index % 2 == 0, index += 1).0);
            }
        }
        self.tasks += count;
    }

    fn text(self: Box<Self>, memory_mb: Option<u32>) -> Option<String> {
        let tasks = self.tasks;
        if tasks == 0 {
            return None;
        }
        let work = Workload {
            durations: Durations::Samples(self.seconds),
            bytes_in: self.bytes_in / tasks,
            bytes_out: self.bytes_out / tasks,
            ..Workload::new(tasks, 0.0).with_memory(memory_mb.unwrap_or(limits::DEFAULT_MEMORY_MB))
        };
        let found = predict(&self.model, &work, RUNS, 0);
        let (wall, usd) = (found.wall_s, found.usd);
        Some(format!(
            "on AWS Lambda it would take about {:.1} s ({:.1} to {:.1}) and {:.4} USD, at {:.0}% of {} instances, limited \
             by {}: simulated with tasks as long as they were here",
            wall.middle,
            wall.low,
            wall.high,
            usd.middle,
            100.0 * found.efficiency.middle,
            found.most_at_once,
            found.limited_by().map_or("the tasks themselves", |limit| limit.name()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_thinned_evenly() {
        let mut watch = Watch::of("sim:").unwrap();
        (0..100_000_u32).for_each(|i| watch.done(1, f64::from(i) * 1e-6, 8, 8));
        assert!(watch.seconds.len() <= KEPT && watch.seconds.len() > KEPT / 4, "{}", watch.seconds.len());
        let mean = watch.seconds.iter().sum::<f64>() / watch.seconds.len() as f64;
        assert!((mean / 0.05 - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn what_a_job_would_take_is_said_in_words() {
        let mut watch = Watch::of("sim:").unwrap();
        (0..100).for_each(|_| watch.done(1, 0.5, 8, 8));
        let words = Box::new(watch).text(None).unwrap();
        assert!(words.starts_with("on AWS Lambda it would take about "), "{words}");
    }

    #[test]
    fn only_sim_is_watched() {
        assert!(Watch::of("sim").is_some() && Watch::of("sim:pywren2017").is_some());
        assert!(Watch::of("local").is_none() && Watch::of("sim:mars").is_none());
    }
}
