//! The result committer: keeps results in the store, for named jobs, started jobs and `refs`.
//!
//! It is a separate task on wren's event loop. It takes outcomes from the scheduler, commits their results, and then
//! passes them on to the outcome queue, so that the caller never sees a result that is not committed. It also reads the
//! results that earlier runs left. [`record`](super::record) describes the objects in the store.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::build;
use super::lease::Lease;
use super::manifest::{Identity, Manifest, NOT_ENCODED, call_hash, check_name, other_call, other_kind};
use super::record::{
    CallHash, Done, FailedRecord, Kind, Objects, Record, bit, cancel_key, cell_key, cell_of, done_key, failed_key,
    forget,
};
use crate::attempt::Results;
use crate::codec::{self, envelope};
use crate::config::OtherBuild;
use crate::error::{Error, Result};
use crate::executor::{Outcome, OutcomeQueue};
use crate::function::framed::{self, Pieces};
use crate::function::{Args, RemoteFn, attached};
use crate::store::{Ref, Requests, SIDE_BY_SIDE, event_loop, find_size, put_bytes, put_once};

/// How long a result waits for other results of its cell whose calls are still running.
const HOLD: Duration = Duration::from_millis(10);

/// Size of a cell's results, in bytes, above which they are written without waiting for others.
const LARGE: usize = 1 << 20;

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
    /// Sends messages to the [`CommitTask`]; `None` after [`hang_up`](Self::hang_up).
    sender: Mutex<Option<UnboundedSender<Message>>>,
}

/// The stored state of a job when it starts.
#[derive(Debug)]
pub(crate) struct Known {
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
        let known = Known { objects, decided: HashMap::new(), identity, lease };
        Self::new(requests, id, keep, named, known, outcomes)
    }

    pub(crate) fn new(
        requests: Requests,
        id: String,
        keep: ResultPolicy,
        commits: bool,
        known: Known,
        outcomes: Arc<OutcomeQueue>,
    ) -> Result<Arc<Self>> {
        let Known { objects, decided, identity, lease } = known;
        let (sender, receiver) = unbounded_channel();
        let calls = Calls { identity, hashes: HashMap::new(), of_cell: HashMap::new() };
        let (calls, sender, bytes) = (calls.into(), Some(sender).into(), AtomicUsize::new(0));
        let committer = Self { requests, id, keep, commits, objects, calls, bytes, sender };
        let committer = Arc::new(committer);
        let cells = decided.into_iter().map(|(cell, tasks)| (cell, Cell { decided: Some(tasks), ..Cell::default() }));
        let task = CommitTask {
            committer: committer.clone(),
            outcomes,
            lease,
            cells: cells.collect(),
            held: VecDeque::new(),
            ready: VecDeque::new(),
            looks: VecDeque::new(),
            under_way: JoinSet::new(),
            writing: 0,
            looking: 0,
            wakers: Vec::new(),
        };
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
    pub(crate) fn hang_up(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Records the next call of a job. If an earlier run may have left its result, returns the argument for
    /// [`look_up`](Self::look_up). Otherwise returns `None`, and the call must be run.
    ///
    /// # Errors
    /// [`Error::Job`] if the earlier run made a different call.
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
    /// [`Error::Job`] if the earlier run made fewer calls.
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
    pub(crate) fn run_after_all(&self, look_up: &LookUp) {
        self.calls().begin(look_up.task, look_up.call);
    }

    /// Requests the results of earlier calls. They arrive in the outcome queue, as [`Outcome::Done`] or
    /// [`Outcome::NotKept`].
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
    /// [`Error::Job`] if the earlier run made more calls.
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

    fn kind(&self) -> Kind {
        if self.keep == ResultPolicy::AsRefs { Kind::Ref } else { Kind::Value }
    }

    /// Rejects a stored result that a different call left under the key of a task, or that is of a different kind.
    fn check(&self, kind: Kind, found: &Done, call: &CallHash, function: &str) -> Result<()> {
        let store = || self.requests.store().url();
        if found.call != *call {
            return Err(other_call(&self.id, &store(), found.task, function));
        }
        if kind != self.kind() {
            return Err(other_kind(&self.id, &store(), found.task));
        }
        Ok(())
    }

    /// Commits results of one cell. `decided` has the tasks in the cell's own object, if that object is known to exist.
    /// Returns these tasks and the committed results: the given ones, or earlier ones.
    async fn commit(&self, cell: u64, decided: Option<u64>, mut held: Vec<Done>) -> Result<Report> {
        if self.keep == ResultPolicy::AsRefs {
            self.put_aside(&mut held).await?;
        }
        if !self.commits {
            return Ok(Report::of(self.outcomes(held)));
        }
        if decided.is_none() {
            let record = Record { kind: self.kind(), done: held };
            if self.requests.put_if_absent(cell_key(&self.id, cell), record.seal()?).await? {
                let tasks = record.tasks();
                return Ok(Report::of(self.outcomes(record.done)).of_cell(cell, tasks));
            }
            // Another process that runs the same job, or an earlier run, was first.
            held = record.done;
        }
        let mut committed = Vec::new();
        let decided = match decided {
            Some(tasks) if held.iter().all(|done| tasks & bit(done.task) == 0) => tasks,
            _ => {
                let id = self.id.clone();
                let earlier = self.requests.make(move |store| Record::read_cell(store, &id, cell)).await?;
                let tasks = earlier.tasks();
                let late: HashMap<u64, CallHash> = held
                    .extract_if(.., |done| tasks & bit(done.task) != 0)
                    .map(|done| (done.task, done.call))
                    .collect();
                for found in earlier.done {
                    if let Some(call) = late.get(&found.task) {
                        committed.push(self.adopt(earlier.kind, found, call)?);
                    }
                }
                tasks
            }
        };
        let (id, kind) = (self.id.clone(), self.kind());
        let sealed = held.into_iter().map(|done| {
            let record = Record { kind, done: vec![done] };
            Ok((record.seal()?, record.done))
        });
        let sealed = sealed.collect::<Result<Vec<_>>>()?;
        let put = self.requests.for_each(sealed, move |store, (sealed, done)| {
            let task = done.first().map_or(0, |done| done.task);
            let earlier = match put_once(store, &done_key(&id, task), &sealed)? {
                true => None,
                false => Some(Record::read_one(store, &id, task)?),
            };
            Ok((done, earlier))
        });
        for (mine, earlier) in put.await? {
            for done in mine {
                committed.push(match &earlier {
                    None => done,
                    Some((kind, found)) => self.adopt(*kind, found.clone(), &done.call)?,
                });
            }
        }
        committed.sort_unstable_by_key(|done| done.task);
        Ok(Report::of(self.outcomes(committed)).of_cell(cell, decided))
    }

    /// Puts results into the store as blobs, and `Ref`s in their place.
    async fn put_aside(&self, held: &mut [Done]) -> Result<()> {
        let results: Vec<Vec<u8>> = held.iter_mut().map(|done| mem::take(&mut done.result)).collect();
        let refs = self.requests.for_each(results, |store, result| put_bytes::<()>(store, &result)).await?;
        for (done, value) in held.iter_mut().zip(refs) {
            done.result = codec::encode(&value)?;
        }
        // The encoding may have attached the values, which is only for arguments.
        attached::forget();
        Ok(())
    }

    /// Accepts the result that was committed first, in place of this run's own.
    fn adopt(&self, kind: Kind, found: Done, call: &CallHash) -> Result<Done> {
        let function = self.calls().identity.function().to_owned();
        self.check(kind, &found, call, &function)?;
        Ok(found)
    }

    /// Converts committed results to outcomes, in the order of their tasks.
    fn outcomes(&self, done: Vec<Done>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut rest = &done[..];
        while let Some(first) = rest.first() {
            let count = (first.task..).zip(rest).take_while(|(task, done)| *task == done.task).count();
            let (some, others) = rest.split_at(count);
            rest = others;
            let mut packed = Vec::new();
            for done in some {
                let result: &[u8] = if self.keep == ResultPolicy::Only { &[] } else { &done.result };
                framed::push(result, &mut packed);
            }
            let tasks = first.task..first.task + count as u64;
            outcomes.push(Outcome::Done {
                new: vec![tasks.clone()],
                tasks,
                results: Results::packed(packed),
                attempt: 1,
            });
        }
        outcomes
    }

    /// Reads the results of calls in one cell that an earlier run may have left.
    async fn look(&self, cell: u64, calls: Vec<LookUp>) -> Result<Report> {
        let objects = self.objects.of_cell(cell);
        let mut read = objects.read(&self.requests, &self.id, |kind, done| (kind, done)).await?;
        let (mut done, mut missing) = (Vec::new(), Vec::new());
        for LookUp { task, call, function } in calls {
            match read.done.remove(&task) {
                Some((kind, found)) => {
                    self.check(kind, &found, &call, function)?;
                    done.push(found);
                }
                None => missing.push(task),
            }
        }
        if self.keep == ResultPolicy::AsRefs {
            let gone = self.without_values(&done).await?;
            if !gone.is_empty() {
                done.retain(|done| !gone.contains(&done.task));
                missing.extend(&gone);
                missing.sort_unstable();
                match forget(&self.requests, &self.id, cell, &gone).await? {
                    0 => drop(read.decided.remove(&cell)),
                    tasks => drop(read.decided.insert(cell, tasks)),
                }
            }
        }
        let mut outcomes = self.outcomes(done);
        if !missing.is_empty() {
            outcomes.push(Outcome::NotKept { tasks: missing });
        }
        let report = Report::of(outcomes);
        Ok(match read.decided.get(&cell) {
            Some(tasks) => report.of_cell(cell, *tasks),
            None => report,
        })
    }

    /// Returns the tasks whose values are no longer in the store, which may remove old values.
    async fn without_values(&self, done: &[Done]) -> Result<BTreeSet<u64>> {
        let keys = done.iter().map(|done| {
            let value: Ref<()> = codec::decode(&done.result)?;
            Ok((done.task, value.key()))
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let gone = self.requests.for_each(keys, |store, (task, key)| {
            let is_gone = find_size(store, &key)?.is_none();
            Ok(is_gone.then_some(task))
        });
        Ok(gone.await?.into_iter().flatten().collect())
    }

    /// Records an outcome that is not a result in the store, if other processes need it.
    async fn record_other(&self, outcome: Outcome) -> Result<Report> {
        match &outcome {
            Outcome::Failed { task, attempt, function, failure, stderr } if self.keep == ResultPolicy::Only => {
                let (function, failure, stderr) = ((*function).to_owned(), failure.clone(), stderr.clone());
                let record = FailedRecord { attempt: *attempt, function, failure, stderr };
                self.requests.put(failed_key(&self.id, *task), envelope::seal(&record)?).await?;
            }
            // Like [`crate::calls::job::Job::cancel`]: a process that waits for the job elsewhere checks this key.
            Outcome::Cancelled if self.keep == ResultPolicy::Only => {
                self.requests.put(cancel_key(&self.id), Vec::new()).await?;
            }
            _ => {}
        }
        Ok(Report::of(vec![outcome]))
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

/// The result of a request.
#[derive(Debug)]
struct Report {
    outcomes: Vec<Outcome>,
    /// A cell's first task, and the tasks in the cell's own object, as bits.
    decided: Option<(u64, u64)>,
}

impl Report {
    fn of(outcomes: Vec<Outcome>) -> Self {
        Self { outcomes, decided: None }
    }

    fn of_cell(self, cell: u64, tasks: u64) -> Self {
        Self { decided: Some((cell, tasks)), ..self }
    }
}

/// Results of one cell that are not committed yet.
#[derive(Debug, Default)]
struct Cell {
    /// The tasks in the cell's own object, as bits, once they are known.
    decided: Option<u64>,
    /// Whether some of the cell's results are being written. Others are not written meanwhile, because it must first be
    /// known which results are in the cell's own object.
    is_writing: bool,
    /// Whether the held results must be written as soon as possible.
    is_ready: bool,
    held: Vec<Done>,
    bytes: usize,
}

/// The task of the result committer: takes outcomes, commits them and passes them on.
struct CommitTask {
    committer: Arc<ResultCommitter>,
    outcomes: Arc<OutcomeQueue>,
    /// The right to run the job, if its results are committed.
    lease: Option<Lease>,
    cells: HashMap<u64, Cell>,
    /// Cells that hold results, and when these have waited long enough.
    held: VecDeque<(Instant, u64)>,
    /// Cells that are ready to be written.
    ready: VecDeque<u64>,
    /// Cells whose earlier results are to be read.
    looks: VecDeque<(u64, Vec<LookUp>)>,
    /// Running requests.
    under_way: JoinSet<(Work, Result<Report>)>,
    /// Number of running requests that write results.
    writing: usize,
    /// Number of running requests that read earlier results.
    looking: usize,
    wakers: Vec<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Writes results: the first task of their cell, and their size in bytes.
    Write(u64, usize),
    Look,
    Other,
}

enum Event {
    Message(Message),
    /// The sender is gone: no more messages follow.
    HungUp,
    Ended(Work, Result<Report>),
    /// Held results have waited long enough.
    Due,
}

impl CommitTask {
    async fn run(mut self, mut receiver: UnboundedReceiver<Message>) {
        let (mut finishing, mut hung_up) = (false, false);
        loop {
            match self.event(&mut receiver, hung_up).await {
                Event::Message(Message::Outcome(Outcome::Done { tasks, new, results, .. })) => {
                    self.hold(tasks, &new, results);
                }
                Event::Message(Message::Outcome(outcome)) => {
                    self.spawn(Work::Other, async move |committer| committer.record_other(outcome).await);
                }
                Event::Message(Message::Look { cell, calls }) => self.looks.push_back((cell, calls)),
                Event::Message(Message::Ended(manifest)) => self.spawn(Work::Other, async move |committer| {
                    manifest.register(&committer.requests, &committer.id).await.map(|_| Report::of(Vec::new()))
                }),
                Event::Message(Message::Finish) => finishing = true,
                Event::HungUp => {
                    hung_up = true;
                    self.looks.clear();
                }
                Event::Ended(work, report) => self.ended(work, report),
                Event::Due => {}
            }
            let over = finishing || hung_up;
            self.release(if over { None } else { Some(Instant::now()) });
            self.begin();
            let is_idle = self.under_way.is_empty() && self.held.is_empty();
            if is_idle && finishing {
                if let Some(lease) = self.lease.take() {
                    lease.give_back().await;
                }
                self.outcomes.finish(&mut self.wakers);
            }
            self.wakers.drain(..).for_each(Waker::wake);
            if is_idle && over {
                return self.committer.hang_up();
            }
        }
    }

    async fn event(&mut self, receiver: &mut UnboundedReceiver<Message>, hung_up: bool) -> Event {
        let under_way = &mut self.under_way;
        let next = std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(ended)) = under_way.poll_join_next(cx) {
                let broken = |e| Err(Error::Job(format!("a commit ended early: {e}; this is a bug in wren")));
                let (work, report) = ended.unwrap_or_else(|e| (Work::Other, broken(e)));
                return Poll::Ready(Event::Ended(work, report));
            }
            if hung_up {
                return Poll::Pending;
            }
            receiver.poll_recv(cx).map(|message| message.map_or(Event::HungUp, Event::Message))
        });
        match self.held.front() {
            Some((due, _)) => timeout_at(*due, next).await.unwrap_or(Event::Due),
            None => next.await,
        }
    }

    fn spawn<F>(&mut self, work: Work, act: impl FnOnce(Arc<ResultCommitter>) -> F)
    where
        F: Future<Output = Result<Report>> + Send + 'static,
    {
        let report = act(self.committer.clone());
        self.under_way.spawn(async move { (work, report.await) });
    }

    fn give(&mut self, outcome: Outcome) {
        self.outcomes.give(outcome, &mut self.wakers);
    }

    /// Holds the results of the tasks in `new`, until they are committed.
    fn hold(&mut self, tasks: Range<u64>, new: &[Range<u64>], results: Results) {
        let committer = self.committer.clone();
        let mut passed_by = results.size();
        let packed = results.into_packed();
        let is_new = |task: u64| new.iter().any(|range| range.contains(&task));
        if Pieces(&packed).count() as u64 != tasks.end.saturating_sub(tasks.start) {
            let lost = format!("cannot read the results of tasks {tasks:?}; run the job again");
            return self.give(Outcome::Broken(Error::Job(lost)));
        }
        let mut calls = committer.calls();
        for (task, result) in tasks.zip(Pieces(&packed)).filter(|(task, _)| is_new(*task)) {
            let call = if committer.commits { calls.end(task) } else { Some(CallHash::default()) };
            let Some(call) = call else {
                let lost = format!("task {task} was run without being recorded; this is a bug in wren");
                self.give(Outcome::Broken(Error::Job(lost)));
                continue;
            };
            let first = cell_of(task);
            let cell = self.cells.entry(first).or_default();
            if cell.held.is_empty() {
                self.held.push_back((Instant::now() + HOLD, first));
            }
            cell.bytes += result.len();
            passed_by -= result.len();
            cell.held.push(Done { task, call, result: result.to_vec() });
            // Waiting gains nothing if no other call of the cell is running.
            if !calls.of_cell.contains_key(&first) || cell.bytes > LARGE {
                cell.make_ready(first, &mut self.ready);
            }
        }
        committer.bytes.fetch_sub(passed_by, Ordering::AcqRel);
    }

    /// Makes the cells ready whose results have waited until `now`; without `now`, all cells.
    fn release(&mut self, now: Option<Instant>) {
        while let Some((due, first)) = self.held.front()
            && now.is_none_or(|now| *due <= now)
        {
            if let Some(cell) = self.cells.get_mut(first).filter(|cell| !cell.held.is_empty()) {
                cell.make_ready(*first, &mut self.ready);
            }
            self.held.pop_front();
        }
    }

    /// Starts as many requests as are allowed at once.
    fn begin(&mut self) {
        while self.writing < SIDE_BY_SIDE
            && let Some(first) = self.ready.pop_front()
        {
            let Some(cell) = self.cells.get_mut(&first).filter(|cell| !cell.is_writing) else { continue };
            (cell.is_writing, cell.is_ready) = (true, false);
            let (held, bytes, decided) = (mem::take(&mut cell.held), mem::take(&mut cell.bytes), cell.decided);
            self.writing += 1;
            self.spawn(Work::Write(first, bytes), async move |committer| committer.commit(first, decided, held).await);
        }
        while self.looking < SIDE_BY_SIDE
            && let Some((cell, calls)) = self.looks.pop_front()
        {
            self.looking += 1;
            self.spawn(Work::Look, async move |committer| committer.look(cell, calls).await);
        }
    }

    fn ended(&mut self, work: Work, report: Result<Report>) {
        match report {
            Ok(Report { outcomes, decided }) => {
                if let Some((first, tasks)) = decided {
                    self.cells.entry(first).or_default().decided = Some(tasks);
                }
                outcomes.into_iter().for_each(|outcome| self.give(outcome));
            }
            Err(error) => self.give(Outcome::Broken(error)),
        }
        match work {
            Work::Write(first, bytes) => {
                self.writing -= 1;
                self.committer.bytes.fetch_sub(bytes, Ordering::AcqRel);
                if let Some(cell) = self.cells.get_mut(&first) {
                    cell.is_writing = false;
                    if cell.is_ready {
                        self.ready.push_back(first);
                    } else if cell.held.is_empty() && (!self.committer.commits || cell.decided == Some(u64::MAX)) {
                        // No more results of this cell follow.
                        self.cells.remove(&first);
                    }
                }
            }
            Work::Look => self.looking -= 1,
            Work::Other => {}
        }
    }
}

impl Cell {
    fn make_ready(&mut self, first: u64, ready: &mut VecDeque<u64>) {
        if !mem::replace(&mut self.is_ready, true) && !self.is_writing {
            ready.push_back(first);
        }
    }
}
