//! Outputs in a store: the earlier files are removed one by one, and a mark shows until then that the outputs are
//! incomplete.

use std::sync::Arc;

use crate::data::{INCOMPLETE, is_part};
use crate::error::{Error, Result};
use crate::store::{Requests, Store, StoreResult, find, find_size};

/// Returns the content of a job's mark.
fn mark_of(job: &str) -> String {
    format!("job {job}\n")
}

/// Returns the content of the mark in a store, if there is one.
fn mark_in(store: &dyn Store) -> StoreResult<Option<String>> {
    Ok(find(store, INCOMPLETE)?.map(|mark| String::from_utf8_lossy(&mark).into_owned()))
}

/// Checks that the mark in a store is that of the job, before an output is written there. If it is not, another job is
/// writing there, or has put its outputs there since.
///
/// # Errors
/// [`Error::Job`] if the mark is not that of the job, and [`Error::Store`] if the store fails.
pub(in crate::mapreduce) fn check_mark(store: &dyn Store, job: &str) -> Result<()> {
    let mark = mark_in(store)?;
    if mark.as_ref().is_some_and(|mark| *mark == mark_of(job)) {
        return Ok(());
    }
    Err(replaced(&store.url(), job, mark.as_deref()))
}

/// Returns the error of a job whose outputs another job has replaced. `mark` is the current content of the mark.
fn replaced(url: &str, job: &str, mark: Option<&str>) -> Error {
    let other = mark.map_or_else(|| "another job has written".to_owned(), |mark| format!("{} is writing", mark.trim()));
    Error::Job(format!(
        "{other} its outputs to {url} at the same time as job `{job}`; give each job its own folder, and run it again"
    ))
}

/// A folder in a store.
#[derive(Debug, Clone)]
pub(super) struct InStore {
    pub(super) store: Arc<dyn Store>,
    pub(super) job: String,
    /// Whether the job is named, so that other programs may run it too.
    pub(super) is_named: bool,
}

impl InStore {
    pub(super) async fn put_mark(&self) -> Result<()> {
        let mark = mark_of(&self.job).into_bytes();
        Requests::new(self.store.clone()).put(INCOMPLETE.to_owned(), mark).await
    }

    pub(super) async fn commit(&self, files: Vec<(String, u64)>) -> Result<bool> {
        let requests = Requests::new(self.store.clone());
        // If the mark is missing, another program has finished this job, or another job has put its outputs here.
        let mark = requests.make(|store| mark_in(store)).await?;
        if mark.as_ref().map_or(!self.is_named, |mark| *mark != mark_of(&self.job)) {
            return Err(replaced(&self.store.url(), &self.job, mark.as_deref()));
        }
        let key = |file: &str| file.rsplit('/').next().unwrap_or_default().to_owned();
        let wanted: Vec<(String, u64)> = files.iter().map(|(file, bytes)| (key(file), *bytes)).collect();
        let are_whole = requests.for_each(wanted.clone(), |store, (key, bytes)| {
            let size = find_size(store, &key)?;
            Ok(size == Some(bytes))
        });
        if are_whole.await?.contains(&false) {
            return Ok(false);
        }
        let mut old = requests.list("part-".to_owned()).await?;
        old.retain(|key| is_part(key) && !wanted.iter().any(|(wanted, _)| wanted == key));
        requests.remove(old).await?;
        // Remove the mark last: until then, there may be parts of an earlier job.
        requests.remove(vec![INCOMPLETE.to_owned()]).await?;
        Ok(true)
    }
}
