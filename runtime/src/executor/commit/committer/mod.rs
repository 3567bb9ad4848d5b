//! The result committer: keeps results in the store, for named jobs, started jobs and `refs`.
//!
//! It is a separate task on wren's event loop. It takes outcomes from the scheduler, commits their results, and then
//! passes them on to the outcome queue, so that the caller never sees a result that is not committed. It also reads the
//! results that earlier runs left. [`record`](super::record) describes the objects in the store.

mod requests;
mod task;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::build;
use super::lease::Lease;
use super::manifest::{Identity, Manifest, NOT_ENCODED, call_hash, check_name};
use super::record::{CallHash, Objects, cell_of};
use crate::config::OtherBuild;
use crate::error::Result;
use crate::executor::{Outcome, OutcomeQueue};
use crate::function::{Args, RemoteFn};
use crate::store::{Requests, event_loop};
use task::CommitTask;

/// Where the results of a job go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResultPolicy {
    /// They go to the caller, and are kept in the store only if the job is named.
    Nothing,
    /// They stay in the store as blobs; the caller gets `Ref`s.
    AsRefs,
    /// They stay in the store under the job, and are not returned to the caller.
    Only,
}

/// The stored results of one job, and the channel to the task that commits them.
#[derive(Debug)]
pub(crate) struct ResultCommitter {
    requests: Requests,
    id: String,
    keep: ResultPolicy,
    /// Whether results are committed under the job.
    commits: bool,
    /// The objects of results that existed when the job was opened.
    objects: Objects,
    calls: Mutex<Calls>,
    /// Size of the results that are not committed yet, in bytes.
    bytes: AtomicUsize,
    /// Sends messages to the [`CommitTask`]; `None` after [`close`](Self::close).
    sender: Mutex<Option<UnboundedSender<Message>>>,
}

/// The stored state of a job when it starts.
#[derive(Debug)]
pub(crate) struct EarlierResults {
    /// The objects of results that exist.
    pub(crate) objects: Objects,
    /// The tasks in each cell's own object, as bits, by the cell's first task. Only cells that were read are listed.
    pub(crate) decided: HashMap<u64, u64>,
    pub(crate) identity: Identity,
    /// The right to run the job, if its results are committed.
    pub(crate) lease: Option<Lease>,
}

#[derive(Debug)]
struct Calls {
    identity: Identity,
    /// The hashes of running calls, by task.
    hashes: HashMap<u64, CallHash>,
    /// The number of running calls in each cell, by the cell's first task.
    of_cell: HashMap<u64, u32>,
}

enum Message {
    Outcome(Outcome),
    /// Requests results of one cell that an earlier run may have left.
    Look {
        cell: u64,
        calls: Vec<LookUp>,
    },
    /// All calls of the job are known.
    Ended(Manifest),
    Finish,
}

/// A call whose result an earlier run may have left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LookUp {
    task: u64,
    call: CallHash,
    function: &'static str,
}

impl ResultCommitter {
    /// Opens the stored results of a job that is awaited.
    pub(crate) async fn open(
        requests: Requests,
        id: String,
        named: bool,
        keep: ResultPolicy,
        on_other_build: OtherBuild,
        outcomes: Arc<OutcomeQueue>,
    ) -> Result<Arc<Self>> {
        let (mut objects, mut earlier, mut lease) = (Objects::default(), None, None);
        if named {
            check_name(&id)?;
            // First, because results that another program commits while this one waits must be in the list below.
            lease = Some(Lease::take(&requests, &id).await?);
            build::check(&requests, &id, on_other_build).await?;
            earlier = Manifest::find(&requests, &id).await?;
            objects = Objects::list(&requests, &id).await?;
        }
        let identity = Identity::new(&id, requests.store().url(), earlier);
        let known = EarlierResults { objects, decided: HashMap::new(), identity, lease };
        Self::new(requests, id, keep, named, known, outcomes)
    }

    pub(crate) fn new(
        requests: Requests,
        id: String,
        keep: ResultPolicy,
        commits: bool,
        known: EarlierResults,
        outcomes: Arc<OutcomeQueue>,
    ) -> Result<Arc<Self>> {
        let EarlierResults { objects, decided, identity, lease } = known;
        let (sender, receiver) = unbounded_channel();
        let calls = Calls { identity, hashes: HashMap::new(), of_cell: HashMap::new() };
        let (calls, sender, bytes) = (calls.into(), Some(sender).into(), AtomicUsize::new(0));
        let committer = Self { requests, id, keep, commits, objects, calls, bytes, sender };
        let committer = Arc::new(committer);
        let task = CommitTask::new(committer.clone(), outcomes, lease, decided);
        event_loop()?.spawn(task.run(receiver));
        Ok(committer)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: Message) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            // Fails after the task has ended, which it does after `Finish`. No new outcomes come after that.
            let _ = sender.send(message);
        }
    }

    /// Takes an outcome, which is passed on to the outcome queue once it is committed.
    pub(crate) fn give(&self, outcome: Outcome) {
        self.bytes.fetch_add(outcome.size(), Ordering::AcqRel);
        self.send(Message::Outcome(outcome));
    }

    /// Returns the size of the results that are not committed yet, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Reports that no more outcomes follow.
    pub(crate) fn finish(&self) {
        self.send(Message::Finish);
    }

    /// Lets the task end after it has committed the outcomes that it was given.
    pub(crate) fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Records the next call of a job. If an earlier run may have left its result, returns the argument for
    /// [`look_up`](Self::look_up). Otherwise returns `None`, and the call must be run.
    ///
    /// # Errors
    /// [`Error::Job`](crate::Error::Job) if the earlier run made a different call.
    pub(crate) fn note(&self, task: u64, function: &'static RemoteFn, args: &Args) -> Result<Option<LookUp>> {
        if !self.commits {
            return Ok(None);
        }
        let call = call_hash(function, args);
        let mut calls = self.calls();
        calls.identity.add(function, &call)?;
        if self.objects.may_have(task) {
            return Ok(Some(LookUp { task, call, function: function.name }));
        }
        calls.begin(task, call);
        Ok(None)
    }

    /// Records the next call of a job, which is not run because its arguments cannot be encoded.
    ///
    /// # Errors
    /// [`Error::Job`](crate::Error::Job) if the earlier run made fewer calls.
    pub(crate) fn note_not_encoded(&self, function: &'static RemoteFn) -> Result<()> {
        if !self.commits {
            return Ok(());
        }
        self.calls().identity.add(function, &NOT_ENCODED)
    }

    /// Records that a call is run.
    pub(crate) fn begin(&self, task: u64, call: CallHash) {
        self.calls().begin(task, call);
    }

    /// Records that a call is run after all, because its result was not there.
    pub(crate) fn run_missing(&self, look_up: &LookUp) {
        self.calls().begin(look_up.task, look_up.call);
    }

    /// Requests the results of earlier calls. They arrive in the outcome queue, as [`Outcome::Done`] or
    /// [`Outcome::MissingResult`].
    pub(crate) fn look_up(&self, calls: Vec<LookUp>) {
        let mut rest = &calls[..];
        while let Some(first) = rest.first() {
            let cell = cell_of(first.task);
            let count = rest.iter().take_while(|call| cell_of(call.task) == cell).count();
            self.send(Message::Look { cell, calls: rest[..count].to_vec() });
            rest = &rest[count..];
        }
    }

    /// Records that there are no more calls.
    ///
    /// # Errors
    /// [`Error::Job`](crate::Error::Job) if the earlier run made more calls.
    pub(crate) fn ended(&self) -> Result<()> {
        if !self.commits {
            return Ok(());
        }
        let calls = self.calls();
        calls.identity.end()?;
        if calls.identity.earlier().is_none() {
            self.send(Message::Ended(calls.identity.manifest(None)));
        }
        Ok(())
    }
}

impl Calls {
    fn begin(&mut self, task: u64, call: CallHash) {
        if self.hashes.insert(task, call).is_none() {
            *self.of_cell.entry(cell_of(task)).or_default() += 1;
        }
    }

    /// Removes and returns the hash of a call that was run.
    fn end(&mut self, task: u64) -> Option<CallHash> {
        let call = self.hashes.remove(&task)?;
        let cell = cell_of(task);
        if let Some(count) = self.of_cell.get_mut(&cell) {
            *count -= 1;
            if *count == 0 {
                self.of_cell.remove(&cell);
            }
        }
        Some(call)
    }
}
