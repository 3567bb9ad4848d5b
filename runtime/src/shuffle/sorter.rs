//! The reduce side: an external merge sort.
//!
//! Records stay in the buffers that they were read into. Only an entry for each record is sorted: the first bytes of
//! its key, which decide most comparisons, and its position. When memory is full, the records are written to a file in
//! sorted order, as a run. At the end, the runs are merged.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::merge::{Merged, Source, SpilledRun};
use super::segments::Records;
use super::{CUT, Record, block, broken, disk, prefetch, record};
use crate::store::StoreResult;

/// Size at which a block of a run is complete, in bytes.
const BLOCK: usize = 256 << 10;

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

    fn bytes(&self) -> usize {
        self.buffers.iter().map(Vec::capacity).sum::<usize>() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Sorts the entries. Records with the same key stay in the order in which they were added.
    fn sort(&mut self) {
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

/// Sorts the records of a partition.
#[derive(Debug)]
pub(crate) struct Sorter {
    memory: usize,
    folder: PathBuf,
    held: InMemory,
    bytes: usize,
    runs: Vec<SpilledRun>,
    spill: Option<(Arc<File>, u64)>,
}

impl Sorter {
    /// Creates a sorter that uses about `memory` bytes of memory, and `folder` for records that do not fit there.
    pub(crate) fn new(memory: usize, folder: PathBuf) -> Self {
        Self { memory, folder, held: InMemory::default(), bytes: 0, runs: Vec::new(), spill: None }
    }

    /// Adds records.
    ///
    /// # Errors
    /// If the disk fails, or if a block ends inside a record.
    pub(crate) fn add(&mut self, records: Records) -> StoreResult<()> {
        if !self.held.entries.is_empty() && self.bytes + records.bytes.capacity() > self.memory {
            self.spill().map_err(|e| disk(&self.folder, &e))?;
        }
        let buffer = self.held.buffers.len() as u32;
        for block in &records.blocks {
            let mut rest = &records.bytes[block.clone()];
            while !rest.is_empty() {
                let at = block.end - rest.len();
                let (record, after) = Record::read(rest).ok_or_else(|| broken(CUT))?;
                if self.held.entries.len() == self.held.entries.capacity() {
                    self.held.entries.reserve_exact(GROWTH.max(self.held.entries.len() / 4));
                }
                self.held.entries.push(Entry { prefix: record::prefix(record.key()), buffer, at: at as u32 });
                rest = after;
            }
        }
        self.held.buffers.push(records.bytes);
        self.bytes = self.held.bytes();
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let (file, start) = match &self.spill {
            Some((file, len)) => (file.clone(), *len),
            None => (Arc::new(tempfile::tempfile_in(&self.folder)?), 0),
        };
        self.held.sort();
        let mut writer = BufWriter::with_capacity(2 * BLOCK, &*file);
        let mut len = start;
        let mut open = Vec::new();
        for (at, entry) in self.held.entries.iter().enumerate() {
            self.held.prefetch(at);
            if open.is_empty() {
                block::begin(&mut open, BLOCK + 1024);
            }
            let record = self.held.record(entry);
            record::write_whole(record.bytes, record.key().len(), &mut open);
            if open.len() >= BLOCK {
                let block = block::seal(std::mem::take(&mut open), false);
                writer.write_all(&block)?;
                len += block.len() as u64;
            }
        }
        if !open.is_empty() {
            let block = block::seal(open, false);
            writer.write_all(&block)?;
            len += block.len() as u64;
        }
        writer.flush()?;
        drop(writer);
        self.runs.push(SpilledRun { file: file.clone(), at: start, end: len });
        self.spill = Some((file, len));
        // The buffers are freed; the memory of the entries is reused.
        self.held.buffers.clear();
        self.held.entries.clear();
        self.bytes = self.held.bytes();
        Ok(())
    }

    /// Returns all records in the order of their keys; records with the same key are in the order in which they were
    /// added.
    pub(crate) fn finish(mut self) -> StoreResult<Merged> {
        let folder = self.folder;
        let mut sources: Vec<Source> = self.runs.into_iter().map(Source::run).collect();
        self.held.sort();
        sources.push(Source::memory(self.held));
        Merged::new(sources, folder)
    }
}
