//! One running job: calls go in, never more than a window ahead of the consumed outcomes, and outcomes come out.

mod fill;
mod window;

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use crate::attempt::TaskBlock;
use crate::error::{Error, Result};
use crate::executor::{
    Executor, Outcome, OutcomeQueue, Pending, ResultCommitter, ResultPolicy, Settings, SuppressGuard,
};
use crate::function::{Limits, RemoteFn};
use crate::history::{Note, SharedLog};
use crate::platform;
use crate::scheduler::JobKey;
use crate::store::{BoxFuture, Requests};
use crate::terminal::Activity;
use fill::FIRST_BLOCK_TASKS;
use window::Window;

/// One running job, from its iterator to its outcomes.
pub(crate) struct Feed<I> {
    calls: Option<I>,
    executor: Executor,
    outcomes: Arc<OutcomeQueue>,
    /// Opens the result committer, if the job has one.
    opening: Option<BoxFuture<'static, Result<Arc<ResultCommitter>>>>,
    /// `None` until the result committer is open.
    job: Option<JobKey>,
    id: String,
    settings: Settings,
    /// The function of the previous call, and the limits of its calls that set none themselves.
    usual: Option<(&'static RemoteFn, Limits)>,
    committer: Option<Arc<ResultCommitter>>,
    /// The block that is being filled.
    block: Option<Box<TaskBlock>>,
    /// Whether the block has the usual limits.
    block_is_usual: bool,
    /// Where the block is lent while the iterator is asked for the next call.
    pending: Arc<Pending>,
    block_tasks: usize,
    /// Number of tasks at which a block is submitted before it is full, if workers are idle.
    eager_tasks: u64,
    /// When the last block was submitted.
    submitted_at: Instant,
    /// How long blocks took to submit.
    submitting: Duration,
    window: Window,
    /// The functions of the calls, each with its first task.
    functions: Vec<(u64, &'static str)>,
    /// Tasks whose arguments could not be encoded, and whose failures were not taken yet.
    not_encoded: HashSet<u64>,
    /// Number of tasks whose failures were taken.
    failed: u64,
    log: SharedLog,
    logged: bool,
    /// Says that the first call is encoded, if that takes long.
    encoding: Option<Activity>,
    ended: bool,
}

impl<I> Feed<I> {
    pub(super) fn open(executor: Executor, calls: I, settings: Settings, keep: ResultPolicy) -> Self {
        let outcomes = Arc::new(OutcomeQueue::default());
        let id = settings.name.clone().unwrap_or_else(platform::new_id);
        let mut feed = Self {
            calls: Some(calls),
            executor,
            outcomes: outcomes.clone(),
            opening: None,
            job: None,
            id: id.clone(),
            usual: None,
            settings,
            committer: None,
            block: None,
            block_is_usual: false,
            pending: Arc::default(),
            block_tasks: FIRST_BLOCK_TASKS,
            eager_tasks: 1,
            submitted_at: Instant::now(),
            submitting: Duration::ZERO,
            window: Window::default(),
            functions: Vec::new(),
            not_encoded: HashSet::new(),
            failed: 0,
            log: SharedLog::default(),
            logged: false,
            encoding: None,
            ended: false,
        };
        match (feed.settings.name.is_some(), keep) {
            (false, ResultPolicy::Nothing) => feed.begin(None),
            (named, keep) => {
                let requests = Requests::new(feed.executor.store());
                let on_other_build = feed.executor.reactor().config.other_build;
                feed.opening =
                    Some(Box::pin(ResultCommitter::open(requests, id, named, keep, on_other_build, outcomes)));
            }
        }
        feed
    }

    fn begin(&mut self, committer: Option<Arc<ResultCommitter>>) {
        self.committer.clone_from(&committer);
        let spec = self.settings.spec(&self.id);
        self.window.look_ahead(&self.settings, 1);
        let (outcomes, pending, log) = (self.outcomes.clone(), Some(self.pending.clone()), self.log.clone());
        self.job = Some(self.executor.reactor().open_job(spec, outcomes, committer, pending, log));
    }

    /// Waits until the result committer is open, if the job has one.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Error::if_forked()?;
        if let Some(opening) = &mut self.opening {
            let opened = ready!(opening.as_mut().poll(cx));
            self.opening = None;
            self.begin(Some(opened?));
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Returns the function of a task, and the next task that may be of another function.
    pub(super) fn function_of(&self, task: u64) -> (&'static str, u64) {
        let next = self.functions.partition_point(|(first, _)| *first <= task);
        let name = next.checked_sub(1).and_then(|index| self.functions.get(index)).map_or("", |(_, name)| name);
        (name, self.functions.get(next).map_or(u64::MAX, |(first, _)| *first))
    }

    /// Records in the job's log for how long results were decoded.
    pub(super) fn decoded_for(&self, took: Duration) {
        self.log.decoded_for(took);
    }

    /// Returns the number of tasks taken so far. There are at least as many results.
    pub(super) fn taken(&self) -> u64 {
        self.window.taken
    }

    /// Takes the next outcome, if one has arrived.
    pub(super) fn take(&mut self) -> Option<Outcome> {
        loop {
            let outcome = self.outcomes.take()?;
            match &outcome {
                Outcome::Done { new, .. } => {
                    self.window.consumed += new.iter().map(|r| r.end - r.start).sum::<u64>();
                    for tasks in new {
                        // Calls whose results were found are not in a submitted block.
                        match self.found(tasks.clone(), false) {
                            0 => self.window.note_consumed(tasks),
                            earlier => self.log.earlier(earlier),
                        }
                    }
                }
                Outcome::Failed { task, .. } => {
                    self.window.consumed += 1;
                    self.failed += 1;
                    // Calls that were not encoded were not submitted.
                    if !self.not_encoded.remove(task) {
                        self.window.note_consumed(&(*task..*task + 1));
                    }
                }
                Outcome::MissingResult { tasks } => {
                    self.found(tasks.iter().copied(), true);
                    continue;
                }
                Outcome::OverBudget { .. } | Outcome::Cancelled | Outcome::Broken(_) => {}
            }
            return Some(outcome);
        }
    }

    /// Whether every task was consumed, and no more follow.
    pub(super) fn is_over(&self) -> bool {
        // With a result committer, everything must be written first, including the manifest.
        self.ended && self.window.consumed == self.window.taken && (self.committer.is_none() || self.outcomes.is_over())
    }

    pub(super) fn has_outcome(&self) -> bool {
        self.outcomes.has_outcome()
    }

    /// Whether there is something to take or to do. If not, stores the waker.
    pub(super) fn is_ready_or_register(&self, waker: &Waker) -> bool {
        self.outcomes.is_ready_or_register(waker)
    }

    /// Keeps the reactor asleep until the guard is dropped, because this thread does its work.
    pub(super) fn suppress_reactor(executor: &Executor) -> SuppressGuard<'_> {
        executor.reactor().suppress_reactor()
    }

    /// Polls briefly for the next outcome, if one is expected.
    pub(super) fn watch(&self) -> bool {
        self.window.taken > self.window.consumed && self.executor.reactor().watch(|| self.outcomes.has_outcome())
    }

    /// Ends the job, and its log with the given state.
    pub(super) fn end(&mut self, state: &'static str) {
        if platform::is_forked() {
            return;
        }
        self.opening = None;
        if let Some(job) = self.job {
            self.executor.reactor().cancel(job);
        }
        if let Some(committer) = &self.committer {
            committer.close();
        }
        self.log.end(state);
    }

    /// Converts an outcome that is not a result into an error, with the budget and the progress of the job.
    pub(super) fn error_of(&self, outcome: Outcome) -> Error {
        let is_of_task = matches!(outcome, Outcome::Failed { .. });
        // Outcomes of failed tasks were consumed, too.
        let done = self.window.consumed.saturating_sub(self.failed);
        let mut error = outcome.into_error(done);
        match &mut error {
            Error::OverBudget { budget_usd, .. } => *budget_usd = self.settings.budget_usd.unwrap_or_default(),
            Error::Cancelled { done: of_error } => *of_error = done,
            _ => {}
        }
        if !is_of_task {
            self.log.note(Note::Reason(error.to_string()));
        }
        error
    }
}

impl<I> Drop for Feed<I> {
    fn drop(&mut self) {
        self.end("cancelled");
    }
}
