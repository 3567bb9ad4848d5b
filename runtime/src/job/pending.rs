//! Calls that were taken from an iterator and not submitted yet.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::block::Block;

/// The block that is being filled. Whoever fills it may be held up for long by the iterator that gives the calls;
/// meanwhile the executor's reactor submits it, where workers are idle.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<State>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) block: Option<Block>,
    /// What the reactor submitted of late: tasks, and the bytes of their arguments.
    submitted: Vec<(Range<u64>, usize)>,
}

impl Pending {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the block for whoever fills it.
    pub(crate) fn take(&self) -> Option<Block> {
        self.lock().block.take()
    }

    /// Takes the block in place of whoever fills it, who is told.
    pub(crate) fn take_for_idle_workers(&self) -> Option<Block> {
        let mut state = self.lock();
        let block = state.block.take()?;
        let submitted = (block.tasks(), block.size());
        state.submitted.push(submitted);
        Some(block)
    }

    /// What was submitted in the place of whoever fills it, once.
    pub(crate) fn submitted(&self) -> Vec<(Range<u64>, usize)> {
        std::mem::take(&mut self.lock().submitted)
    }
}
