//! Settings of one job.

use std::num::NonZeroUsize;

use crate::function::Limits;
use crate::platform;
use crate::scheduler::JobSpec;

/// How a job is to run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) chunk: Option<NonZeroUsize>,
    pub(crate) concurrency: Option<NonZeroUsize>,
    pub(crate) budget_usd: Option<f64>,
    pub(crate) quiet: bool,
    pub(crate) limits: Limits,
}

impl Settings {
    /// What the scheduler is told of a job with this id.
    pub(crate) fn spec(&self, id: &str) -> JobSpec {
        JobSpec {
            // A job can be run again: what another run left in a store is not this one's.
            run: Some(format!("{id}.{}", platform::new_id()).into()),
            concurrency: self.concurrency,
            chunk: self.chunk,
            budget_usd: self.budget_usd,
        }
    }
}
