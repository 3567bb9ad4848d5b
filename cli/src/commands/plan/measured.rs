//! How long tasks of a function took, from the logs of jobs that ran here.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use wren::backend::is_lambda;
use wren::history::{Ended, JobSummary, Phase, Timeline};

use crate::commands::jobs;

/// So many durations are kept; with more, every second or tenth task is.
const MOST: u64 = 50_000;

/// What was measured of a function.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) function: String,
    /// The jobs that it was measured in, the latest first.
    pub(crate) jobs: Vec<String>,
    /// Where they ran.
    pub(crate) backend: String,
    /// Executions that were measured.
    pub(crate) count: u64,
    pub(crate) mean_s: f64,
    pub(crate) max_s: f64,
    /// What a call of the function may use.
    pub(crate) memory_mb: Option<u32>,
    /// Tasks of the latest of the jobs.
    pub(crate) tasks: Option<u64>,
    /// The durations, or some of them.
    #[serde(skip)]
    pub(crate) seconds: Vec<f64>,
}

impl Measured {
    /// What is known of a function, named by itself or by one of its jobs; of the latest job's without a
    /// name.
    pub(crate) fn find(directory: &Path, of: Option<&str>) -> Result<Self> {
        let all = jobs::all(directory)?;
        if all.is_empty() {
            bail!(
                "no job ran here; {} has no logs: run a program first, or say by --duration how long a task takes",
                directory.join("jobs").display()
            );
        }
        let has_function = |name: &str| all.iter().any(|job| job.function == name);
        let function = match of {
            None => all[0].function.clone(),
            Some(name) if has_function(name) => name.to_owned(),
            Some(wanted) => jobs::find(all.clone(), wanted)?.function,
        };
        let of_it: Vec<_> = all.iter().filter(|job| job.function == function && job.done > 0).collect();
        // What was measured where the job will run is worth more than anything else.
        let on_lambda: Vec<_> = of_it.iter().copied().filter(|job| is_lambda(&job.backend)).collect();
        let chosen = if on_lambda.is_empty() { of_it } else { on_lambda };
        Self::of(directory, &function, &chosen)
    }

    fn of(directory: &Path, function: &str, jobs: &[&JobSummary]) -> Result<Self> {
        let mut spans = Vec::new();
        let mut memory_mb = None;
        for job in jobs {
            // A log that cannot be read any more tells nothing.
            let Ok(timeline) = Timeline::read(&jobs::folder(directory, job)) else { continue };
            memory_mb = memory_mb.or(timeline.about.memory_mb);
            let done = timeline.spans.iter().filter(|span| span.ended == Ended::Done && span.count() > 0);
            spans.extend(done.map(|span| {
                let compute = span.phase(Phase::Compute);
                // Tasks that were logged together count as equal.
                ((compute.end - compute.start) as f64 / 1e6 / span.count() as f64, span.count())
            }));
        }
        let count: u64 = spans.iter().map(|(_, count)| count).sum();
        let (Some(first), true) = (jobs.first(), count > 0) else {
            bail!("no task of `{function}` has ended here; say by --duration how long one takes");
        };
        let step = count.div_ceil(MOST);
        let each = spans.iter().flat_map(|(seconds, count)| std::iter::repeat_n(*seconds, *count as usize));
        Ok(Self {
            function: function.to_owned(),
            jobs: jobs.iter().map(|job| job.id.clone()).collect(),
            backend: first.backend.clone(),
            count,
            mean_s: spans.iter().map(|(seconds, count)| seconds * *count as f64).sum::<f64>() / count as f64,
            max_s: spans.iter().map(|(seconds, _)| *seconds).fold(0.0, f64::max),
            memory_mb,
            tasks: first.tasks.or(Some(first.done)),
            seconds: each.step_by(step as usize).collect(),
        })
    }

    /// In words, with a warning where the tasks ran elsewhere than the job will.
    pub(crate) fn words(&self) -> String {
        let jobs = if self.jobs.len() == 1 { "1 job".to_owned() } else { format!("{} jobs", self.jobs.len()) };
        let elsewhere = match is_lambda(&self.backend) {
            true => "",
            false => "; a processor of Lambda's may be slower, so measure there if it matters",
        };
        format!(
            "{} tasks of {} in {jobs} ({}), {:.3} s in the mean and {:.3} s at most{elsewhere}",
            self.count, self.function, self.backend, self.mean_s, self.max_s
        )
    }
}
