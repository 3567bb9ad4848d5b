//! The boundaries of partitions, from a sample of the keys.

use serde::{Deserialize, Serialize};

use crate::data::Split;
use crate::shuffle::prefix;

/// Number of keys sampled for each partition. With this number, a partition holds more than 1.3 times its share in one
/// of several thousand sorts (the share of a partition between two order statistics of a sample is Beta distributed,
/// with a standard deviation of 1/√256 of its mean).
const PER_PARTITION: usize = 256;

/// Maximum number of splits that are sampled. More splits would cost more requests without improving the boundaries.
const MOST_SPLITS: usize = 512;

/// Returns the splits to sample, with the number of keys to take from each, in proportion to its size.
pub(super) fn share(splits: &[Split], bytes: u64, partitions: usize) -> Vec<(&Split, usize)> {
    if partitions == 1 {
        return Vec::new();
    }
    let step = splits.len().div_ceil(MOST_SPLITS);
    let some = splits.iter().step_by(step);
    let wanted = (PER_PARTITION * partitions * step) as f64;
    some.map(|split| (split, (wanted * split.bytes() as f64 / bytes.max(1) as f64).ceil() as usize)).collect()
}

/// The smallest keys of all partitions except the first, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Splitters {
    keys: Vec<Vec<u8>>,
    /// The prefix of each key, as a number.
    prefixes: Vec<u64>,
}

impl Splitters {
    /// Returns the quantiles of a sample.
    pub(super) fn of(samples: Vec<Vec<Vec<u8>>>, partitions: usize) -> Self {
        let mut samples: Vec<Vec<u8>> = samples.into_iter().flatten().collect();
        samples.sort_unstable();
        let quantile = |part: usize| samples.get(part * samples.len() / partitions).cloned().unwrap_or_default();
        let keys: Vec<_> = (1..partitions).map(quantile).collect();
        let prefixes = keys.iter().map(|key| prefix(key)).collect();
        Self { keys, prefixes }
    }

    pub(super) fn partitions(&self) -> usize {
        self.keys.len() + 1
    }

    /// Returns the partition of a key.
    #[inline]
    pub(super) fn partition(&self, key: &[u8]) -> usize {
        let own = prefix(key);
        let mut at = self.prefixes.partition_point(|prefix| *prefix < own);
        while at < self.keys.len() && self.prefixes[at] == own && self.keys[at].as_slice() <= key {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_partition_holds_the_keys_between_its_borders(
            samples in prop::collection::vec(prop::collection::vec(0u8..3, 0..11), 0..50),
            key in prop::collection::vec(0u8..3, 0..11),
            partitions in 1usize..9,
        ) {
            let splitters = Splitters::of(vec![samples], partitions);
            let by_keys = splitters.keys.iter().filter(|least| least.as_slice() <= key.as_slice()).count();
            prop_assert_eq!(splitters.partition(&key), by_keys);
            prop_assert!(splitters.partition(&key) < splitters.partitions());
        }
    }

    #[test]
    fn partitions_of_random_keys_are_about_equal() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut keys = |n| (0..n).map(|_| random.u64(..).to_be_bytes().to_vec()).collect::<Vec<_>>();
        let partitions = 16;
        let splitters = Splitters::of(vec![keys(PER_PARTITION * partitions)], partitions);
        let mut sizes = vec![0; partitions];
        keys(100_000).iter().for_each(|key| sizes[splitters.partition(key)] += 1);
        let most = *sizes.iter().max().unwrap() as f64 * partitions as f64 / 100_000.0;
        assert!(most < 1.3, "the largest partition holds {most} times its share");
    }
}
