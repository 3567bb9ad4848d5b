//! Removes the temporary objects of a job with a shuffle when it ends.

use std::sync::Arc;

use super::Plan;
use super::outputs::Outputs;
use crate::store::{self, Requests, Store};

/// Removes the shuffle's objects when the job ends. Those of a named job that failed are kept for its next run.
pub(crate) struct CleanUp {
    store: Arc<dyn Store>,
    prefix: String,
    keep: bool,
    outputs: Option<Outputs>,
}

impl CleanUp {
    /// Creates the clean-up of a job. `outputs` are its outputs, if they go to files.
    pub(crate) fn of(plan: &Plan, outputs: Option<Outputs>) -> Self {
        let prefix = format!("{}/shuffle/", plan.id);
        Self { store: plan.store.clone(), prefix, keep: plan.settings.run.name.is_some(), outputs }
    }

    /// Cleans up after a job that succeeded.
    pub(crate) async fn done(mut self) {
        self.keep = true;
        remove_below(self.store.clone(), self.prefix.clone()).await;
    }
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Some(outputs) = &self.outputs {
            outputs.discard();
        }
        store::spawn_last(remove_below(self.store.clone(), self.prefix.clone()));
    }
}

/// Removes all objects below a prefix. Errors are ignored, because the removal of old jobs removes the remaining ones.
pub(crate) async fn remove_below(store: Arc<dyn Store>, prefix: String) {
    let _ = Requests::new(store).remove_below(prefix).await;
}
