//! Records in memory, sorted by their keys.
//!
//! Records stay in the buffers that they were read into. Only an entry for each record is sorted: the first bytes of
//! its key, which decide most comparisons, and its position.

use std::cmp::Ordering;

use super::segments::RecordBlocks;
use super::{CUT, Record, broken, prefetch, record};
use crate::store::StoreResult;

/// Minimum number of entries by which their list grows: doubling it would take three times its memory for a moment.
const GROWTH: usize = 128 << 10;

/// The position of a record, and the first bytes of its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    prefix: u64,
    buffer: u32,
    at: u32,
}

/// Records in memory.
#[derive(Debug, Default)]
pub(super) struct InMemory {
    buffers: Vec<Vec<u8>>,
    pub(super) entries: Vec<Entry>,
}

impl InMemory {
    #[inline]
    pub(super) fn record(&self, entry: &Entry) -> Record<'_> {
        let bytes = &self.buffers[entry.buffer as usize][entry.at as usize..];
        // Succeeds, because the record was read from there before.
        Record::read(bytes).map_or(Record::EMPTY, |(record, _)| record)
    }

    /// Prefetches the record some entries after entry `at`: records in sorted order are scattered in memory.
    #[inline]
    pub(super) fn prefetch(&self, at: usize) {
        /// Number of records by which the processor is ahead.
        const AHEAD: usize = 12;
        let Some(entry) = self.entries.get(at + AHEAD) else { return };
        let bytes = &self.buffers[entry.buffer as usize][entry.at as usize..];
        // Two cache lines contain most of a short record.
        [bytes.first(), bytes.get(64)].into_iter().flatten().for_each(prefetch);
    }

    /// Adds records, in the order in which they were read.
    ///
    /// # Errors
    /// If a block ends inside a record.
    pub(super) fn add(&mut self, records: RecordBlocks) -> StoreResult<()> {
        let buffer = self.buffers.len() as u32;
        for block in &records.blocks {
            let mut rest = &records.bytes[block.clone()];
            while !rest.is_empty() {
                let at = block.end - rest.len();
                let (record, after) = Record::read(rest).ok_or_else(|| broken(CUT))?;
                if self.entries.len() == self.entries.capacity() {
                    self.entries.reserve_exact(GROWTH.max(self.entries.len() / 4));
                }
                self.entries.push(Entry { prefix: record::prefix(record.key()), buffer, at: at as u32 });
                rest = after;
            }
        }
        self.buffers.push(records.bytes);
        Ok(())
    }

    /// Frees the records, and keeps the memory of their entries.
    pub(super) fn clear(&mut self) {
        self.buffers.clear();
        self.entries.clear();
    }

    /// Returns the number of bytes of memory that the records and their entries use.
    pub(super) fn bytes(&self) -> usize {
        self.buffers.iter().map(Vec::capacity).sum::<usize>() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Sorts the entries. Records with the same key stay in the order in which they were added.
    pub(super) fn sort(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by(|a, b| {
            a.prefix.cmp(&b.prefix).then_with(|| {
                let keys = match record::is_whole(a.prefix) {
                    true => Ordering::Equal,
                    false => self.record(a).key().cmp(self.record(b).key()),
                };
                keys.then_with(|| (a.buffer, a.at).cmp(&(b.buffer, b.at)))
            })
        });
        self.entries = entries;
    }
}
