//! The set of tasks that succeeded.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of tasks, as ranges from key to value that do not touch each other. A task that succeeds again, because its
/// result was removed, counts once.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks(BTreeMap<u64, u64>);

impl Tasks {
    /// Adds tasks and returns how many of them are new.
    pub(super) fn insert(&mut self, tasks: Range<u64>) -> u64 {
        if tasks.is_empty() {
            return 0;
        }
        let (mut start, mut end, mut known) = (tasks.start, tasks.end, 0);
        // The ranges that overlap or touch the new one become one range with it.
        while let Some((&from, &to)) = self.0.range(..=end).next_back().filter(|(_, to)| **to >= start) {
            known += to.min(tasks.end).saturating_sub(from.max(tasks.start));
            (start, end) = (start.min(from), end.max(to));
            self.0.remove(&from);
        }
        self.0.insert(start, end);
        tasks.end - tasks.start - known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn tasks_are_a_set(inserts in proptest::collection::vec((0u64..60, 0u64..20), 0..30)) {
            let (mut tasks, mut model) = (Tasks::default(), std::collections::BTreeSet::new());
            for (start, len) in inserts {
                let new = (start..start + len).filter(|task| model.insert(*task)).count();
                assert_eq!(tasks.insert(start..start + len), new as u64);
            }
            assert_eq!(tasks.0.iter().map(|(from, to)| to - from).sum::<u64>(), model.len() as u64);
        }
    }
}
