//! The handle of a started job, in this or another process.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::JobProgress;
use super::arguments::EncodedCall;
use super::claim::JobClaim;
use super::finished::{FinishedTasks, failures};
use super::stored::{StoredJob, register};
use crate::attempt::{Decoded, decode_result};
use crate::calls::map::Calls;
use crate::error::{Attempt, Error, Result};
use crate::executor::commit::build;
use crate::executor::commit::lease::HolderWatch;
use crate::executor::commit::manifest::{Identity, Manifest, call_hash, check_name, other_kind};
use crate::executor::commit::record::{Done, FailedRecord, Kind, Objects};
use crate::executor::{Executor, Settings};
use crate::history::claim;
use crate::platform;
use crate::store::{Requests, event_loop, wait};

/// Number of calls that are taken from an iterator before yielding, because the caller's async runtime may have other
/// tasks.
const IN_ONE_GO: usize = 1024;

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
        let mut encoded = Vec::new();
        while let Some(call) = std::future::poll_fn(|cx| calls.poll_next(cx)).await {
            let (parts, task) = (call.into_parts(), encoded.len() as u64);
            let (function, limits) = (parts.function, parts.limits().under(&settings.limits));
            parts.check_place(task, &executor)?;
            parts.check_resumable(&limits, task)?;
            let args = parts.args(task)?;
            let call = call_hash(function, &args);
            identity.add(function, &call)?;
            encoded.push(EncodedCall { task, call, function, limits, args });
            if encoded.len().is_multiple_of(IN_ONE_GO) {
                tokio::task::yield_now().await;
            }
        }
        identity.end()?;
        // The job is claimed before the manifest is put, so that a process that finds the manifest does not take over
        // the job, and before the results are read, so that all results of another process are seen.
        let claimed = JobClaim::of(&executor, &requests, &id, claim, &mut HolderWatch::default()).await?;
        build::check(&requests, &id, executor.reactor().config.other_build).await?;
        let mut over = FinishedTasks::default();
        if is_named {
            over = FinishedTasks::find(&requests, &id).await?;
            over.check(&id, &requests.store().url(), &encoded)?;
        }
        let manifest = register(&requests, &id, &identity, &encoded).await?;
        let stored = StoredJob::new(id, manifest, executor, requests);
        // It is the same job, so the process that runs it also runs it for this one.
        let Some(claimed) = claimed else { return Self::of(stored) };
        if is_named {
            stored.forget_failures().await?;
            encoded.retain(|call| !over.done.contains_key(&call.task));
        }
        stored.run(encoded, over, &settings, claimed)?;
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
        self.stored.progress()
    }

    /// Stops the job: running tasks are stopped, and waiting tasks are never run. The results so far stay in the store.
    /// Blocks for a request to the store.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn cancel(&self) -> Result<()> {
        self.stored.cancel()
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
        self.stored.remove().await
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
