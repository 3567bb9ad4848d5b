//! Started jobs, and their handles in this or another process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::arguments::{self, Made};
use super::remove::remove;
use crate::attempt::{Decoded, decode_result};
use crate::calls::map::Calls;
use crate::error::{Attempt, Error, Result};
use crate::executor::commit::lease::{Lease, Watch};
use crate::executor::commit::manifest::{Identity, Manifest, call_hash, check_name, other_call, other_kind};
use crate::executor::commit::record::{
    CallHash, Done, FailedRecord, Kind, Objects, cancel_key, failed_key, failed_tasks,
};
use crate::executor::commit::{Known, build};
use crate::executor::{Executor, Outcome, OutcomeQueue, ResultCommitter, ResultPolicy, Settings};
use crate::history::{Claim, SharedLog, claim, try_claim};
use crate::platform::{self, Instance};
use crate::scheduler::JobKey;
use crate::store::{Requests, Store, event_loop, sleep, unblock, wait};

/// Interval for cancel checks, in a store on this machine.
const CANCELLED_HERE: Duration = Duration::from_millis(200);
/// Interval for cancel checks, in a store where each request costs money.
const CANCELLED_ELSEWHERE: Duration = Duration::from_secs(2);

/// Number of calls that are taken from an iterator before yielding, because the caller's async runtime may have other
/// tasks.
const IN_ONE_GO: usize = 1024;

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

/// A started job. It continues while its process lives, even if this handle is dropped.
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
#[must_use = "a started job continues without its handle; keep its id to attach to it, or `wait` for it"]
pub struct Job<R> {
    stored: Arc<StoredJob>,
    result: PhantomData<fn() -> R>,
}

/// A job in its store.
struct StoredJob {
    id: String,
    manifest: Manifest,
    executor: Executor,
    requests: Requests,
    /// Set if this process runs the job, from the start or because the process that ran it is gone.
    running: OnceLock<Arc<Running>>,
    /// The findings of earlier checks on the job's holder. Locked while this process checks whether to run the job.
    taking: tokio::sync::Mutex<Watch>,
    is_removed: AtomicBool,
}

/// The state of a job that this process runs.
struct Running {
    executor: Executor,
    job: JobKey,
    outcomes: Arc<OutcomeQueue>,
    committer: Arc<ResultCommitter>,
    log: SharedLog,
    done: AtomicU64,
    failed: AtomicU64,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
enum State {
    Running,
    Over,
    Cancelled,
    Broken(Error),
}

/// The result of trying to take over a job.
enum Taken {
    /// This process runs it.
    Running,
    /// All tasks are finished.
    Over,
    /// Another process runs it.
    Elsewhere,
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({}, {} tasks)", self.stored.id, self.stored.manifest.tasks)
    }
}

/// Returns a handle to a job that was started with [`start`](crate::Map::start), in this or another process.
///
/// If the process that started the job is gone, this process runs the remaining tasks.
///
/// # Errors
/// [`Error::Job`] if the default executor's store has no such job. If this process runs the remaining tasks and lacks
/// their functions, waiting for the job returns [`Error::UnknownFunction`].
pub async fn attach<R: DeserializeOwned>(id: &str) -> Result<Job<R>> {
    let stored = StoredJob::find(Executor::current_in_background()?, id).await?;
    Job::of(stored)
}

impl<R> Job<R> {
    pub(crate) async fn start<I: Calls<Result = R>>(
        executor: Executor,
        mut calls: I,
        settings: Settings,
    ) -> Result<Self> {
        let id = settings.name.clone().unwrap_or_else(platform::new_id);
        check_name(&id)?;
        let is_named = settings.name.is_some();
        let requests = Requests::new(executor.store());
        let earlier = if is_named { Manifest::find(&requests, &id).await? } else { None };
        let mut identity = Identity::new(&id, requests.store().url(), earlier);
        let mut made = Vec::new();
        while let Some(call) = std::future::poll_fn(|cx| calls.poll_next(cx)).await {
            let (parts, task) = (call.into_parts(), made.len() as u64);
            let (function, limits) = (parts.function, parts.limits().under(&settings.limits));
            parts.check_place(task, &executor)?;
            parts.check_resumable(&limits, task)?;
            let args = parts.args(task)?;
            let call = call_hash(function, &args);
            identity.add(function, &call)?;
            made.push(Made { task, call, function, limits, args });
            if made.len().is_multiple_of(IN_ONE_GO) {
                tokio::task::yield_now().await;
            }
        }
        identity.end()?;
        // Claimed before the manifest is put, so that a process that finds the manifest does not take over the job, and
        // before the results are read, so that all results of another process are seen.
        let claimed = Claimed::of(&executor, &requests, &id, claim, &mut Watch::default()).await?;
        build::check(&requests, &id, executor.reactor().config.other_build).await?;
        let mut over = Over::default();
        if is_named {
            over = Over::find(&requests, &id).await?;
            over.check(&id, &requests.store().url(), &made)?;
        }
        let manifest = register(&requests, &id, &identity, &made).await?;
        let stored = StoredJob::new(id, manifest, executor, requests);
        // It is the same job, so the process that runs it also runs it for this one.
        let Some(claimed) = claimed else { return Self::of(stored) };
        if is_named {
            stored.forget_failures().await?;
            made.retain(|call| !over.done.contains_key(&call.task));
        }
        stored.run(made, over, &settings, claimed)?;
        Ok(Self { stored: stored.into(), result: PhantomData })
    }

    /// Like [`attach`], for a job of the given executor. Blocks for a request to the store.
    ///
    /// # Errors
    /// See [`attach`].
    pub fn attach(executor: Executor, id: &str) -> Result<Self> {
        Self::of(wait(StoredJob::find(executor, id))?)
    }

    /// Returns a handle to a job that this process does not run yet, and starts to run the job if no process does.
    fn of(stored: StoredJob) -> Result<Self> {
        let stored = Arc::new(stored);
        let this = stored.clone();
        // An error is not lost: a method that waits for the job tries again and returns it.
        event_loop()?.spawn(async move { this.take_over().await.map(drop) });
        Ok(Self { stored, result: PhantomData })
    }

    /// Returns the id of the job, by which [`attach`] finds it in its store.
    pub fn id(&self) -> &str {
        &self.stored.id
    }

    /// Returns the progress of the job, by its committed outcomes. If another process runs the job, blocks for requests
    /// to the store.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn progress(&self) -> Result<JobProgress> {
        let tasks = self.stored.manifest.tasks;
        if let Some(running) = self.stored.running.get() {
            let (done, failed) = (running.done.load(Ordering::Acquire), running.failed.load(Ordering::Acquire));
            return Ok(JobProgress { tasks, done, failed });
        }
        let over = wait(Over::find(&self.stored.requests, &self.stored.id))?;
        Ok(JobProgress { tasks, done: over.done.len() as u64, failed: over.failed() })
    }

    /// Stops the job: running tasks are stopped, and waiting tasks are never run. The results so far stay in the store.
    /// Blocks for a request to the store.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn cancel(&self) -> Result<()> {
        wait(self.stored.requests.put(cancel_key(&self.stored.id), Vec::new()))?;
        if let Some(running) = self.stored.running.get() {
            running.cancel();
        }
        Ok(())
    }
}

impl<R> Job<R> {
    /// Stops the job and removes everything that it left in the store: arguments, results, failures, and values that
    /// nothing else in the store refers to. After that, its name is free. A job that another program awaits is not
    /// stopped; this waits for it to finish.
    ///
    /// If the job has refs or large arguments, everything else in the store is read to find out whether it refers to
    /// them. A [`Ref`](crate::Ref) to one of them that only a program holds becomes invalid.
    ///
    /// ```
    /// #[wren::remote]
    /// fn cube(x: u64) -> u64 { x * x * x }
    ///
    /// # wren::block_on(async {
    /// # let executor = wren::Executor::builder().store("memory:remove-doc").build()?;
    /// let job = wren::map(cube, 0..10).named("cubes").on(&executor).start().await?;
    /// assert_eq!(job.wait().await?[3], 27);
    /// job.remove().await?;
    /// assert!(executor.store().list("cubes", None, 1).await?.is_empty());
    /// # Ok::<(), wren::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn remove(self) -> Result<()> {
        let StoredJob { id, manifest, requests, running, taking, is_removed, .. } = &*self.stored;
        requests.put(cancel_key(id), Vec::new()).await?;
        // Keeps this handle from starting to run the job.
        let _taking = taking.lock().await;
        is_removed.store(true, Ordering::Release);
        if let Some(running) = running.get() {
            running.cancel();
            // It is cancelled, or has finished before: both are the end of the job.
            let _ = running.over().await;
        }
        // A process that runs the job elsewhere stops when it finds the cancel key.
        let lease = Lease::take(requests, id).await?;
        remove(requests, id, manifest.arguments.as_ref()).await?;
        lease.remove(requests, id).await
    }
}

impl<R: DeserializeOwned> Job<R> {
    /// Waits for the job to finish and returns all results, in order.
    ///
    /// # Errors
    /// The failure of the first task that failed; [`Error::Cancelled`] if the job was cancelled.
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

    /// Waits for the job to finish and returns each task's own outcome, in order.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::Store`].
    pub async fn wait_all(&self) -> Result<Vec<Result<R>>> {
        let StoredJob { id, manifest, requests, .. } = &*self.stored;
        self.stored.over().await?;
        let mut failed = failures(requests, id).await?;
        let objects = Objects::list(requests, id).await?;
        let mut read = objects.read(requests, id, |kind, Done { result, .. }| (kind, result)).await?;
        let outcome = |task| match (read.done.remove(&task), failed.remove(&task)) {
            (Some((Kind::Value, result)), _) => {
                Ok(decode_result(&result, &Decoded { function: &manifest.function, task, attempt: 1 }))
            }
            (Some((Kind::Ref, _)), _) => Err(other_kind(id, &requests.store().url(), task)),
            (None, Some(FailedRecord { attempt, function, failure, stderr })) => {
                Ok(Err(failure.into_error(Attempt { function, task, attempt, stderr, other_failures: 0 })))
            }
            (None, None) => {
                let store = requests.store().url();
                Err(Error::Job(format!(
                    "store {store} no longer has the outcome of task {task} of job `{id}`, which was finished"
                )))
            }
        };
        (0..manifest.tasks).map(outcome).collect()
    }
}

/// Tasks that are finished.
#[derive(Debug, Default)]
struct Over {
    done: BTreeMap<u64, (Kind, CallHash)>,
    /// The tasks in each cell's own object, as bits, by the cell's first task.
    decided: HashMap<u64, u64>,
    failed: BTreeSet<u64>,
}

impl Over {
    async fn find(requests: &Requests, id: &str) -> Result<Self> {
        let failed = failed_tasks(requests, id).await?;
        let read = Objects::list(requests, id).await?.read(requests, id, |kind, done| (kind, done.call)).await?;
        Ok(Self { done: read.done, decided: read.decided.into_iter().collect(), failed })
    }

    /// Returns the number of tasks that failed and did not succeed later.
    fn failed(&self) -> u64 {
        self.failed.iter().filter(|task| !self.done.contains_key(task)).count() as u64
    }

    /// Rejects results of different calls.
    fn check(&self, id: &str, store: &str, made: &[Made]) -> Result<()> {
        for (task, (kind, call)) in &self.done {
            match usize::try_from(*task).ok().and_then(|task| made.get(task)) {
                Some(made) if made.call != *call => return Err(other_call(id, store, *task, made.function.name)),
                Some(_) if *kind == Kind::Ref => return Err(other_kind(id, store, *task)),
                _ => {}
            }
        }
        Ok(())
    }
}

async fn failures(requests: &Requests, id: &str) -> Result<BTreeMap<u64, FailedRecord>> {
    let tasks = failed_tasks(requests, id).await?;
    let id = id.to_owned();
    let read = move |store: &dyn Store, task| Ok((task, FailedRecord::read(store, &failed_key(&id, task))?));
    Ok(requests.for_each(tasks, read).await?.into_iter().collect())
}

/// Puts the arguments and the manifest of a job, unless they are already there.
async fn register(requests: &Requests, id: &str, identity: &Identity, made: &[Made]) -> Result<Manifest> {
    if let Some(earlier) = identity.earlier().filter(|earlier| earlier.arguments.is_some()) {
        return Ok(earlier.clone());
    }
    let arguments = arguments::write(requests, id, made).await?;
    let registered = identity.manifest(Some(arguments.clone())).register(requests, id).await;
    if registered.as_ref().is_ok_and(|manifest| manifest.arguments.as_ref() == Some(&arguments)) {
        return registered;
    }
    // Another program was first.
    arguments::remove(requests, id, &arguments).await?;
    registered
}

/// The right to run a job.
struct Claimed {
    /// The job's log, if logs can be written. Its lock shows programs that use the same folder at once when the holder
    /// is gone.
    log: Option<File>,
    lease: Lease,
}

impl Claimed {
    /// Takes the right to run a job. Returns `None` if another program runs it.
    async fn of(
        executor: &Executor,
        requests: &Requests,
        id: &str,
        claim: fn(&Path, &str) -> Claim,
        watch: &mut Watch,
    ) -> Result<Option<Self>> {
        let (directory, name) = (executor.reactor().config.directory.clone(), id.to_owned());
        let log = match unblock(move || claim(&directory, &name)).await? {
            Claim::Elsewhere => return Ok(None),
            Claim::Here(file) => Some(file),
            Claim::Impossible => None,
        };
        loop {
            match Lease::try_take(requests, id, watch).await? {
                Ok(lease) => return Ok(Some(Self { log, lease })),
                // The previous holder of the log, in this process, is about to give back the lease.
                Err(holder) if log.is_some() && holder == *Instance::of_this_process() => {
                    sleep(Lease::pause(requests)).await?;
                }
                Err(_) => return Ok(None),
            }
        }
    }
}

impl StoredJob {
    async fn find(executor: Executor, id: &str) -> Result<Self> {
        check_name(id)?;
        let requests = Requests::new(executor.store());
        let Some(manifest) = Manifest::find(&requests, id).await? else {
            let store = requests.store().url();
            return Err(Error::Job(format!(
                "store {store} has no job `{id}`; `cargo wren jobs` lists the existing ones"
            )));
        };
        Ok(Self::new(id.to_owned(), manifest, executor, requests))
    }

    /// A job that this process does not run yet.
    fn new(id: String, manifest: Manifest, executor: Executor, requests: Requests) -> Self {
        let (running, taking, is_removed) = Default::default();
        Self { id, manifest, executor, requests, running, taking, is_removed }
    }

    async fn is_cancelled(&self) -> Result<bool> {
        self.requests.exists(cancel_key(&self.id)).await
    }

    /// Removes the failures and the cancellation of an earlier run: a failure is not a result, and a job that is
    /// started again must run.
    async fn forget_failures(&self) -> Result<()> {
        let mut keys: Vec<String> =
            failed_tasks(&self.requests, &self.id).await?.into_iter().map(|task| failed_key(&self.id, task)).collect();
        keys.push(cancel_key(&self.id));
        self.requests.remove(keys).await
    }

    /// Runs the remaining tasks of the job, unless a process already does.
    async fn take_over(&self) -> Result<Taken> {
        let mut watch = self.taking.lock().await;
        if self.running.get().is_some() {
            return Ok(Taken::Running);
        }
        if self.is_removed.load(Ordering::Acquire) {
            return Err(Error::Job(format!("job `{}` was removed", self.id)));
        }
        let Some(claimed) = Claimed::of(&self.executor, &self.requests, &self.id, try_claim, &mut watch).await? else {
            return Ok(Taken::Elsewhere);
        };
        let over = Over::find(&self.requests, &self.id).await?;
        if over.done.len() as u64 + over.failed() >= self.manifest.tasks {
            return Ok(Taken::Over);
        }
        if self.is_cancelled().await? {
            return Err(Error::Cancelled { done: over.done.len() as u64 });
        }
        let Some(arguments) = &self.manifest.arguments else {
            return Err(Error::Job(format!(
                "job `{}` was awaited by a program that is gone, and only `start` stores arguments for other programs; \
                 run the program again",
                self.id
            )));
        };
        build::check(&self.requests, &self.id, self.executor.reactor().config.other_build).await?;
        let known = over.done.keys().chain(&over.failed).copied().collect();
        let calls = arguments::read(&self.requests, &self.id, arguments, known).await?;
        self.run(calls, over, &Settings::default(), claimed)?;
        Ok(Taken::Running)
    }

    fn run(&self, calls: Vec<Made>, over: Over, settings: &Settings, claim: Claimed) -> Result<()> {
        let Self { id, manifest, executor, requests, .. } = self;
        let outcomes = Arc::new(OutcomeQueue::default());
        let identity = Identity::new(id, requests.store().url(), None);
        let (done, failed) = (over.done.len() as u64, over.failed());
        let known = Known { objects: Objects::default(), decided: over.decided, identity, lease: Some(claim.lease) };
        let committer =
            ResultCommitter::new(requests.clone(), id.clone(), ResultPolicy::Only, true, known, outcomes.clone())?;
        for call in &calls {
            committer.begin(call.task, call.call);
        }
        let shared = executor.reactor();
        let log = SharedLog::default();
        let job = shared.open_job(settings.spec(id), outcomes.clone(), Some(committer.clone()), None, log.clone());
        shared.begin_log(&log, id, settings, &manifest.function, Some(manifest.tasks), claim.log);
        for block in arguments::blocks(calls) {
            shared.submit(job, block);
        }
        shared.close(job);
        let running = Arc::new(Running {
            executor: executor.clone(),
            job,
            outcomes,
            committer,
            log,
            done: done.into(),
            failed: failed.into(),
            state: watch::Sender::new(State::Running),
        });
        event_loop()?.spawn(running.clone().look_after(requests.clone(), id.clone()));
        // Not set before, because this process has just claimed the job.
        let _ = self.running.set(running);
        Ok(())
    }

    /// Waits until all tasks are finished or the job is cancelled.
    async fn over(&self) -> Result<()> {
        loop {
            if let Some(running) = self.running.get() {
                return running.over().await;
            }
            match self.take_over().await? {
                Taken::Running => {}
                Taken::Over => return Ok(()),
                Taken::Elsewhere => sleep(Lease::pause(&self.requests)).await?,
            }
        }
    }
}

impl Running {
    /// Waits for the job to end.
    async fn over(&self) -> Result<()> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| !matches!(state, State::Running)).await;
        // Cannot fail, because `self` owns the sender.
        let ended = ended.map_or(State::Over, |state| state.clone());
        match ended {
            State::Running | State::Over => Ok(()),
            State::Cancelled => Err(Error::Cancelled { done: self.done.load(Ordering::Acquire) }),
            State::Broken(error) => Err(error),
        }
    }

    /// Counts the outcomes of the tasks, until the job ends or is cancelled.
    async fn look_after(self: Arc<Self>, requests: Requests, id: String) {
        let every = if requests.are_free() { CANCELLED_HERE } else { CANCELLED_ELSEWHERE };
        let mut look_at = Instant::now() + every;
        let state = loop {
            match timeout_at(look_at, self.next()).await {
                Ok(Some(Outcome::Done { new, .. })) => {
                    let done: u64 = new.iter().map(|tasks| tasks.end - tasks.start).sum();
                    self.done.fetch_add(done, Ordering::AcqRel);
                }
                Ok(Some(Outcome::Failed { .. })) => drop(self.failed.fetch_add(1, Ordering::AcqRel)),
                Ok(Some(Outcome::Cancelled)) => break State::Cancelled,
                Ok(Some(outcome)) => break State::Broken(outcome.into_error(self.done.load(Ordering::Acquire))),
                Ok(None) => break State::Over,
                Err(_) => {
                    // If the request fails, it is repeated later.
                    if requests.exists(cancel_key(&id)).await.unwrap_or(false) {
                        break State::Cancelled;
                    }
                    look_at = Instant::now() + every;
                }
            }
        };
        let this = self.clone();
        let end = match &state {
            State::Running | State::Over => "done",
            State::Cancelled | State::Broken(Error::Cancelled { .. }) => "cancelled",
            State::Broken(_) => "failed",
        };
        // Off the event loop, because the last lines of the log go to a disk and to the terminal.
        let _ = unblock(move || this.stop(end)).await;
        self.state.send_replace(state);
    }

    /// Returns the next outcome, or `None` after the last.
    async fn next(&self) -> Option<Outcome> {
        let next = std::future::poll_fn(|cx| match self.outcomes.take_or_register(cx.waker()) {
            Some(outcome) => Poll::Ready(Some(outcome)),
            None if self.outcomes.is_over() => Poll::Ready(None),
            None => Poll::Pending,
        });
        next.await
    }

    fn cancel(&self) {
        self.executor.reactor().cancel(self.job);
        let mut wakers = Vec::new();
        self.outcomes.give(Outcome::Cancelled, &mut wakers);
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    fn stop(&self, state: &'static str) {
        self.executor.reactor().cancel(self.job);
        self.committer.hang_up();
        self.log.end(state);
    }
}

/// Returns the result of a task of a named or started job, if the store has one.
pub(crate) fn stored_result(store: &Arc<dyn Store>, id: &str, task: u64) -> Option<Vec<u8>> {
    let requests = Requests::new(store.clone());
    let find = async {
        let objects = Objects::list(&requests, id).await?.of_cell(crate::executor::commit::record::cell_of(task));
        objects.read(&requests, id, |_, done| done.result).await
    };
    wait(find).ok()?.done.remove(&task)
}
