//! Runs a job that is in the store, or follows the process that runs it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::JobProgress;
use super::arguments::{self, EncodedCall};
use super::claim::JobClaim;
use super::finished::FinishedTasks;
use super::remove::remove;
use super::running::Running;
use crate::error::{Error, Result};
use crate::executor::commit::build;
use crate::executor::commit::lease::{HolderWatch, Lease};
use crate::executor::commit::manifest::{Identity, Manifest, check_name};
use crate::executor::commit::record::{cancel_key, failed_key, failed_tasks};
use crate::executor::{Executor, Settings};
use crate::history::try_claim;
use crate::store::{Requests, sleep, wait};

/// A job in its store.
pub(super) struct StoredJob {
    pub(super) id: String,
    pub(super) manifest: Manifest,
    pub(super) executor: Executor,
    pub(super) requests: Requests,
    /// Set if this process runs the job, from the start or because the process that ran it is gone.
    running: OnceLock<Arc<Running>>,
    /// The findings of earlier checks on the job's holder. Locked while this process checks whether to run the job.
    taking: tokio::sync::Mutex<HolderWatch>,
    is_removed: AtomicBool,
}

/// The result of trying to take over a job.
pub(super) enum Taken {
    /// This process runs it.
    Running,
    /// All tasks are finished.
    Ended,
    /// Another process runs it.
    Elsewhere,
}

impl StoredJob {
    pub(super) async fn find(executor: Executor, id: &str) -> Result<Self> {
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
    pub(super) fn new(id: String, manifest: Manifest, executor: Executor, requests: Requests) -> Self {
        let (running, taking, is_removed) = Default::default();
        Self { id, manifest, executor, requests, running, taking, is_removed }
    }

    async fn is_cancelled(&self) -> Result<bool> {
        self.requests.exists(cancel_key(&self.id)).await
    }

    /// Removes the failures and the cancellation of an earlier run: a failure is not a result, and a job that is
    /// started again must run.
    pub(super) async fn forget_failures(&self) -> Result<()> {
        let mut keys: Vec<String> =
            failed_tasks(&self.requests, &self.id).await?.into_iter().map(|task| failed_key(&self.id, task)).collect();
        keys.push(cancel_key(&self.id));
        self.requests.remove(keys).await
    }

    /// Runs the remaining tasks of the job, unless a process already does.
    pub(super) async fn take_over(&self) -> Result<Taken> {
        let mut watch = self.taking.lock().await;
        if self.running.get().is_some() {
            return Ok(Taken::Running);
        }
        if self.is_removed.load(Ordering::Acquire) {
            return Err(Error::Job(format!("job `{}` was removed", self.id)));
        }
        let Some(claimed) = JobClaim::of(&self.executor, &self.requests, &self.id, try_claim, &mut watch).await? else {
            return Ok(Taken::Elsewhere);
        };
        let over = FinishedTasks::find(&self.requests, &self.id).await?;
        if over.progress(self.manifest.tasks).is_over() {
            return Ok(Taken::Ended);
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

    /// Runs tasks of the job, in this process.
    pub(super) fn run(
        &self,
        calls: Vec<EncodedCall>,
        over: FinishedTasks,
        settings: &Settings,
        claimed: JobClaim,
    ) -> Result<()> {
        let running = Running::begin(self, calls, over, settings, claimed)?;
        // Not set before, because this process has just claimed the job.
        let _ = self.running.set(running);
        Ok(())
    }

    /// Waits until all tasks are finished or the job is cancelled.
    pub(super) async fn over(&self) -> Result<()> {
        loop {
            if let Some(running) = self.running.get() {
                return running.over().await;
            }
            match self.take_over().await? {
                Taken::Running => {}
                Taken::Ended => return Ok(()),
                Taken::Elsewhere => sleep(Lease::pause(&self.requests)).await?,
            }
        }
    }

    /// Returns the progress of the job. If another process runs it, blocks for requests to the store.
    pub(super) fn progress(&self) -> Result<JobProgress> {
        let tasks = self.manifest.tasks;
        if let Some(running) = self.running.get() {
            return Ok(running.progress(tasks));
        }
        Ok(wait(FinishedTasks::find(&self.requests, &self.id))?.progress(tasks))
    }

    /// Stops the job, in whatever process it runs. Blocks for a request to the store.
    pub(super) fn cancel(&self) -> Result<()> {
        wait(self.requests.put(cancel_key(&self.id), Vec::new()))?;
        if let Some(running) = self.running.get() {
            running.cancel();
        }
        Ok(())
    }

    /// Stops the job, and removes everything that it left in the store.
    pub(super) async fn remove(&self) -> Result<()> {
        let Self { id, manifest, requests, running, taking, is_removed, .. } = self;
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

/// Puts the arguments and the manifest of a job, unless they are already there.
pub(super) async fn register(
    requests: &Requests,
    id: &str,
    identity: &Identity,
    encoded: &[EncodedCall],
) -> Result<Manifest> {
    if let Some(earlier) = identity.earlier().filter(|earlier| earlier.arguments.is_some()) {
        return Ok(earlier.clone());
    }
    let arguments = arguments::write(requests, id, encoded).await?;
    let registered = identity.manifest(Some(arguments.clone())).register(requests, id).await;
    if registered.as_ref().is_ok_and(|manifest| manifest.arguments.as_ref() == Some(&arguments)) {
        return registered;
    }
    // Another program was first.
    arguments::remove(requests, id, &arguments).await?;
    registered
}
