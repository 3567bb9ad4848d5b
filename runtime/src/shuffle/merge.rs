//! Merges runs on disk and records in memory into one sorted sequence.

use std::cmp::Ordering;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::in_memory::InMemory;
use super::{Record, block, disk};
use crate::store::StoreResult;

/// A sorted part of the spill file.
#[derive(Debug)]
pub(super) struct SpilledRun {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
    pub(super) end: u64,
}

/// A sorted sequence of records, with a current one.
#[derive(Debug)]
pub(super) enum Source {
    Memory { held: InMemory, at: usize },
    SpilledRun { run: SpilledRun, block: Vec<u8>, at: usize },
}

impl Source {
    pub(super) fn memory(held: InMemory) -> Self {
        Source::Memory { held, at: 0 }
    }

    pub(super) fn run(run: SpilledRun) -> Self {
        Source::SpilledRun { run, block: Vec::new(), at: 0 }
    }

    #[inline]
    fn record(&self) -> Option<Record<'_>> {
        match self {
            Source::Memory { held, at } => held.entries.get(*at).map(|entry| held.record(entry)),
            Source::SpilledRun { block, at, .. } => Record::read(&block[*at..]).map(|(record, _)| record),
        }
    }

    fn advance(&mut self) -> std::io::Result<()> {
        match self {
            Source::Memory { held, at } => {
                *at += 1;
                held.prefetch(*at);
            }
            Source::SpilledRun { run, block, at } => {
                *at = Record::read(&block[*at..]).map_or(block.len(), |(_, rest)| block.len() - rest.len());
                if *at == block.len() {
                    *at = 0;
                    run.next_block(block)?;
                }
            }
        }
        Ok(())
    }
}

impl SpilledRun {
    /// Reads the next block's records into `block`, which stays empty at the end of the run.
    fn next_block(&mut self, block: &mut Vec<u8>) -> std::io::Result<()> {
        block.clear();
        if self.at == self.end {
            return Ok(());
        }
        let mut header = [0; block::HEADER];
        self.file.read_exact_at(&mut header, self.at)?;
        self.at += block::HEADER as u64;
        let broken = || std::io::Error::other("a spilled block is damaged");
        let header = block::Header::read(&header).ok_or_else(broken)?;
        block.resize(header.stored, 0);
        self.file.read_exact_at(block, self.at)?;
        self.at += header.stored as u64;
        header.open(block).map_err(std::io::Error::other)?;
        Ok(())
    }
}

/// All records of a partition in the order of their keys, with a current one until the end.
#[derive(Debug)]
pub(crate) struct Merged {
    sources: Vec<Source>,
    /// The sources that are not at their end, as a binary heap: the least record comes first, and of equal keys that of
    /// the earlier source.
    heap: Vec<usize>,
    folder: PathBuf,
}

impl Merged {
    pub(super) fn new(mut sources: Vec<Source>, folder: PathBuf) -> StoreResult<Self> {
        for source in &mut sources {
            if let Source::SpilledRun { run, block, .. } = source {
                run.next_block(block).map_err(|e| disk(&folder, &e))?;
            }
        }
        let heap = (0..sources.len()).filter(|at| sources[*at].record().is_some()).collect();
        let mut merged = Self { sources, heap, folder };
        for at in (0..merged.heap.len() / 2).rev() {
            merged.sift_down(at);
        }
        Ok(merged)
    }

    /// Returns the current record, or `None` at the end.
    #[inline]
    pub(crate) fn record(&self) -> Option<Record<'_>> {
        self.sources[*self.heap.first()?].record()
    }

    /// Moves on to the next record.
    #[inline]
    pub(crate) fn advance(&mut self) -> StoreResult<()> {
        let Some(first) = self.heap.first() else { return Ok(()) };
        let source = &mut self.sources[*first];
        source.advance().map_err(|e| disk(&self.folder, &e))?;
        if source.record().is_none() {
            self.heap.swap_remove(0);
        }
        if self.heap.len() > 1 {
            self.sift_down(0);
        }
        Ok(())
    }

    fn order(&self, a: usize, b: usize) -> Ordering {
        let key = |source: usize| self.sources[source].record().map(|record| record.key());
        key(a).cmp(&key(b)).then(a.cmp(&b))
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let [left, right] = [2 * at + 1, 2 * at + 2];
            let mut least = at;
            for child in [left, right] {
                if child < self.heap.len() && self.order(self.heap[child], self.heap[least]).is_lt() {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}
