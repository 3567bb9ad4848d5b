//! Durations of a function's tasks, from the histories of jobs that ran here.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use wren::backend::is_lambda;
use wren::history::{Ended, JobSummary, Timeline};

use crate::commands::jobs;

/// Maximum number of durations that are kept. With more tasks, only every n-th one is kept.
const MOST: u64 = 50_000;

/// The measurements of a function.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) function: String,
    /// The ids of the measured jobs, latest first.
    pub(crate) jobs: Vec<String>,
    /// The backend of the latest job.
    pub(crate) backend: String,
    /// Number of measured attempts.
    pub(crate) count: u64,
    pub(crate) mean_s: f64,
    pub(crate) max_s: f64,
    /// Memory limit of a call.
    pub(crate) memory_mb: Option<u32>,
    /// Number of tasks in the latest job.
    pub(crate) tasks: Option<u64>,
    /// The durations, or a sample of them.
    #[serde(skip)]
    pub(crate) seconds: Vec<f64>,
}

/// Returns the functions with this name, or else those whose names end with it, such as `train` or `sweep::train`.
fn functions_called(wanted: &str, jobs: &[JobSummary]) -> Vec<String> {
    let ends = |name: &str| name.strip_suffix(wanted).is_some_and(|path| path.ends_with("::"));
    let all: BTreeSet<_> = jobs.iter().map(|job| job.function.as_str()).collect();
    match all.contains(wanted) {
        true => vec![wanted.to_owned()],
        false => all.into_iter().filter(|name| ends(name)).map(str::to_owned).collect(),
    }
}

impl Measured {
    /// Collects the measurements of a function. `of` is the name of the function or of one of its jobs; without it, the
    /// function of the latest job is used.
    pub(crate) fn find(directory: &Path, of: Option<&str>) -> Result<Self> {
        let all = jobs::all(directory)?;
        if all.is_empty() {
            bail!(
                "no job ran here; {} has no job histories; run a program first, or pass the duration of a task with \
                 --duration",
                directory.join("jobs").display()
            );
        }
        let function = match of {
            None => all[0].function.clone(),
            Some(wanted) => match &functions_called(wanted, &all)[..] {
                [one] => one.clone(),
                [] => {
                    jobs::find(all.clone(), wanted)
                        .with_context(|| format!("no job here ran a function that is called `{wanted}`"))?
                        .function
                }
                several => bail!("several functions are called `{wanted}`; choose one: {}", several.join(", ")),
            },
        };
        let measured: Vec<_> = all.iter().filter(|job| job.function == function && job.done > 0).collect();
        // The plan is for Lambda, so measurements from there are the best ones.
        let on_lambda: Vec<_> = measured.iter().copied().filter(|job| is_lambda(&job.backend)).collect();
        let chosen = if on_lambda.is_empty() { measured } else { on_lambda };
        Self::of(directory, &function, &chosen)
    }

    fn of(directory: &Path, function: &str, jobs: &[&JobSummary]) -> Result<Self> {
        let mut spans = Vec::new();
        let mut memory_mb = None;
        for job in jobs {
            // Skip a history that can no longer be read.
            let Ok(timeline) = Timeline::read(&jobs::folder(directory, job)) else { continue };
            memory_mb = memory_mb.or(timeline.about.memory_mb);
            let done = timeline.spans.iter().filter(|span| span.ended == Ended::Done && span.count() > 0);
            spans.extend(done.map(|span| {
                // Tasks of one event get equal shares of its time.
                (span.busy() as f64 / 1e6 / span.count() as f64, span.count())
            }));
        }
        let count: u64 = spans.iter().map(|(_, count)| count).sum();
        let (Some(first), true) = (jobs.first(), count > 0) else {
            bail!("no task of `{function}` has finished here; pass the duration of a task with --duration");
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

    /// Describes the measurements, with a warning if they are not from Lambda.
    pub(crate) fn description(&self) -> String {
        let jobs = if self.jobs.len() == 1 { "1 job".to_owned() } else { format!("{} jobs", self.jobs.len()) };
        let elsewhere = match is_lambda(&self.backend) {
            true => "",
            false => "; Lambda's processors may be slower, so measure there if it matters",
        };
        format!(
            "{} tasks of {} in {jobs} ({}), mean {:.3} s, maximum {:.3} s{elsewhere}",
            self.count, self.function, self.backend, self.mean_s, self.max_s
        )
    }
}
