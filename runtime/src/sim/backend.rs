//! The `sim` backend: calls run for real, on threads of this process. At the end of each job, the program prints a
//! prediction of the job on Lambda.
//!
//! `sim:` uses the [`Model`] of today's Lambda, and `sim:pywren2017` uses another by its name. Simulated tasks take as
//! long as they did on this machine. If Lambda's processors are slower, the real job takes longer than predicted.

use crate::aws::limits;
use crate::backend::{BackendScheme, inline};
use crate::error::Error;
use crate::history::Forecast;

use super::{Durations, Model, Workload, predict};

/// Number of simulated runs of a job.
const RUNS: usize = 5;

/// Maximum number of durations that are kept. When there are more, every second one is dropped.
const KEPT: usize = 20_000;

inventory::submit! {
    BackendScheme {
        scheme: "sim",
        open: |rest, setup| match model(rest) {
            Some(_) => Ok(inline::open(setup)),
            None => Err(Error::Config(format!(
                "unknown Lambda model `{rest}`; use `sim:`, `sim:today` or `sim:pywren2017`"
            ))),
        },
    }
}

fn model(rest: &str) -> Option<Model> {
    Model::named(if rest.is_empty() { "today" } else { rest })
}

/// Measurements of a job that runs on this backend.
#[derive(Debug)]
pub(crate) struct JobForecast {
    model: Model,
    seconds: Vec<f64>,
    /// The duration of one in this many tasks is kept.
    step: u64,
    tasks: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl JobForecast {
    /// Starts to measure a job, or returns `None` if the URL of its backend is not that of `sim`.
    pub(crate) fn of(backend: &str) -> Option<Self> {
        let rest = backend.strip_prefix("sim")?;
        let model = model(rest.strip_prefix(':').unwrap_or(rest))?;
        Some(Self { model, seconds: Vec::new(), step: 1, tasks: 0, bytes_in: 0, bytes_out: 0 })
    }
}

impl Forecast for JobForecast {
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
            "on AWS Lambda this job would take about {:.1} s ({:.1} to {:.1}) and cost {:.4} USD, at {:.0}% efficiency \
             on {} instances, limited by {}; simulated with the task durations measured here",
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
        let mut watch = JobForecast::of("sim:").unwrap();
        (0..100_000_u32).for_each(|i| watch.done(1, f64::from(i) * 1e-6, 8, 8));
        assert!(watch.seconds.len() <= KEPT && watch.seconds.len() > KEPT / 4, "{}", watch.seconds.len());
        let mean = watch.seconds.iter().sum::<f64>() / watch.seconds.len() as f64;
        assert!((mean / 0.05 - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn a_jobs_predicted_time_is_printed() {
        let mut watch = JobForecast::of("sim:").unwrap();
        (0..100).for_each(|_| watch.done(1, 0.5, 8, 8));
        let text = Box::new(watch).text(None).unwrap();
        assert!(text.starts_with("on AWS Lambda this job would take about "), "{text}");
    }

    #[test]
    fn only_sim_is_watched() {
        assert!(JobForecast::of("sim").is_some() && JobForecast::of("sim:pywren2017").is_some());
        assert!(JobForecast::of("local").is_none() && JobForecast::of("sim:mars").is_none());
    }
}
