//! The shuffle: moves records from map tasks to the reduce tasks that own their keys.
//!
//! ```text
//!  map task m                        store                     reduce task r
//!  records → Scatter ──────────→ <job>/shuffle/<stage>/<m> ──→ Segments → Sorter → records in order
//!            a block for each     all partitions, one after     its range of each object,
//!            partition            the other; an index           some at a time
//! ```
//!
//! Map tasks put records into partitions and do not sort. Each writes one object, so M map tasks write M objects. A
//! reduce task reads its range of every object, sorts the records, and returns the records of each key together. Both
//! sides use the disk when their memory is full. Blocks have checksums.
//!
//! Records are bytes: a key and a value. They are sorted by the byte order of their keys.

mod block;
mod in_memory;
mod merge;
mod model;
mod prefetch;
mod record;
mod scatter;
mod segments;
mod sorter;

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError};

pub(crate) use merge::Merged;
pub(crate) use model::Model;
pub(crate) use prefetch::prefetch;
pub(crate) use record::{Record, prefix, write as write_record};
pub(crate) use scatter::Scatter;
pub(crate) use segments::{RecordBlocks, Segments};
pub(crate) use sorter::Sorter;

/// The range of one map task's object that belongs to one partition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// The object's key in the store.
    pub(crate) key: String,
    /// Start of the range, in bytes.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) len: u64,
}

/// The object that a map task wrote to the store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scattered {
    /// The object's key; empty if there were no records.
    pub(crate) key: String,
    /// The end of each partition's range in the object. Each range starts at the end of the previous one.
    pub(crate) ends: Vec<u64>,
    /// Number of records written.
    pub(crate) records: u64,
}

impl Scattered {
    /// Returns the range of a partition, unless it is empty.
    pub(crate) fn segment(&self, partition: usize) -> Option<Segment> {
        let end = *self.ends.get(partition)?;
        let start = if partition == 0 { 0 } else { self.ends[partition - 1] };
        (end > start).then(|| Segment { key: self.key.clone(), start, len: end - start })
    }
}

/// Returns the error of a failed disk operation.
fn disk(folder: &Path, error: &io::Error) -> StoreError {
    StoreError::of_disk(format!("file:{}", folder.display()), "spill to", "", error)
}

/// An error that no checksum detects: a bug in wren, or in the system.
const CUT: &str = "a block ends inside a record";

fn broken(reason: impl Into<String>) -> StoreError {
    let (store, key) = ("shuffle".to_owned(), String::new());
    StoreError::io(store, "read", &key, reason)
}

fn damaged(store: &dyn Store, key: &str, reason: &str) -> StoreError {
    StoreError::Damaged { store: store.url(), key: key.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
