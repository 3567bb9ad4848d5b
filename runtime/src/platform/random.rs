//! Random numbers for unique names.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Returns a random number that differs from those of all other processes, including processes in other containers that
/// have the same id and the same clock: the standard library gets the keys of its hasher from the system.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_of_all_threads_differ() {
        let numbers = || (0..1_000).map(|_| random()).collect::<Vec<u64>>();
        let all: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(numbers)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.into_iter().flatten().collect::<HashSet<u64>>().len(), 8_000);
    }
}
