//! The set of tasks that are done: a bitmap over a window that advances with the job.

use std::collections::VecDeque;
use std::ops::Range;

const BITS: u64 = 64;

/// A set of task indices. The part at the start where all tasks are done takes no memory.
#[derive(Debug, Default)]
pub(super) struct DoneSet {
    /// Every index below this one is in the set. A multiple of 64.
    base: u64,
    words: VecDeque<u64>,
}

impl DoneSet {
    pub(super) fn contains(&self, index: u64) -> bool {
        index < self.base
            || self.words.get(((index - self.base) / BITS) as usize).is_some_and(|w| w >> (index % BITS) & 1 == 1)
    }

    /// Adds a range. Returns the indices that were not in the set before, as ranges in order.
    pub(super) fn insert(&mut self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut new: Vec<Range<u64>> = Vec::new();
        let mut at = range.start.max(self.base);
        while at < range.end {
            let word = ((at - self.base) / BITS) as usize;
            if self.words.len() <= word {
                self.words.resize(word + 1, 0);
            }
            let end = ((at / BITS + 1) * BITS).min(range.end);
            let mask = ones(at % BITS, end - at);
            let before = self.words[word];
            self.words[word] |= mask;
            match before & mask {
                0 => push(&mut new, at..end),
                some if some == mask => {}
                _ => (at..end).filter(|i| before >> (i % BITS) & 1 == 0).for_each(|i| push(&mut new, i..i + 1)),
            }
            at = end;
        }
        while self.words.front() == Some(&u64::MAX) {
            self.words.pop_front();
            self.base += BITS;
        }
        new
    }

    /// Returns the number of 64-bit words held.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.words.len()
    }
}

fn ones(from: u64, count: u64) -> u64 {
    (if count == BITS { u64::MAX } else { (1 << count) - 1 }) << from
}

fn push(ranges: &mut Vec<Range<u64>>, next: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == next.start => last.end = next.end,
        _ => ranges.push(next),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(inserts in prop::collection::vec((0u64..500, 0u64..200), 0..40)) {
            let mut set = DoneSet::default();
            let mut model = BTreeSet::new();
            for (start, len) in inserts {
                let new: Vec<u64> = set.insert(start..start + len).into_iter().flatten().collect();
                let want: Vec<u64> = (start..start + len).filter(|i| model.insert(*i)).collect();
                prop_assert_eq!(new, want);
            }
            for i in 0..800 {
                prop_assert_eq!(set.contains(i), model.contains(&i));
            }
        }
    }

    #[test]
    fn a_job_done_in_order_holds_nothing() {
        let mut set = DoneSet::default();
        for i in 0..100_000 {
            set.insert(i * 10..i * 10 + 10);
            assert!(set.size() <= 2);
        }
    }
}
