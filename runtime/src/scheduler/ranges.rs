//! Short lists of sorted, disjoint ranges.

use std::ops::Range;

/// Removes `range` from the list. Returns the parts of it that were in the list.
pub(super) fn remove(list: &mut Vec<Range<u64>>, range: &Range<u64>) -> Vec<Range<u64>> {
    let mut removed = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let have = list[at].clone();
        let cut = have.start.max(range.start)..have.end.min(range.end);
        if cut.is_empty() {
            at += 1;
            continue;
        }
        let left = [have.start..cut.start, cut.end..have.end].into_iter().filter(|r| !r.is_empty());
        let before = list.len();
        list.splice(at..=at, left);
        // The remaining pieces are outside `range`.
        at += list.len() + 1 - before;
        removed.push(cut);
    }
    removed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn removal_matches_sets(len in 1u64..100, cuts in prop::collection::vec((0u64..100, 0u64..20), 0..20)) {
            let mut list = Vec::new();
            list.push(0..len);
            let mut model: BTreeSet<u64> = (0..len).collect();
            for (start, len) in cuts {
                let got: Vec<u64> = remove(&mut list, &(start..start + len)).into_iter().flatten().collect();
                let want: Vec<u64> = (start..start + len).filter(|i| model.remove(i)).collect();
                prop_assert_eq!(got, want);
                let left: Vec<u64> = list.iter().cloned().flatten().collect();
                prop_assert_eq!(left, model.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
