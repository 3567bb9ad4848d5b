//! Results that are kept in the store: of named jobs, of started jobs, of `refs`.
//!
//! A result is committed under `<job>/done/<task>` by put-if-absent before anybody sees it, on a
//! thread of the job's own, so that no disk holds up the scheduler.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::{Deserialize, Serialize};

use super::{Outcome, Port};
use crate::backend::Results;
use crate::block::Args;
use crate::envelope;
use crate::error::{Error, Failure, Result};
use crate::refs::put_bytes;
use crate::registry::RemoteFn;
use crate::store::{Store, StoreError, all_of, wait};
use crate::worker::Tasks;

/// How many results are written at once.
const SIDE_BY_SIDE: usize = 64;

/// What becomes of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// They go to the caller and are kept only if the job is named.
    Nothing,
    /// They stay in the store as blobs; the caller gets `Ref`s.
    AsRefs,
    /// They stay in the store under the job; nobody gets them now.
    Only,
}

/// What is stored of a task that succeeded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// BLAKE3 of function and arguments, so that a result is never taken for that of others.
    call: [u8; 32],
    #[serde(with = "crate::codec::bytes")]
    pub(super) result: Vec<u8>,
}

/// What is stored of a task of a started job that failed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FailedRecord {
    pub(super) attempt: u32,
    pub(super) function: String,
    pub(super) failure: Failure,
    pub(super) stderr: String,
}

/// The stored results of one job.
#[derive(Debug)]
pub(crate) struct Kept {
    store: Arc<dyn Store>,
    id: String,
    named: bool,
    keep: Keep,
    /// Tasks that were done when the job was opened.
    done: BTreeSet<u64>,
    /// Hashes of the calls that are under way.
    calls: Mutex<HashMap<u64, [u8; 32]>>,
    to_commit: Mutex<Option<Sender<Message>>>,
}

enum Message {
    Outcome(Outcome),
    Finish,
}

pub(super) fn done_prefix(id: &str) -> String {
    format!("{id}/done/")
}

pub(super) fn failed_prefix(id: &str) -> String {
    format!("{id}/failed/")
}

pub(super) fn cancel_key(id: &str) -> String {
    format!("{id}/cancel")
}

/// The tasks that have a key under a prefix.
pub(super) fn tasks_under(store: &dyn Store, prefix: &str) -> Result<BTreeSet<u64>> {
    let mut tasks = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let keys = wait(store.list(prefix, after.as_deref(), 10_000))?;
        let task = |key: &String| key.strip_prefix(prefix)?.parse::<u64>().ok();
        tasks.extend(keys.iter().filter_map(task));
        match keys.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => return Ok(tasks),
        }
    }
}

pub(super) fn key(prefix: &str, task: u64) -> String {
    format!("{prefix}{task:012}")
}

pub(super) fn read<T: serde::de::DeserializeOwned>(store: &dyn Store, key: &str) -> Result<T> {
    open_record(store, key, &wait(store.get(key))?)
}

fn open_record<T: serde::de::DeserializeOwned>(store: &dyn Store, key: &str, sealed: &[u8]) -> Result<T> {
    let damaged = |reason| StoreError::Damaged { store: store.url(), key: key.to_owned(), reason };
    Ok(envelope::open(sealed).map_err(damaged)?)
}

/// The result of a task, where the store has one: of a named job, or of a started one.
pub(crate) fn stored_result(store: &dyn Store, id: &str, task: u64) -> Option<Vec<u8>> {
    read::<Record>(store, &key(&done_prefix(id), task)).ok().map(|record| record.result)
}

impl Kept {
    pub(crate) fn open(store: Arc<dyn Store>, id: &str, named: bool, keep: Keep, port: Arc<Port>) -> Result<Arc<Self>> {
        if named {
            check_name(id)?;
        }
        let done = if named { tasks_under(&*store, &done_prefix(id))? } else { BTreeSet::new() };
        let (sender, receiver) = channel();
        let kept = Arc::new(Self {
            store,
            id: id.to_owned(),
            named,
            keep,
            done,
            calls: Mutex::default(),
            to_commit: Mutex::new(Some(sender)),
        });
        let this = kept.clone();
        thread::Builder::new()
            .name("wren-commit".into())
            .spawn(move || this.commit_all(&receiver, &port))
            .map_err(|e| Error::Backend(format!("the system gives no thread: {e}")))?;
        Ok(kept)
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, [u8; 32]>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: Message) {
        let to = self.to_commit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = &*to {
            // The thread ends after `Finish`; what comes later was given before.
            let _ = to.send(message);
        }
    }

    /// Takes an outcome on its way to the port.
    pub(crate) fn give(&self, outcome: Outcome) {
        self.send(Message::Outcome(outcome));
    }

    /// No more will come.
    pub(crate) fn finish(&self) {
        self.send(Message::Finish);
    }

    /// Lets the thread end.
    pub(crate) fn hang_up(&self) {
        self.to_commit.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The outcome of a task that succeeded in an earlier run; otherwise notes its call.
    ///
    /// # Errors
    /// [`Error::Job`] if the earlier run made another call.
    pub(crate) fn look_up(&self, task: u64, function: &RemoteFn, args: &Args) -> Result<Option<Outcome>> {
        if !self.named && self.keep != Keep::Only {
            return Ok(None);
        }
        let call = hash_of(function, args);
        if !self.done.contains(&task) {
            self.calls().insert(task, call);
            return Ok(None);
        }
        let record: Record = read(&*self.store, &key(&done_prefix(&self.id), task))?;
        if record.call != call {
            let (id, store) = (&self.id, self.store.url());
            return Err(Error::Job(format!(
                "job `{id}` has a result of task {task} for other arguments, or for an earlier version of `{}`; give \
                 the job another name, or remove `{id}` from {store}",
                function.name
            )));
        }
        Ok(Some(done_outcome(task..task + 1, &[record.result])))
    }

    fn commit_all(&self, receiver: &Receiver<Message>, port: &Port) {
        let mut wakers = Vec::new();
        while let Ok(first) = receiver.recv() {
            let mut finish = false;
            // What waits is written side by side: a store far away takes its time for each.
            let messages = std::iter::once(first).chain(receiver.try_iter().take(SIDE_BY_SIDE - 1));
            let outcomes = messages.filter_map(|message| match message {
                Message::Outcome(outcome) => Some(self.commit(outcome)),
                Message::Finish => {
                    finish = true;
                    None
                }
            });
            for outcome in wait(all_of(outcomes)) {
                port.give(outcome.unwrap_or_else(Outcome::Broken), &mut wakers);
            }
            if finish {
                port.finish(&mut wakers);
                self.hang_up();
            }
            wakers.drain(..).for_each(std::task::Waker::wake);
        }
    }

    async fn commit(&self, outcome: Outcome) -> Result<Outcome> {
        match outcome {
            Outcome::Done { tasks, new, results } => self.commit_done(tasks, &new, &results.into_packed()).await,
            Outcome::Failed { task, attempt, function, failure, stderr } => {
                if self.keep == Keep::Only {
                    let function_name = function.to_owned();
                    let record = FailedRecord {
                        attempt,
                        function: function_name,
                        failure: failure.clone(),
                        stderr: stderr.clone(),
                    };
                    self.store.put(&key(&failed_prefix(&self.id), task), &envelope::seal(&record)?).await?;
                }
                Ok(Outcome::Failed { task, attempt, function, failure, stderr })
            }
            // As [`super::Job::cancel`] does: who waits for the job elsewhere looks there.
            Outcome::Cancelled if self.keep == Keep::Only => {
                self.store.put(&cancel_key(&self.id), b"").await?;
                Ok(Outcome::Cancelled)
            }
            other => Ok(other),
        }
    }

    async fn commit_done(&self, tasks: Range<u64>, new: &[Range<u64>], results: &[u8]) -> Result<Outcome> {
        let each: Vec<_> = tasks.clone().zip(Tasks(results)).collect();
        let mut committed = Vec::with_capacity(each.len());
        for some in each.chunks(SIDE_BY_SIDE) {
            let is_new = |task: &u64| new.iter().any(|range| range.contains(task));
            let futures = some.iter().map(async |(task, result)| match is_new(task) {
                true => self.commit_task(*task, result).await,
                false => Ok(Vec::new()),
            });
            for result in all_of(futures).await {
                committed.push(result?);
            }
        }
        let mut outcome = done_outcome(tasks, &committed);
        if let Outcome::Done { new: all, .. } = &mut outcome {
            *all = new.to_vec();
        }
        Ok(outcome)
    }

    /// Stores what is to be kept of a result, and gives what goes to the caller.
    async fn commit_task(&self, task: u64, result: &[u8]) -> Result<Vec<u8>> {
        let result = match self.keep {
            Keep::AsRefs => crate::codec::encode(&put_bytes::<()>(&self.store, result).await?)?,
            Keep::Nothing | Keep::Only => result.to_vec(),
        };
        let result = match self.named || self.keep == Keep::Only {
            true => self.commit_one(task, result).await?,
            false => result,
        };
        Ok(if self.keep == Keep::Only { Vec::new() } else { result })
    }

    /// Commits a result, and gives the one that is committed: this, or an earlier one.
    async fn commit_one(&self, task: u64, result: Vec<u8>) -> Result<Vec<u8>> {
        let call = self.calls().remove(&task).unwrap_or_default();
        let key = key(&done_prefix(&self.id), task);
        let record = Record { call, result };
        match self.store.put_if_absent(&key, &envelope::seal(&record)?).await {
            Ok(()) => Ok(record.result),
            Err(StoreError::AlreadyExists { .. }) => {
                // Another process that runs the same job was first.
                let earlier: Record = open_record(&*self.store, &key, &self.store.get(&key).await?)?;
                if earlier.call != call && call != [0; 32] {
                    return Err(Error::Job(format!(
                        "job `{}` is also run by another process, with other arguments; give one of them another name",
                        self.id
                    )));
                }
                Ok(earlier.result)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn done_outcome(tasks: Range<u64>, results: &[Vec<u8>]) -> Outcome {
    let mut packed = Vec::with_capacity(results.iter().map(|r| r.len() + 4).sum());
    for result in results {
        packed.extend_from_slice(&(result.len() as u32).to_le_bytes());
        packed.extend_from_slice(result);
    }
    Outcome::Done { new: vec![tasks.clone()], tasks, results: Results::packed(packed) }
}

fn hash_of(function: &RemoteFn, args: &Args) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(function.name.as_bytes());
    hasher.update(&function.signature_hash().to_le_bytes());
    hasher.update(&function.body_hash.to_le_bytes());
    hasher.update(&args.bytes);
    for blob in &args.blobs {
        hasher.update(blob.hash().as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// A job's name is a folder and a part of keys.
pub(super) fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || name == "blobs" || !name.chars().all(good) {
        return Err(Error::Config(format!(
            "`{name}` cannot name a job: up to 100 of A-Z, a-z, 0-9, `.`, `_` and `-` can, not `.` first, and not `blobs`"
        )));
    }
    Ok(())
}
