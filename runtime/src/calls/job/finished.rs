//! The finished tasks of a job, read from the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::arguments::EncodedCall;
use crate::error::Result;
use crate::executor::commit::manifest::{other_call, other_kind};
use crate::executor::commit::record::{CallHash, FailedRecord, Kind, Objects, cell_of, failed_key, failed_tasks};
use crate::store::{Requests, Store, wait};

/// The progress of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobProgress {
    /// Number of tasks.
    pub tasks: u64,
    /// Number of tasks that succeeded.
    pub done: u64,
    /// Number of tasks that failed permanently.
    pub failed: u64,
}

impl JobProgress {
    /// Whether all tasks are finished.
    pub fn is_over(&self) -> bool {
        self.done + self.failed >= self.tasks
    }
}

/// Tasks that are finished.
#[derive(Debug, Default)]
pub(super) struct FinishedTasks {
    pub(super) done: BTreeMap<u64, (Kind, CallHash)>,
    /// The tasks in each cell's own object, as bits, by the cell's first task.
    pub(super) decided: HashMap<u64, u64>,
    pub(super) failed: BTreeSet<u64>,
}

impl FinishedTasks {
    pub(super) async fn find(requests: &Requests, id: &str) -> Result<Self> {
        let failed = failed_tasks(requests, id).await?;
        let read = Objects::list(requests, id).await?.read(requests, id, |kind, done| (kind, done.call)).await?;
        Ok(Self { done: read.done, decided: read.decided.into_iter().collect(), failed })
    }

    /// Returns the number of tasks that failed and did not succeed later.
    fn failed(&self) -> u64 {
        self.failed.iter().filter(|task| !self.done.contains_key(task)).count() as u64
    }

    /// Returns the progress of a job of this many tasks.
    pub(super) fn progress(&self, tasks: u64) -> JobProgress {
        JobProgress { tasks, done: self.done.len() as u64, failed: self.failed() }
    }

    /// Rejects results of different calls.
    pub(super) fn check(&self, id: &str, store: &str, encoded: &[EncodedCall]) -> Result<()> {
        for (task, (kind, call)) in &self.done {
            match usize::try_from(*task).ok().and_then(|task| encoded.get(task)) {
                Some(encoded) if encoded.call != *call => {
                    return Err(other_call(id, store, *task, encoded.function.name));
                }
                Some(_) if *kind == Kind::Ref => return Err(other_kind(id, store, *task)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns the failures of a job, by task.
pub(super) async fn failures(requests: &Requests, id: &str) -> Result<BTreeMap<u64, FailedRecord>> {
    let tasks = failed_tasks(requests, id).await?;
    let id = id.to_owned();
    let read = move |store: &dyn Store, task| Ok((task, FailedRecord::read(store, &failed_key(&id, task))?));
    Ok(requests.for_each(tasks, read).await?.into_iter().collect())
}

/// Returns the result of a task of a named or started job, if the store has one.
pub(crate) fn stored_result(store: &Arc<dyn Store>, id: &str, task: u64) -> Option<Vec<u8>> {
    let requests = Requests::new(store.clone());
    let find = async {
        let objects = Objects::list(&requests, id).await?.of_cell(cell_of(task));
        objects.read(&requests, id, |_, done| done.result).await
    };
    wait(find).ok()?.done.remove(&task)
}
