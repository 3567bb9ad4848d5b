//! A job that runs by itself, and its handle here or in another process.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::kept::{self, FailedRecord, Record, cancel_key};
use super::{Keep, Kept, Outcome, Port, new_id};
use crate::block::{Args, Blob, Block, Limits};
use crate::call::{Call, decode_result};
use crate::envelope;
use crate::error::{Attempt, Error, Result};
use crate::executor::Executor;
use crate::map::Settings;
use crate::registry;
use crate::scheduler::JobKey;
use crate::store::{Store, StoreError, wait};
use crate::trace::{SharedLog, TaskInput, claim, try_claim};

/// How often a job that another process runs is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Arguments are kept in segments of about this many bytes, blobs aside.
const SEGMENT: usize = 1 << 20;

/// What is stored of a job as a whole, under `<job>/job`.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    wren: String,
    tasks: u64,
    segments: u64,
    function: String,
}

/// Arguments of consecutive tasks, under `<job>/args/<segment>`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Segment {
    first: u64,
    calls: Vec<StoredCall>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredCall {
    function: String,
    signature_hash: u64,
    limits: Limits,
    args: Vec<u8>,
    /// The keys of large arguments.
    blobs: Vec<String>,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobProgress {
    /// How many tasks it has.
    pub tasks: u64,
    /// How many succeeded.
    pub done: u64,
    /// How many failed for good.
    pub failed: u64,
}

impl JobProgress {
    /// Whether no task is left.
    pub fn is_over(&self) -> bool {
        self.done + self.failed >= self.tasks
    }
}

/// A started job. It runs on while its process lives, whether or not this handle does.
///
/// ```
/// #[wren::remote]
/// fn slow_double(x: u64) -> u64 { 2 * x }
///
/// # wren::block_on(async {
/// # let executor = wren::Executor::builder().store("memory:job-doc").build()?;
/// let job = wren::map(slow_double, 0..10).on(&executor).start().await?;
/// println!("job {}: {} tasks", job.id(), job.progress()?.tasks);
/// assert_eq!(job.wait().await?[9], 18);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
#[must_use = "a started job runs on; keep its id to attach to it, or `wait` for it"]
pub struct Job<R> {
    id: String,
    tasks: u64,
    executor: Executor,
    store: Arc<dyn Store>,
    /// Set where this process runs the job, from the start or since the one that did is gone.
    running: OnceLock<Running>,
    result: PhantomData<fn() -> R>,
}

/// What this process holds of a job that it runs.
struct Running {
    executor: Executor,
    job: JobKey,
    port: Arc<Port>,
    kept: Arc<Kept>,
    log: SharedLog,
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({}, {} tasks)", self.id, self.tasks)
    }
}

/// A handle of a job that [`start`](crate::Map::start) began, here or in another process.
///
/// If the process that began it is gone, this one runs what is left of it.
///
/// # Errors
/// [`Error::Job`] where the default executor's store has no such job; [`Error::UnknownFunction`]
/// where this program lacks its functions.
pub async fn attach<R: DeserializeOwned>(id: &str) -> Result<Job<R>> {
    Job::attach(Executor::current()?, id)
}

impl<R> Job<R> {
    pub(crate) fn start<I: Iterator<Item = Call<R>>>(executor: Executor, calls: I, settings: Settings) -> Result<Self> {
        let id = settings.name.clone().unwrap_or_else(new_id);
        kept::check_name(&id)?;
        let store = executor.store();
        if settings.name.is_some() && exists(&*store, &format!("{id}/job"))? {
            wait(store.delete(&cancel_key(&id)))?;
            return Self::attach(executor, &id);
        }
        let claimed = claim(&executor.shared().config.directory, &id);
        let mut segments = Segments { store: &*store, id: &id, open: Segment::default(), bytes: 0, count: 0 };
        let mut tasks = 0;
        let mut function = String::new();
        let mut blocks = Vec::new();
        for call in calls {
            let (called, limits, args) = call.into_parts()?;
            if tasks == 0 {
                function = called.name.to_owned();
            }
            segments.push(tasks, called, limits, &args)?;
            push(&mut blocks, tasks, called, limits, args);
            tasks += 1;
        }
        segments.flush()?;
        let wren = env!("CARGO_PKG_VERSION").to_owned();
        let manifest = Manifest { wren, tasks, segments: segments.count, function };
        wait(store.put(&format!("{id}/job"), &envelope::seal(&manifest)?))?;
        let running = run(&executor, &id, &manifest, blocks, &settings, claimed)?;
        Ok(Self { id, tasks, executor, store, running: running.into(), result: PhantomData })
    }

    /// As [`attach`], to a job of an executor of one's own.
    ///
    /// # Errors
    /// As [`attach`].
    pub fn attach(executor: Executor, id: &str) -> Result<Self> {
        kept::check_name(id)?;
        let store = executor.store();
        let id = id.to_owned();
        let tasks = manifest(&*store, &id)?.tasks;
        let job = Self { id, tasks, executor, store, running: OnceLock::new(), result: PhantomData };
        job.take_over()?;
        Ok(job)
    }

    /// Runs what is left of the job, unless a process does.
    fn take_over(&self) -> Result<()> {
        let Some(claimed) = try_claim(&self.executor.shared().config.directory, &self.id) else { return Ok(()) };
        if !self.progress()?.is_over() && !self.is_cancelled()? {
            let manifest = manifest(&*self.store, &self.id)?;
            let blocks = remaining(&*self.store, &self.id, &manifest)?;
            let running = run(&self.executor, &self.id, &manifest, blocks, &Settings::default(), Some(claimed))?;
            // Nobody else set it: the claim was ours.
            let _ = self.running.set(running);
        }
        Ok(())
    }

    /// Names the job in its store.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How far the job is, by what the store holds.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn progress(&self) -> Result<JobProgress> {
        let count = |prefix: &str| kept::tasks_under(&*self.store, prefix).map(|tasks| tasks.len() as u64);
        let done = count(&kept::done_prefix(&self.id))?;
        Ok(JobProgress { tasks: self.tasks, done, failed: count(&kept::failed_prefix(&self.id))? })
    }

    /// Stops the job: what runs is ended, what waits is never run. Results so far stay.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn cancel(&self) -> Result<()> {
        wait(self.store.put(&cancel_key(&self.id), b""))?;
        if let Some(running) = self.running.get() {
            running.stop("cancelled");
        }
        Ok(())
    }

    fn is_cancelled(&self) -> Result<bool> {
        exists(&*self.store, &cancel_key(&self.id))
    }

    /// Waits until no task is left, or the job is cancelled.
    async fn over(&self) -> Result<()> {
        loop {
            if let Some(running) = self.running.get() {
                if running.over(LOOK_EVERY).await? {
                    running.stop("done");
                    return Ok(());
                }
            } else if self.progress()?.is_over() {
                return Ok(());
            } else {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            if self.is_cancelled()? {
                if let Some(running) = self.running.get() {
                    running.stop("cancelled");
                }
                return Err(Error::Cancelled { done: self.progress()?.done });
            }
            if self.running.get().is_none() {
                self.take_over()?;
            }
        }
    }
}

impl<R: DeserializeOwned> Job<R> {
    /// Waits for the job's end and gives all results, in order.
    ///
    /// # Errors
    /// The failure of the first task that has one; [`Error::Cancelled`].
    pub async fn wait(&self) -> Result<Vec<R>> {
        let outcomes = self.wait_all().await?;
        let failures = outcomes.iter().filter(|outcome| outcome.is_err()).count() as u64;
        let all: Result<Vec<R>> = outcomes.into_iter().collect();
        all.map_err(|mut error| {
            if let Some(attempt) = error.attempt_mut() {
                attempt.other_failures = failures - 1;
            }
            error
        })
    }

    /// Waits for the job's end and gives each task's own outcome, in order.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::Store`].
    pub async fn wait_all(&self) -> Result<Vec<Result<R>>> {
        self.over().await?;
        let failed = kept::tasks_under(&*self.store, &kept::failed_prefix(&self.id))?;
        (0..self.tasks).map(|task| self.outcome(task, &failed)).collect()
    }

    fn outcome(&self, task: u64, failed: &BTreeSet<u64>) -> Result<Result<R>> {
        if failed.contains(&task) {
            let key = kept::key(&kept::failed_prefix(&self.id), task);
            let FailedRecord { attempt, function, failure, stderr } = kept::read(&*self.store, &key)?;
            return Ok(Err(failure.into_error(Attempt { function, task, attempt, stderr, other_failures: 0 })));
        }
        let record: Record = kept::read(&*self.store, &kept::key(&kept::done_prefix(&self.id), task))?;
        Ok(decode_result(&record.result, "", task))
    }
}

impl Running {
    /// Waits for the end, or for a while; gives whether it is over.
    async fn over(&self, limit: Duration) -> Result<bool> {
        let next = std::future::poll_fn(|cx| {
            while let Some(outcome) = self.port.take() {
                if let Outcome::Broken(error) = outcome {
                    return Poll::Ready(Err(error));
                }
            }
            if self.port.is_over() {
                Poll::Ready(Ok(true))
            } else {
                // Registered, or an outcome came since: look again.
                if self.port.is_ready_or_register(cx.waker()) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        });
        tokio::time::timeout(limit, next).await.unwrap_or(Ok(false))
    }

    fn stop(&self, state: &'static str) {
        let shared = self.executor.shared();
        shared.cancel(self.job);
        self.kept.hang_up();
        self.log.end(state);
    }
}

fn run(
    executor: &Executor,
    id: &str,
    manifest: &Manifest,
    blocks: Vec<Block>,
    settings: &Settings,
    claimed: Option<File>,
) -> Result<Running> {
    let port = Arc::new(Port::default());
    let kept = Kept::open(executor.store(), id, false, Keep::Only, port.clone())?;
    let shared = executor.shared();
    let log = SharedLog::default();
    let job = shared.open_job(settings.spec(id), port.clone(), Some(kept.clone()), log.clone());
    shared.begin_log(&log, id, settings, &manifest.function, Some(manifest.tasks), claimed);
    for block in blocks {
        shared.submit(job, block);
    }
    shared.close(job);
    Ok(Running { executor: executor.clone(), job, port, kept, log })
}

fn exists(store: &dyn Store, key: &str) -> Result<bool> {
    match wait(store.size(key)) {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn manifest(store: &dyn Store, id: &str) -> Result<Manifest> {
    kept::read(store, &format!("{id}/job")).map_err(|error| match error {
        Error::Store(StoreError::NotFound { store, .. }) => {
            Error::Job(format!("store {store} has no job `{id}`; `cargo wren jobs` lists those there are"))
        }
        other => other,
    })
}

fn push(blocks: &mut Vec<Block>, task: u64, function: &'static registry::RemoteFn, limits: Limits, args: Args) {
    let joins = |b: &Block| b.accepts(function, &limits) && !b.is_full(8 << 10, 512 << 10) && b.tasks().end == task;
    match blocks.last_mut().filter(|b| joins(b)) {
        Some(block) => block.push(args),
        None => {
            let mut block = Block::new(function, limits, task);
            block.push(args);
            blocks.push(block);
        }
    }
}

/// Writes arguments to the store.
struct Segments<'a> {
    store: &'a dyn Store,
    id: &'a str,
    open: Segment,
    bytes: usize,
    count: u64,
}

impl Segments<'_> {
    fn push(&mut self, task: u64, function: &registry::RemoteFn, limits: Limits, args: &Args) -> Result<()> {
        if self.bytes > SEGMENT {
            self.flush()?;
        }
        if self.open.calls.is_empty() {
            self.open.first = task;
        }
        let mut blobs = Vec::new();
        for blob in &args.blobs {
            let key = format!("blobs/{}", blob.hash().to_hex());
            match wait(self.store.put_if_absent(&key, &blob.bytes)) {
                Ok(()) | Err(StoreError::AlreadyExists { .. }) => blobs.push(key),
                Err(error) => return Err(error.into()),
            }
        }
        self.bytes += args.bytes.len() + 64;
        self.open.calls.push(StoredCall {
            function: function.name.to_owned(),
            signature_hash: function.signature_hash(),
            limits,
            args: args.bytes.to_vec(),
            blobs,
        });
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.open.calls.is_empty() {
            let segment = std::mem::take(&mut self.open);
            wait(self.store.put(&segment_key(self.id, self.count), &envelope::seal(&segment)?))?;
            self.count += 1;
            self.bytes = 0;
        }
        Ok(())
    }
}

fn segment_key(id: &str, segment: u64) -> String {
    format!("{id}/args/{segment:08}")
}

/// The arguments of a task of a started job; none where the store has no such job or task.
pub(crate) fn stored_input(store: &dyn Store, id: &str, task: u64) -> Result<Option<TaskInput>> {
    if !exists(store, &format!("{id}/job"))? {
        return Ok(None);
    }
    // Segments come in the order of their tasks.
    let mut left = 0..manifest(store, id)?.segments;
    while !left.is_empty() {
        let middle = left.start + (left.end - left.start) / 2;
        let Segment { first, mut calls } = kept::read(store, &segment_key(id, middle))?;
        match task.checked_sub(first) {
            None => left.end = middle,
            Some(index) if index >= calls.len() as u64 => left.start = middle + 1,
            Some(index) => {
                let StoredCall { function, signature_hash, limits, args, blobs } = calls.swap_remove(index as usize);
                let mut args = Args { bytes: args.into(), blobs: Vec::new() };
                for key in blobs {
                    args.blobs.push(Blob::new(wait(store.get(&key))?));
                }
                let (signature, body_hash, size) = (None, None, args.size());
                return Ok(Some(TaskInput { function, signature, size, limits, signature_hash, body_hash, args }));
            }
        }
    }
    Ok(None)
}

/// What is left to run of a stored job.
fn remaining(store: &dyn Store, id: &str, manifest: &Manifest) -> Result<Vec<Block>> {
    let mut over = kept::tasks_under(store, &kept::done_prefix(id))?;
    over.extend(kept::tasks_under(store, &kept::failed_prefix(id))?);
    let mut blobs = std::collections::HashMap::new();
    let mut blocks = Vec::new();
    for segment in 0..manifest.segments {
        let Segment { first, calls } = kept::read(store, &segment_key(id, segment))?;
        for (task, call) in (first..).zip(calls) {
            if over.contains(&task) {
                continue;
            }
            let function = registry::find(&call.function)?;
            if function.signature_hash() != call.signature_hash {
                return Err(Error::StaleDeployment { functions: vec![call.function] });
            }
            let mut args = Args { bytes: call.args.into(), blobs: Vec::new() };
            for key in call.blobs {
                if !blobs.contains_key(&key) {
                    blobs.insert(key.clone(), Blob::new(wait(store.get(&key))?));
                }
                args.blobs.extend(blobs.get(&key).cloned());
            }
            push(&mut blocks, task, function, call.limits, args);
        }
    }
    Ok(blocks)
}
