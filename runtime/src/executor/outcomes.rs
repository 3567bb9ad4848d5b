//! Where the outcomes of a job wait for whoever awaits it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::attempt::Results;
use crate::error::{Attempt, Error, Failure};

/// What came of some tasks of a job.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// `results` is for `tasks`; only those in `new` were not known before.
    Done {
        tasks: Range<u64>,
        new: Vec<Range<u64>>,
        results: Results,
        /// Which execution it was, from 1.
        attempt: u32,
    },
    Failed {
        task: u64,
        attempt: u32,
        function: &'static str,
        failure: Failure,
        stderr: String,
    },
    /// An earlier run did not leave the results of these tasks, though it seemed so: they are to be run.
    NotKept {
        tasks: Vec<u64>,
    },
    OverBudget {
        spent_usd: f64,
    },
    /// Somebody else asked for the job's end.
    Cancelled,
    /// The job cannot go on.
    Broken(Error),
}

impl Outcome {
    /// Bytes of results.
    pub(crate) fn size(&self) -> usize {
        match self {
            Outcome::Done { results, .. } => results.size(),
            _ => 0,
        }
    }

    /// How many tasks it ends.
    fn tasks(&self) -> u64 {
        match self {
            Outcome::Done { new, .. } => new.iter().map(|tasks| tasks.end - tasks.start).sum(),
            Outcome::Failed { .. } => 1,
            _ => 0,
        }
    }

    /// The error of an outcome that is one; `budget_usd` is what the job was given.
    pub(crate) fn into_error(self, done: u64) -> Error {
        match self {
            Outcome::Failed { task, attempt, function, failure, stderr } => {
                let function = function.to_owned();
                failure.into_error(Attempt { function, task, attempt, stderr, other_failures: 0 })
            }
            Outcome::OverBudget { spent_usd } => Error::OverBudget { budget_usd: 0.0, spent_usd, done },
            Outcome::Cancelled => Error::Cancelled { done },
            Outcome::Broken(error) => error,
            Outcome::Done { .. } | Outcome::NotKept { .. } => {
                Error::Job("a result was taken for an error; this is a defect of wren".to_owned())
            }
        }
    }
}

/// Outcomes in the order they came, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct OutcomeQueue {
    state: Mutex<State>,
    /// Size of the results that nobody has taken.
    bytes: AtomicUsize,
    /// Tasks of which an outcome came, ever.
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

    /// Adds an outcome; whoever waits goes to `wakers`.
    pub(crate) fn give(&self, outcome: Outcome, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        self.bytes.fetch_add(outcome.size(), Ordering::Relaxed);
        self.tasks.fetch_add(outcome.tasks(), Ordering::Relaxed);
        state.outcomes.push_back(outcome);
        wakers.extend(state.waker.take());
    }

    /// No more will come.
    pub(crate) fn finish(&self, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        state.finished = true;
        wakers.extend(state.waker.take());
    }

    pub(crate) fn has_outcome(&self) -> bool {
        let state = self.lock();
        state.finished || !state.outcomes.is_empty()
    }

    /// The next outcome.
    pub(crate) fn take(&self) -> Option<Outcome> {
        self.pop(&mut self.lock())
    }

    /// Bytes of results that nobody has taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Of how many tasks an outcome came.
    pub(crate) fn tasks(&self) -> u64 {
        self.tasks.load(Ordering::Relaxed)
    }

    /// The next outcome, or none and the waker is kept.
    pub(crate) fn take_or_register(&self, waker: &Waker) -> Option<Outcome> {
        let mut state = self.lock();
        let outcome = self.pop(&mut state);
        if outcome.is_none() {
            state.register(waker);
        }
        outcome
    }

    /// Whether an outcome is there, or none will come; if neither, the waker is kept.
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

    /// Takes the tasks of every [`Outcome::NotKept`].
    pub(crate) fn take_not_kept(&self) -> Vec<u64> {
        let mut not_kept = Vec::new();
        self.lock().outcomes.retain_mut(|outcome| {
            let Outcome::NotKept { tasks } = outcome else { return true };
            not_kept.append(tasks);
            false
        });
        not_kept
    }

    /// Whether all outcomes were taken, and no more will come.
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
