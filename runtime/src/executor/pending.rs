//! Calls that were taken from an iterator and are not submitted yet, while their thread is inside the iterator.

use std::ops::Range;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use super::commit::PendingLookups;
use crate::attempt::TaskBlock;

/// A block of calls that the filling thread lends to the reactor. The thread lends the block before it asks the
/// iterator for the next call, and takes it back afterwards, because the iterator may block for a long time. Meanwhile,
/// the executor's reactor may take the block and submit it if workers are idle.
///
/// The block is lent once for each call of a job. So lending it and taking it back together cost only one atomic
/// read-modify-write operation.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Null, or a block that is owned by the thread that swaps it out.
    lent: AtomicPtr<TaskBlock>,
    /// The blocks that the reactor took and submitted: their tasks, and the size of their arguments in bytes.
    submitted: Mutex<Vec<(Range<u64>, usize)>>,
    /// Calls that are not in a block yet, because it is not known whether an earlier run left their results.
    pub(crate) lookups: PendingLookups,
}

impl Pending {
    /// Lends a block. Only one thread lends, and it takes its block back first, so no block is lent at this point.
    #[inline]
    pub(crate) fn lend(&self, block: Box<TaskBlock>) {
        // `Release`: the thread that takes the block sees its contents.
        self.lent.store(Box::into_raw(block), Ordering::Release);
    }

    /// Takes the block back. Returns `None` if the reactor has submitted it.
    #[inline]
    pub(crate) fn take_back(&self) -> Option<Box<TaskBlock>> {
        let block = self.lent.swap(null_mut(), Ordering::AcqRel);
        // SAFETY: a pointer that is not null comes from `Box::into_raw` in `lend`, and the swap gives each such pointer
        // to only one caller.
        (!block.is_null()).then(|| unsafe { Box::from_raw(block) })
    }

    /// Takes the block for idle workers. It is recorded in [`submitted`](Self::submitted) for the thread that lent it.
    pub(crate) fn take_for_idle_workers(&self) -> Option<TaskBlock> {
        let mut submitted = self.submitted.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the lending thread, when it finds the block gone, also finds this record.
        let block = self.take_back()?;
        submitted.push((block.tasks(), block.size()));
        Some(*block)
    }

    /// Removes and returns the records of the blocks that were taken for idle workers.
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

    /// One thread lends and takes back, another takes for idle workers: each block goes to exactly one of them, and
    /// each block that was taken for idle workers is recorded.
    #[test]
    fn each_lent_block_has_one_taker() {
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
        let (mut kept, mut recorded) = (Vec::new(), Vec::new());
        let limits = Limits::default();
        for task in 0..20_000 {
            let block = Arc::try_unwrap(TaskBlock::dummy(task..task + 1, "f", limits)).unwrap();
            pending.lend(block.into());
            (0..task % 50).for_each(|_| std::hint::spin_loop());
            match pending.take_back() {
                Some(block) => kept.push(block.tasks().start),
                None => recorded.extend(pending.submitted().into_iter().map(|(tasks, _)| tasks.start)),
            }
        }
        is_over.store(true, Ordering::Release);
        let taken = reactor.join().unwrap();
        assert_eq!(taken, recorded);
        let mut all = [kept, taken].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..20_000));
        pending.lend(Arc::try_unwrap(TaskBlock::dummy(0..1, "f", limits)).unwrap().into());
        drop(pending);
    }
}
