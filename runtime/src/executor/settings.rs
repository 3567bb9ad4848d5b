//! Settings of one job.

use std::num::NonZeroUsize;

use crate::function::Limits;
use crate::history::Stage;
use crate::platform;
use crate::scheduler::JobSpec;

/// Options for running a job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) chunk: Option<NonZeroUsize>,
    pub(crate) concurrency: Option<NonZeroUsize>,
    pub(crate) budget_usd: Option<f64>,
    pub(crate) quiet: bool,
    pub(crate) limits: Limits,
    /// The computation that the job is a stage of.
    pub(crate) stage: Option<Stage>,
}

impl Settings {
    /// Returns the scheduler's description of a job with this id.
    pub(crate) fn spec(&self, id: &str) -> JobSpec {
        JobSpec {
            // A job can be run again: the random part separates its objects in the store from those of other runs.
            run: Some(format!("{id}.{}", platform::new_id()).into()),
            concurrency: self.concurrency,
            chunk: self.chunk,
            budget_usd: self.budget_usd,
        }
    }
}
