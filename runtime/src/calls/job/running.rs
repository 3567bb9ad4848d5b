//! A started job that this process runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::JobProgress;
use super::arguments::{self, EncodedCall};
use super::claim::JobClaim;
use super::finished::FinishedTasks;
use super::stored::StoredJob;
use crate::error::{Error, Result};
use crate::executor::commit::EarlierResults;
use crate::executor::commit::manifest::Identity;
use crate::executor::commit::record::{Objects, cancel_key};
use crate::executor::{Executor, Outcome, OutcomeQueue, ResultCommitter, ResultPolicy, Settings};
use crate::history::{Note, SharedLog};
use crate::scheduler::JobKey;
use crate::store::{Requests, event_loop, unblock};

/// Interval for cancel checks, in a store on this machine.
const CANCELLED_HERE: Duration = Duration::from_millis(200);
/// Interval for cancel checks, in a store where each request costs money.
const CANCELLED_ELSEWHERE: Duration = Duration::from_secs(2);

/// The state of a job that this process runs.
pub(super) struct Running {
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
    Ended,
    Cancelled,
    Broken(Error),
}

impl Running {
    /// Submits the calls, and looks after them until the job ends.
    pub(super) fn begin(
        stored: &StoredJob,
        calls: Vec<EncodedCall>,
        over: FinishedTasks,
        settings: &Settings,
        claimed: JobClaim,
    ) -> Result<Arc<Self>> {
        let StoredJob { id, manifest, executor, requests, .. } = stored;
        let outcomes = Arc::new(OutcomeQueue::default());
        let identity = Identity::new(id, requests.store().url(), None);
        let JobProgress { done, failed, .. } = over.progress(manifest.tasks);
        let known =
            EarlierResults { objects: Objects::default(), decided: over.decided, identity, lease: Some(claimed.lease) };
        let committer =
            ResultCommitter::new(requests.clone(), id.clone(), ResultPolicy::Only, true, known, outcomes.clone())?;
        for call in &calls {
            committer.begin(call.task, call.call);
        }
        let shared = executor.reactor();
        let log = SharedLog::default();
        let job = shared.open_job(settings.spec(id), outcomes.clone(), Some(committer.clone()), None, log.clone());
        shared.begin_log(&log, id, settings, &manifest.function, Some(manifest.tasks), claimed.log);
        log.earlier(done);
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
        event_loop()?.spawn(running.clone().supervise(requests.clone(), id.clone()));
        Ok(running)
    }

    /// Returns the progress of a job of this many tasks.
    pub(super) fn progress(&self, tasks: u64) -> JobProgress {
        let (done, failed) = (self.done.load(Ordering::Acquire), self.failed.load(Ordering::Acquire));
        JobProgress { tasks, done, failed }
    }

    /// Waits for the job to end.
    pub(super) async fn over(&self) -> Result<()> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| !matches!(state, State::Running)).await;
        // Cannot fail, because `self` owns the sender.
        let ended = ended.map_or(State::Ended, |state| state.clone());
        match ended {
            State::Running | State::Ended => Ok(()),
            State::Cancelled => Err(Error::Cancelled { done: self.done.load(Ordering::Acquire) }),
            State::Broken(error) => Err(error),
        }
    }

    /// Counts the outcomes of the tasks, until the job ends or is cancelled.
    async fn supervise(self: Arc<Self>, requests: Requests, id: String) {
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
                Ok(None) => break State::Ended,
                Err(_) => {
                    // If the request fails, it is repeated later.
                    if requests.exists(cancel_key(&id)).await.unwrap_or(false) {
                        break State::Cancelled;
                    }
                    look_at = Instant::now() + every;
                }
            }
        };
        if let State::Broken(error) = &state {
            self.log.note(Note::Reason(error.to_string()));
        }
        let this = self.clone();
        let end = match &state {
            State::Running | State::Ended => "done",
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

    pub(super) fn cancel(&self) {
        self.executor.reactor().cancel(self.job);
        let mut wakers = Vec::new();
        self.outcomes.give(Outcome::Cancelled, &mut wakers);
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    fn stop(&self, state: &'static str) {
        self.executor.reactor().cancel(self.job);
        self.committer.close();
        self.log.end(state);
    }
}
