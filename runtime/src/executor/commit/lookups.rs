//! Calls whose results an earlier run of a job may have left, until it is known whether it did.
//!
//! The thread that takes calls from the job's iterator records them here, requests their results, and submits the calls
//! that have none. While the thread is inside the iterator, which may wait for one of these calls, the executor's
//! reactor requests results and submits calls in its place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::LookUp;
use crate::attempt::TaskBlock;
use crate::executor::{OutcomeQueue, ResultCommitter};
use crate::function::{Args, Limits, RemoteFn};

/// A call whose result an earlier run may have left.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) look_up: LookUp,
    pub(crate) function: &'static RemoteFn,
    pub(crate) limits: Limits,
    pub(crate) args: Args,
}

/// Calls that the reactor has submitted.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) tasks: Range<u64>,
    /// Size of their block, in bytes.
    pub(crate) bytes: usize,
    /// Size of their arguments, in bytes, as counted while their results were waiting.
    pub(crate) looked_up_bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct PendingLookups(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<u64, Lookup>,
    /// Calls whose results were not requested yet.
    not_asked_for: Vec<LookUp>,
    /// Whether the thread is inside the iterator.
    is_in_iterator: bool,
    submitted: Vec<Submitted>,
}

impl State {
    fn ask(&mut self, committer: &ResultCommitter) {
        if !self.not_asked_for.is_empty() {
            committer.look_up(std::mem::take(&mut self.not_asked_for));
        }
    }
}

impl PendingLookups {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call. Returns the number of calls whose results were not requested yet.
    pub(crate) fn add(&self, task: u64, call: Lookup) -> usize {
        let mut state = self.lock();
        state.not_asked_for.push(call.look_up);
        state.waiting.insert(task, call);
        state.not_asked_for.len()
    }

    /// Requests the results of the calls that were added.
    pub(crate) fn ask(&self, committer: &ResultCommitter) {
        self.lock().ask(committer);
    }

    /// Removes and returns the calls of these tasks, because their results were found or they must be run.
    pub(crate) fn take(&self, tasks: impl IntoIterator<Item = u64>) -> Vec<(u64, Lookup)> {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            return Vec::new();
        }
        tasks.into_iter().filter_map(|task| Some((task, state.waiting.remove(&task)?))).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Lets the reactor act in place of the calling thread, which is about to enter the iterator.
    pub(crate) fn enter_iterator(&self) {
        self.lock().is_in_iterator = true;
    }

    /// Records that the thread has left the iterator. Returns the calls that the reactor submitted meanwhile.
    pub(crate) fn leave_iterator(&self) -> Vec<Submitted> {
        let mut state = self.lock();
        state.is_in_iterator = false;
        std::mem::take(&mut state.submitted)
    }

    /// For the reactor: requests results, and returns the calls that must be run, as blocks for idle workers.
    pub(crate) fn act_for_idle_workers(&self, committer: &ResultCommitter, outcomes: &OutcomeQueue) -> Vec<TaskBlock> {
        let mut state = self.lock();
        if !state.is_in_iterator || state.waiting.is_empty() {
            return Vec::new();
        }
        state.ask(committer);
        let mut blocks: Vec<TaskBlock> = Vec::new();
        for task in outcomes.take_missing() {
            let Some(Lookup { look_up, function, limits, args }) = state.waiting.remove(&task) else { continue };
            committer.run_missing(&look_up);
            if blocks.last().is_none_or(|b| !b.accepts(function, &limits) || b.tasks().end != task) {
                blocks.push(TaskBlock::new(function, limits, task));
                state.submitted.push(Submitted { tasks: task..task, bytes: 0, looked_up_bytes: 0 });
            }
            let (Some(block), Some(submitted)) = (blocks.last_mut(), state.submitted.last_mut()) else { continue };
            submitted.looked_up_bytes += args.size() as usize;
            block.push(args);
            (submitted.tasks, submitted.bytes) = (block.tasks(), block.size());
        }
        blocks
    }
}
