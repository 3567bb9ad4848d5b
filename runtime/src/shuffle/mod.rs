//! The shuffle: moves records from map tasks to the reduce tasks that own their keys.
//!
//! ```text
//!  map task m                        store                     reduce task r
//!  records → Scatter ──────────→ <job>/shuffle/<stage>/<m> ──→ Segments → Sorter → records in order
//!            a block for each     all partitions, one behind    its range of each object,
//!            partition            the other; an index           some at a time
//! ```
//!
//! Map tasks put records into partitions and do not sort; each leaves one object, so that M map tasks
//! make M objects. A reduce task reads its range of every object, sorts, and gives each key's records
//! together. Both sides go to disk when the memory they were given is full. Blocks carry checksums.
//!
//! Here records are bytes: a key, by whose byte order they are sorted, and a value.

mod block;
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
pub(crate) use segments::{Records, Segments};
pub(crate) use sorter::Sorter;

/// The range of one map task's object that belongs to one partition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// The object's key in the store.
    pub(crate) key: String,
    /// Where the range begins, in bytes.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) len: u64,
}

/// What a map task left in the store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scattered {
    /// The object's key; empty where there was no record.
    pub(crate) key: String,
    /// The end of each partition's range in the object; each begins where the one before it ends.
    pub(crate) ends: Vec<u64>,
    /// Records written.
    pub(crate) records: u64,
}

impl Scattered {
    /// The range of a partition, if it has any bytes.
    pub(crate) fn segment(&self, partition: usize) -> Option<Segment> {
        let end = *self.ends.get(partition)?;
        let start = if partition == 0 { 0 } else { self.ends[partition - 1] };
        (end > start).then(|| Segment { key: self.key.clone(), start, len: end - start })
    }
}

/// The disk failed under a shuffle.
fn disk(folder: &Path, error: &io::Error) -> StoreError {
    StoreError::of_disk(format!("file:{}", folder.display()), "spill to", "", error)
}

/// What no checksum tells: a defect of wren's, or of the system.
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
