//! The reduce side: an external merge sort.
//!
//! When memory is full, the records are written to a file in sorted order, as a run. At the end, the runs are merged.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::in_memory::InMemory;
use super::merge::{Merged, Source, SpilledRun};
use super::segments::RecordBlocks;
use super::{block, disk, record};
use crate::store::StoreResult;

/// Size at which a block of a run is complete, in bytes.
const BLOCK: usize = 256 << 10;

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
    pub(crate) fn add(&mut self, records: RecordBlocks) -> StoreResult<()> {
        if !self.held.entries.is_empty() && self.bytes + records.bytes.capacity() > self.memory {
            self.spill().map_err(|e| disk(&self.folder, &e))?;
        }
        self.held.add(records)?;
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
        self.held.clear();
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
