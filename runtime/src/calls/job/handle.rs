//! A job that runs by itself, and its handle here or in another process.

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

/// How often it is looked whether somebody asked for a job's end: in a store of this machine, and in one
/// where each look costs money.
const CANCELLED_HERE: Duration = Duration::from_millis(200);
const CANCELLED_ELSEWHERE: Duration = Duration::from_secs(2);

/// Calls that are taken from an iterator in one go: the caller's event loop has other things to do.
const IN_ONE_GO: usize = 1024;

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
    stored: Arc<StoredJob>,
    result: PhantomData<fn() -> R>,
}

/// A job in its store.
struct StoredJob {
    id: String,
    manifest: Manifest,
    executor: Executor,
    requests: Requests,
    /// Set where this process runs the job, from the start or since the one that did is gone.
    running: OnceLock<Arc<Running>>,
    /// Held by who finds out whether this process is to run it: what is seen of who does.
    taking: tokio::sync::Mutex<Watch>,
    is_removed: AtomicBool,
}

/// What this process holds of a job that it runs.
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

/// What came of taking a job over.
enum Taken {
    /// This process runs it.
    Running,
    /// No task is left.
    Over,
    /// Another process runs it.
    Elsewhere,
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({}, {} tasks)", self.stored.id, self.stored.manifest.tasks)
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
        // Claimed first: who finds the manifest does not take the job over, and what another has done by now is seen.
        let claimed = Claimed::of(&executor, &requests, &id, claim, &mut Watch::default()).await?;
        build::check(&requests, &id, executor.reactor().config.other_build).await?;
        let mut over = Over::default();
        if is_named {
            over = Over::find(&requests, &id).await?;
            over.check(&id, &requests.store().url(), &made)?;
        }
        let manifest = register(&requests, &id, &identity, &made).await?;
        let stored = StoredJob::new(id, manifest, executor, requests);
        // The job is the same: whoever runs it runs it for this process too.
        let Some(claimed) = claimed else { return Self::of(stored) };
        if is_named {
            stored.forget_failures().await?;
            made.retain(|call| !over.done.contains_key(&call.task));
        }
        stored.run(made, over, &settings, claimed)?;
        Ok(Self { stored: stored.into(), result: PhantomData })
    }

    /// As [`attach`], to a job of an executor of one's own. It blocks for a request to the store.
    ///
    /// # Errors
    /// As [`attach`].
    pub fn attach(executor: Executor, id: &str) -> Result<Self> {
        Self::of(wait(StoredJob::find(executor, id))?)
    }

    /// A job that this process does not run yet; if nobody does, it begins to.
    fn of(stored: StoredJob) -> Result<Self> {
        let stored = Arc::new(stored);
        let this = stored.clone();
        // Whoever waits finds out for himself what cannot be.
        event_loop()?.spawn(async move { this.take_over().await.map(drop) });
        Ok(Self { stored, result: PhantomData })
    }

    /// Names the job in its store.
    pub fn id(&self) -> &str {
        &self.stored.id
    }

    /// How far the job is, by what is committed. For a job that another process runs it asks the store, and
    /// blocks meanwhile.
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

    /// Stops the job: what runs is ended, what waits is never run. Results so far stay. It blocks for a
    /// request to the store.
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
    /// Stops the job, and removes all that it left in the store: arguments, results, failures, and values that nothing
    /// else in the store names. Its name is free then. A job that another program awaits is not stopped; this waits for
    /// its end.
    ///
    /// Where the job has refs or large arguments, all else in the store is read, to find whether it names them. A
    /// [`Ref`](crate::Ref) to one of them that only a program holds is of no use any more.
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
        // Nor does this handle begin to run it.
        let _taking = taking.lock().await;
        is_removed.store(true, Ordering::Release);
        if let Some(running) = running.get() {
            running.cancel();
            // Cancelled, or over before: either is the end.
            let _ = running.over().await;
        }
        // Whoever runs it elsewhere stops for the cancel key.
        let lease = Lease::take(requests, id).await?;
        remove(requests, id, manifest.arguments.as_ref()).await?;
        lease.remove(requests, id).await
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
                    "store {store} has no outcome of task {task} of job `{id}` any more; it was there"
                )))
            }
        };
        (0..manifest.tasks).map(outcome).collect()
    }
}

/// Tasks that are over.
#[derive(Debug, Default)]
struct Over {
    done: BTreeMap<u64, (Kind, CallHash)>,
    /// The tasks that the objects of cells have.
    decided: HashMap<u64, u64>,
    failed: BTreeSet<u64>,
}

impl Over {
    async fn find(requests: &Requests, id: &str) -> Result<Self> {
        let failed = failed_tasks(requests, id).await?;
        let read = Objects::list(requests, id).await?.read(requests, id, |kind, done| (kind, done.call)).await?;
        Ok(Self { done: read.done, decided: read.decided.into_iter().collect(), failed })
    }

    /// How many failed, and were not done later.
    fn failed(&self) -> u64 {
        self.failed.iter().filter(|task| !self.done.contains_key(task)).count() as u64
    }

    /// Refuses results of other calls.
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

/// Puts the arguments and the manifest of a job, unless they are there.
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
    /// Its log, where logs can be written. Programs of one folder find out by it at once that its holder is gone.
    log: Option<File>,
    lease: Lease,
}

impl Claimed {
    /// Takes the right to run a job; none where another program runs it.
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
                // Whoever had the log before in this process is about to give it back.
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
                "store {store} has no job `{id}`; `cargo wren jobs` lists those there are"
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

    /// A failure is not a result, and who starts a job again wants it to run.
    async fn forget_failures(&self) -> Result<()> {
        let mut keys: Vec<String> =
            failed_tasks(&self.requests, &self.id).await?.into_iter().map(|task| failed_key(&self.id, task)).collect();
        keys.push(cancel_key(&self.id));
        self.requests.remove(keys).await
    }

    /// Runs what is left of the job, unless a process does.
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
                "job `{}` was awaited by its program, which is gone, and only `start` leaves arguments for others; run \
                 the program again",
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
        // Nobody else set it: the claim is this one's.
        let _ = self.running.set(running);
        Ok(())
    }

    /// Waits until no task is left, or the job is cancelled.
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
    /// Waits for the end.
    async fn over(&self) -> Result<()> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| !matches!(state, State::Running)).await;
        // The sender is this one's own.
        let ended = ended.map_or(State::Over, |state| state.clone());
        match ended {
            State::Running | State::Over => Ok(()),
            State::Cancelled => Err(Error::Cancelled { done: self.done.load(Ordering::Acquire) }),
            State::Broken(error) => Err(error),
        }
    }

    /// Counts what comes of the tasks, until no more does or somebody asks for the job's end.
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
                    // Where the store cannot be asked now, it is asked again.
                    if requests.exists(cancel_key(&id)).await.unwrap_or(false) {
                        break State::Cancelled;
                    }
                    look_at = Instant::now() + every;
                }
            }
        };
        let this = self.clone();
        let word = match &state {
            State::Running | State::Over => "done",
            State::Cancelled | State::Broken(Error::Cancelled { .. }) => "cancelled",
            State::Broken(_) => "failed",
        };
        // The log's last lines go to a disk and to the terminal.
        let _ = unblock(move || this.stop(word)).await;
        self.state.send_replace(state);
    }

    /// The next outcome; none after the last.
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

/// The result of a task, where the store has one: of a named job, or of a started one.
pub(crate) fn stored_result(store: &Arc<dyn Store>, id: &str, task: u64) -> Option<Vec<u8>> {
    let requests = Requests::new(store.clone());
    let find = async {
        let objects = Objects::list(&requests, id).await?.of_cell(crate::executor::commit::record::cell_of(task));
        objects.read(&requests, id, |_, done| done.result).await
    };
    wait(find).ok()?.done.remove(&task)
}
