//! The outcome queue: holds the outcomes of a job until its caller takes them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::attempt::Results;
use crate::error::{Attempt, Error, Failure};

/// The outcome of some tasks of a job, or of the job as a whole.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// `results` has the results of all `tasks`. Only the tasks in `new` had no result before.
    Done {
        tasks: Range<u64>,
        new: Vec<Range<u64>>,
        results: Results,
        /// The number of the attempt, from 1.
        attempt: u32,
    },
    Failed {
        task: u64,
        attempt: u32,
        function: &'static str,
        failure: Failure,
        stderr: String,
    },
    /// Tasks whose results an earlier run seemed to have left, but did not. They must be run.
    MissingResult {
        tasks: Vec<u64>,
    },
    OverBudget {
        spent_usd: f64,
    },
    /// The job was cancelled on request, for instance by another process.
    Cancelled,
    /// The job cannot continue.
    Broken(Error),
}

impl Outcome {
    /// Returns the size of the results, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Outcome::Done { results, .. } => results.size(),
            _ => 0,
        }
    }

    /// Returns the number of tasks that finish with this outcome.
    fn tasks(&self) -> u64 {
        match self {
            Outcome::Done { new, .. } => new.iter().map(|tasks| tasks.end - tasks.start).sum(),
            Outcome::Failed { .. } => 1,
            _ => 0,
        }
    }

    /// Converts an outcome that is not a result into an error. `done` is the number of tasks that are done. The caller
    /// fills in the `budget_usd` of [`Error::OverBudget`], which is 0 here.
    pub(crate) fn into_error(self, done: u64) -> Error {
        match self {
            Outcome::Failed { task, attempt, function, failure, stderr } => {
                let function = function.to_owned();
                failure.into_error(Attempt { function, task, attempt, stderr, other_failures: 0 })
            }
            Outcome::OverBudget { spent_usd } => Error::OverBudget { budget_usd: 0.0, spent_usd, done },
            Outcome::Cancelled => Error::Cancelled { done },
            Outcome::Broken(error) => error,
            Outcome::Done { .. } | Outcome::MissingResult { .. } => {
                Error::Job("a result was treated as an error; this is a bug in wren".to_owned())
            }
        }
    }
}

/// Outcomes in order of arrival, and the waker of the reader that waits for them.
#[derive(Debug, Default)]
pub(crate) struct OutcomeQueue {
    state: Mutex<State>,
    /// Size of the results that were not taken yet, in bytes.
    bytes: AtomicUsize,
    /// Total number of tasks with an outcome, including outcomes that were taken.
    tasks: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    outcomes: VecDeque<Outcome>,
    waker: Option<Waker>,
    finished: bool,
}

impl OutcomeQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an outcome. Moves the waker of a waiting reader to `wakers`.
    pub(crate) fn give(&self, outcome: Outcome, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        self.bytes.fetch_add(outcome.size(), Ordering::Relaxed);
        self.tasks.fetch_add(outcome.tasks(), Ordering::Relaxed);
        state.outcomes.push_back(outcome);
        wakers.extend(state.waker.take());
    }

    /// Marks the queue as finished: no more outcomes follow. Moves the waker of a waiting reader to `wakers`.
    pub(crate) fn finish(&self, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        state.finished = true;
        wakers.extend(state.waker.take());
    }

    pub(crate) fn has_outcome(&self) -> bool {
        let state = self.lock();
        state.finished || !state.outcomes.is_empty()
    }

    /// Takes the next outcome, if there is one.
    pub(crate) fn take(&self) -> Option<Outcome> {
        self.pop(&mut self.lock())
    }

    /// Returns the size of the results that were not taken yet, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the total number of tasks with an outcome, including outcomes that were taken.
    pub(crate) fn tasks(&self) -> u64 {
        self.tasks.load(Ordering::Relaxed)
    }

    /// Takes the next outcome. If there is none, stores the waker.
    pub(crate) fn take_or_register(&self, waker: &Waker) -> Option<Outcome> {
        let mut state = self.lock();
        let outcome = self.pop(&mut state);
        if outcome.is_none() {
            state.register(waker);
        }
        outcome
    }

    /// Whether an outcome is available or the queue is finished. If neither, stores the waker.
    pub(crate) fn is_ready_or_register(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        let ready = state.finished || !state.outcomes.is_empty();
        if !ready {
            state.register(waker);
        }
        ready
    }

    fn pop(&self, state: &mut State) -> Option<Outcome> {
        let outcome = state.outcomes.pop_front()?;
        self.bytes.fetch_sub(outcome.size(), Ordering::Relaxed);
        Some(outcome)
    }

    /// Removes every [`Outcome::MissingResult`] and returns their tasks.
    pub(crate) fn take_missing(&self) -> Vec<u64> {
        let mut missing = Vec::new();
        self.lock().outcomes.retain_mut(|outcome| {
            let Outcome::MissingResult { tasks } = outcome else { return true };
            missing.append(tasks);
            false
        });
        missing
    }

    /// Whether the queue is finished and all outcomes were taken.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.finished && state.outcomes.is_empty()
    }
}

impl State {
    fn register(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }
}
