//! The format of results in the store.
//!
//! There are two kinds of keys under `<job>/done/`. The tasks of a job are grouped in cells of [`CELL`] consecutive
//! tasks. The first process that commits a result of a cell writes the cell's own object, with all results of the cell
//! that it has: `<job>/done/<first task>-<last task>`. Each later result is an object of its own: `<job>/done/<task>`.
//! Every object is put only if it is absent, and a process writes the object of a single result only after it has
//! written or read the cell's object. So only one result of a task is ever visible, even if several processes run the
//! job at the same time, and many small results that arrive together take one request.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{self, envelope};
use crate::error::{Failure, Result};
use crate::store::{Ref, Requests, Store, StoreError, StoreResult, wait};

/// Number of tasks in a cell: one for each bit of a `u64`.
const CELL: u64 = 64;

/// BLAKE3 of a call's function, body and arguments.
pub(crate) type CallHash = [u8; 32];

/// Returns the first task of a task's cell.
pub(crate) fn cell_of(task: u64) -> u64 {
    task - task % CELL
}

/// Returns the tasks of the cell that begins with `first`.
pub(crate) fn tasks_of(first: u64) -> Range<u64> {
    first..first.saturating_add(CELL)
}

/// Returns the bit of a task in its cell.
pub(crate) fn bit(task: u64) -> u64 {
    1 << (task % CELL)
}

fn done_prefix(id: &str) -> String {
    format!("{id}/done/")
}

/// Returns the key of a cell's own object.
pub(crate) fn cell_key(id: &str, first: u64) -> String {
    format!("{id}/done/{first:012}-{:012}", first.saturating_add(CELL - 1))
}

/// Returns the key of the object of a single result.
pub(crate) fn done_key(id: &str, task: u64) -> String {
    format!("{id}/done/{task:012}")
}

pub(crate) fn failed_prefix(id: &str) -> String {
    format!("{id}/failed/")
}

pub(crate) fn failed_key(id: &str, task: u64) -> String {
    format!("{id}/failed/{task:012}")
}

pub(crate) fn cancel_key(id: &str) -> String {
    format!("{id}/cancel")
}

/// The kind of a stored result: the value that the function returned, or a reference to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Value,
    Ref,
}

/// The result of a task, and the hash of the call that returned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) task: u64,
    pub(crate) call: CallHash,
    pub(crate) result: Vec<u8>,
}

/// Results of tasks of one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) done: Vec<Done>,
}

/// A [`Record`] as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    kind: Kind,
    tasks: Vec<u64>,
    /// The hashes of the calls, 32 bytes for each task.
    #[serde(with = "codec::bytes")]
    calls: Vec<u8>,
    /// Where each result ends in `results`.
    ends: Vec<u64>,
    #[serde(with = "codec::bytes")]
    results: Vec<u8>,
}

impl Record {
    pub(crate) fn seal(&self) -> Result<Vec<u8>> {
        let mut stored =
            Stored { kind: self.kind, tasks: Vec::new(), calls: Vec::new(), ends: Vec::new(), results: Vec::new() };
        for Done { task, call, result } in &self.done {
            stored.tasks.push(*task);
            stored.calls.extend_from_slice(call);
            stored.results.extend_from_slice(result);
            stored.ends.push(stored.results.len() as u64);
        }
        Ok(envelope::seal(&stored)?)
    }

    fn open(sealed: &[u8]) -> std::result::Result<Self, String> {
        let Stored { kind, tasks, calls, ends, results } = envelope::open(sealed)?;
        let (calls, rest) = calls.as_chunks::<32>();
        if !rest.is_empty() || calls.len() != tasks.len() || ends.len() != tasks.len() {
            return Err("its lists differ in length".to_owned());
        }
        let mut start = 0;
        let done = tasks.into_iter().zip(calls).zip(ends).map(|((task, call), end)| {
            let end = usize::try_from(end).map_err(|_| "a result is out of range".to_owned())?;
            let result = results.get(start..end).ok_or("a result is out of range")?.to_vec();
            start = end;
            Ok(Done { task, call: *call, result })
        });
        Ok(Self { kind, done: done.collect::<std::result::Result<_, String>>()? })
    }

    fn read(store: &dyn Store, key: &str) -> StoreResult<Self> {
        let sealed = wait(store.get(key))?;
        Self::open(&sealed).map_err(|reason| damaged(store, key, reason))
    }

    /// Reads a cell's own object.
    pub(crate) fn read_cell(store: &dyn Store, id: &str, first: u64) -> StoreResult<Self> {
        let key = cell_key(id, first);
        let record = Self::read(store, &key)?;
        match record.done.iter().all(|done| cell_of(done.task) == first) {
            true => Ok(record),
            false => Err(damaged(store, &key, "it has results of other tasks".to_owned())),
        }
    }

    /// Reads the object of a single result.
    pub(crate) fn read_one(store: &dyn Store, id: &str, task: u64) -> StoreResult<(Kind, Done)> {
        let key = done_key(id, task);
        let Self { kind, done } = Self::read(store, &key)?;
        match <[Done; 1]>::try_from(done) {
            Ok([done]) if done.task == task => Ok((kind, done)),
            _ => Err(damaged(store, &key, "it has the result of another task".to_owned())),
        }
    }

    /// Returns the record's tasks, as the bits of a cell.
    pub(crate) fn tasks(&self) -> u64 {
        self.done.iter().fold(0, |tasks, done| tasks | bit(done.task))
    }
}

pub(crate) fn damaged(store: &dyn Store, key: &str, reason: String) -> StoreError {
    StoreError::Damaged { store: store.url(), key: key.to_owned(), reason }
}

/// The stored failure of a task of a started job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FailedRecord {
    pub(crate) attempt: u32,
    pub(crate) function: String,
    pub(crate) failure: Failure,
    pub(crate) stderr: String,
}

impl FailedRecord {
    pub(crate) fn read(store: &dyn Store, key: &str) -> StoreResult<Self> {
        let sealed = wait(store.get(key))?;
        envelope::open(&sealed).map_err(|reason| damaged(store, key, reason))
    }
}

/// The objects of results that a job has in the store.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    /// First tasks of the cells that have an object of their own.
    cells: BTreeSet<u64>,
    /// Tasks that have an object of their own.
    tasks: BTreeSet<u64>,
}

impl Objects {
    pub(crate) async fn list(requests: &Requests, id: &str) -> Result<Self> {
        let prefix = done_prefix(id);
        let mut objects = Self::default();
        for key in requests.list(prefix.clone()).await? {
            let Some(name) = key.strip_prefix(&prefix) else { continue };
            match name.split_once('-') {
                None => objects.tasks.extend(name.parse::<u64>()),
                Some((first, _)) => objects.cells.extend(first.parse::<u64>().ok().filter(|first| first % CELL == 0)),
            }
        }
        Ok(objects)
    }

    /// Whether the result of a task may be in one of the objects.
    pub(crate) fn may_have(&self, task: u64) -> bool {
        self.cells.contains(&cell_of(task)) || self.tasks.contains(&task)
    }

    /// Returns the objects of one cell.
    pub(crate) fn of_cell(&self, first: u64) -> Self {
        Self {
            cells: self.cells.get(&first).copied().into_iter().collect(),
            tasks: self.tasks.range(tasks_of(first)).copied().collect(),
        }
    }

    /// Reads all results, and converts each with `take`.
    pub(crate) async fn read<T: Send + 'static>(
        self,
        requests: &Requests,
        id: &str,
        take: impl Fn(Kind, Done) -> T + Clone + Send + Sync + 'static,
    ) -> Result<Read<T>> {
        let mut read = Read { decided: BTreeMap::new(), done: BTreeMap::new() };
        let of_job: Arc<str> = id.into();
        let (job, make) = (of_job.clone(), take.clone());
        let cells = requests.for_each(self.cells, move |store, first| {
            let record = Record::read_cell(store, &job, first)?;
            let decided = record.tasks();
            let done: Vec<_> = record.done.into_iter().map(|done| (done.task, make(record.kind, done))).collect();
            Ok((first, decided, done))
        });
        for (first, decided, done) in cells.await? {
            read.decided.insert(first, decided);
            read.done.extend(done);
        }
        // The cell's object comes first: a result of the same task in an object of its own was never visible.
        let tasks: Vec<u64> = self.tasks.into_iter().filter(|task| !read.done.contains_key(task)).collect();
        let singles = requests.for_each(tasks, move |store, task| {
            let (kind, done) = Record::read_one(store, &of_job, task)?;
            Ok((task, take(kind, done)))
        });
        read.done.extend(singles.await?);
        Ok(read)
    }
}

/// The results that [`Objects::read`] found.
#[derive(Debug)]
pub(crate) struct Read<T> {
    /// The tasks in each cell's own object, as bits, by the cell's first task.
    pub(crate) decided: BTreeMap<u64, u64>,
    pub(crate) done: BTreeMap<u64, T>,
}

/// Returns the hashes of the values that a job's results refer to.
pub(crate) async fn refs_of(requests: &Requests, id: &str) -> Result<BTreeSet<[u8; 32]>> {
    let hash = |kind, done: Done| match kind {
        Kind::Ref => codec::decode::<Ref<()>>(&done.result).ok().map(|value| value.hash()),
        Kind::Value => None,
    };
    let read = Objects::list(requests, id).await?.read(requests, id, hash).await?;
    Ok(read.done.into_values().flatten().collect())
}

/// Removes the results of some tasks of a cell. Returns the tasks that are left in the cell's own object. If none are
/// left, the object is removed and 0 is returned.
pub(crate) async fn forget(requests: &Requests, id: &str, first: u64, tasks: &BTreeSet<u64>) -> Result<u64> {
    let (id, tasks) = (id.to_owned(), tasks.clone());
    let forget = requests.make(move |store| {
        tasks.iter().try_for_each(|task| wait(store.delete(&done_key(&id, *task))))?;
        let mut record = match Record::read_cell(store, &id, first) {
            Err(StoreError::NotFound { .. }) => return Ok(0),
            other => other?,
        };
        record.done.retain(|done| !tasks.contains(&done.task));
        let key = cell_key(&id, first);
        if record.done.is_empty() {
            wait(store.delete(&key))?;
            return Ok(0);
        }
        let left = record.tasks();
        // Not expected to fail, because the record was sealed before.
        let sealed = record.seal().map_err(|error| damaged(store, &key, error.to_string()))?;
        wait(store.put(&key, &sealed))?;
        Ok(left)
    });
    forget.await
}

/// Returns the failed tasks of a started job.
pub(crate) async fn failed_tasks(requests: &Requests, id: &str) -> Result<BTreeSet<u64>> {
    let prefix = failed_prefix(id);
    let keys = requests.list(prefix.clone()).await?;
    Ok(keys.iter().filter_map(|key| key.strip_prefix(&prefix)?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tasks: Range<u64>) -> Record {
        let done = tasks.map(|task| Done { task, call: [task as u8; 32], result: vec![7; task as usize] });
        Record { kind: Kind::Value, done: done.collect() }
    }

    #[test]
    fn records_round_trip_and_damaged_ones_fail() {
        let sealed = record(60..64).seal().unwrap();
        assert_eq!(Record::open(&sealed), Ok(record(60..64)));
        for cut in 0..sealed.len() {
            assert!(Record::open(&sealed[..cut]).is_err());
        }
        let odd = Stored { kind: Kind::Ref, tasks: vec![1], calls: vec![0; 32], ends: vec![9], results: vec![1] };
        assert_eq!(Record::open(&envelope::seal(&odd).unwrap()), Err("a result is out of range".to_owned()));
    }

    #[test]
    fn cells_hold_64_tasks_named_in_their_keys() {
        assert_eq!((cell_of(63), cell_of(64), tasks_of(64), bit(65)), (0, 64, 64..128, 2));
        assert_eq!(cell_key("j", 64), "j/done/000000000064-000000000127");
        assert_eq!(done_key("j", 64), "j/done/000000000064");
    }
}
