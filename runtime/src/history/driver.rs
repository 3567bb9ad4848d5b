//! What the driver does for a job apart from scheduling: it creates and encodes arguments, and decodes results.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::DriverTotals;
use crate::attempt::TaskBlock;

/// Number of large values that are remembered, to count each only once. A program that creates more of them does not
/// share them among calls.
const MOST_KNOWN: usize = 16 << 10;

/// Counts the driver's work for one job, in nanoseconds and bytes.
#[derive(Debug, Default)]
pub(super) struct DriverWork {
    pub(super) encode: AtomicU64,
    pub(super) decode: AtomicU64,
    large: Mutex<Large>,
}

#[derive(Debug, Default)]
struct Large {
    known: HashSet<u64>,
    values: u64,
    bytes: u64,
}

impl DriverWork {
    /// Counts the large values that the tasks of a block refer to, unless an earlier block has counted them.
    pub(super) fn count_large(&self, block: &TaskBlock) {
        let mut blobs = block.blobs(block.tasks()).flat_map(|(_, blobs)| blobs).peekable();
        if blobs.peek().is_none() {
            return;
        }
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in blobs {
            if large.known.len() >= MOST_KNOWN {
                large.known.clear();
            }
            if large.known.insert(blob.id) {
                large.values += 1;
                large.bytes = large.bytes.saturating_add(blob.bytes.len() as u64);
            }
        }
    }

    pub(super) fn totals(&self) -> DriverTotals {
        let seconds = |ns: &AtomicU64| ns.load(Ordering::Relaxed) as f64 / 1e9;
        let large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        DriverTotals {
            encode_s: seconds(&self.encode),
            decode_s: seconds(&self.decode),
            large_values: large.values,
            large_bytes: large.bytes,
        }
    }
}
