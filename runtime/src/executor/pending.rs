//! Calls that an iterator gave and that are not submitted, while their thread is inside the iterator.

use std::ops::Range;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use super::commit::Seeking;
use crate::attempt::TaskBlock;

/// Whoever fills a block lends it here before it asks the iterator for more, and takes it back after: an iterator may
/// block for long. Meanwhile the executor's reactor may take the block and submit it, where workers are idle.
///
/// It is lent once for each call of a job, so that lending and taking back cost one atomic operation together.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Null, or a block that belongs to whoever swaps it out.
    lent: AtomicPtr<TaskBlock>,
    /// What the reactor took and submitted: the tasks, and the bytes of their arguments.
    submitted: Mutex<Vec<(Range<u64>, usize)>>,
    /// Calls that are in no block until it is known whether an earlier run left their results.
    pub(crate) seeking: Seeking,
}

impl Pending {
    /// Lends a block. There is one borrower at a time, so that none is lent now.
    #[inline]
    pub(crate) fn lend(&self, block: Box<TaskBlock>) {
        // `Release`: whoever takes the block sees what is in it.
        self.lent.store(Box::into_raw(block), Ordering::Release);
    }

    /// Takes the block back; none where the reactor has submitted it.
    #[inline]
    pub(crate) fn take_back(&self) -> Option<Box<TaskBlock>> {
        let block = self.lent.swap(null_mut(), Ordering::AcqRel);
        // SAFETY: what is not null came from `Box::into_raw` in `lend`, and the swap gives each such pointer to one
        // caller only.
        (!block.is_null()).then(|| unsafe { Box::from_raw(block) })
    }

    /// Takes the block for idle workers; whoever lent it is told by [`submitted`](Self::submitted).
    pub(crate) fn take_for_idle_workers(&self) -> Option<TaskBlock> {
        let mut submitted = self.submitted.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: whoever finds that the block is gone finds it here.
        let block = self.take_back()?;
        submitted.push((block.tasks(), block.size()));
        Some(*block)
    }

    /// What was taken for idle workers, once.
    pub(crate) fn submitted(&self) -> Vec<(Range<u64>, usize)> {
        std::mem::take(&mut self.submitted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        drop(self.take_back());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::function::Limits;

    /// One thread lends and takes back, another takes for idle workers: each block goes to one of them, and is told of.
    #[test]
    fn a_block_that_is_lent_goes_to_one() {
        let pending = Arc::new(Pending::default());
        let is_over = Arc::new(AtomicBool::new(false));
        let reactor = std::thread::spawn({
            let (pending, is_over) = (pending.clone(), is_over.clone());
            move || {
                let mut taken = Vec::new();
                while !is_over.load(Ordering::Acquire) {
                    taken.extend(pending.take_for_idle_workers().map(|block| block.tasks().start));
                }
                taken
            }
        });
        let (mut committer, mut told) = (Vec::new(), Vec::new());
        let limits = Limits::default();
        for task in 0..20_000 {
            let block = Arc::try_unwrap(TaskBlock::dummy(task..task + 1, "f", limits)).unwrap();
            pending.lend(block.into());
            (0..task % 50).for_each(|_| std::hint::spin_loop());
            match pending.take_back() {
                Some(block) => committer.push(block.tasks().start),
                None => told.extend(pending.submitted().into_iter().map(|(tasks, _)| tasks.start)),
            }
        }
        is_over.store(true, Ordering::Release);
        let taken = reactor.join().unwrap();
        assert_eq!(taken, told);
        let mut all = [committer, taken].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..20_000));
        pending.lend(Arc::try_unwrap(TaskBlock::dummy(0..1, "f", limits)).unwrap().into());
        drop(pending);
    }
}
