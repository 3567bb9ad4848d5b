//! The map side: puts records into partitions, and all partitions into one object.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;

use super::{Scattered, block, disk, record};
use crate::store::{self, Store, StoreResult};

/// Size at which a block is sealed, in bytes. It is smaller if there are many partitions.
const BLOCK: usize = 256 << 10;
/// Minimum of the size at which a block is sealed, in bytes.
const SHORTEST_BLOCK: usize = 4 << 10;

/// The last bytes of an object, after the index: they mark it as the object of a shuffle.
const MAGIC: &[u8; 8] = b"wrenshuf";

/// Collects the records of one map task.
#[derive(Debug)]
pub(crate) struct Scatter {
    partitions: Vec<Partition>,
    folder: PathBuf,
    compress: bool,
    block: usize,
    /// Maximum size of the sealed blocks in memory, in bytes.
    memory: usize,
    sealed: usize,
    spill: Option<Spill>,
    records: u64,
}

#[derive(Debug, Default)]
struct Partition {
    open: Vec<u8>,
    sealed: Vec<Vec<u8>>,
    spilled: Vec<Range<u64>>,
}

/// A file without a name: the system removes it when its last user has ended, no matter how.
#[derive(Debug)]
struct Spill {
    file: File,
    len: u64,
}

impl Scatter {
    /// Creates a collector for `partitions` partitions, which uses about `memory` bytes of memory, and `folder` for
    /// records that do not fit there.
    pub(crate) fn new(partitions: usize, memory: usize, folder: PathBuf, compress: bool) -> Self {
        let block = (memory / (4 * partitions.max(1))).clamp(SHORTEST_BLOCK, BLOCK);
        Self {
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            folder,
            compress,
            block,
            memory: memory.saturating_sub(block * partitions).max(memory / 4),
            sealed: 0,
            spill: None,
            records: 0,
        }
    }

    /// Adds a record. A partition number that does not exist stands for the last partition.
    pub(crate) fn push(&mut self, partition: usize, key: &[u8], value: &[u8]) -> StoreResult<()> {
        self.append(partition, |open| record::write(key, value, open))
    }

    /// Adds a record whose key is its first `key_len` bytes.
    pub(crate) fn push_whole(&mut self, partition: usize, bytes: &[u8], key_len: usize) -> StoreResult<()> {
        self.append(partition, |open| record::write_whole(bytes, key_len, open))
    }

    #[inline]
    fn append(&mut self, partition: usize, write: impl FnOnce(&mut Vec<u8>)) -> StoreResult<()> {
        self.records += 1;
        let partition = partition.min(self.partitions.len() - 1);
        let open = &mut self.partitions[partition].open;
        if open.is_empty() {
            block::begin(open, self.block + block::HEADER + 1024);
        }
        write(open);
        if open.len() >= self.block {
            self.seal(partition);
            if self.sealed > self.memory {
                self.spill().map_err(|e| disk(&self.folder, &e))?;
            }
        }
        Ok(())
    }

    fn seal(&mut self, partition: usize) {
        let partition = &mut self.partitions[partition];
        if !partition.open.is_empty() {
            let block = block::seal(std::mem::take(&mut partition.open), self.compress);
            self.sealed += block.len();
            partition.sealed.push(block);
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(Spill { file: tempfile::tempfile_in(&self.folder)?, len: 0 }),
        };
        for partition in &mut self.partitions {
            let start = spill.len;
            for block in partition.sealed.drain(..) {
                spill.file.write_all(&block)?;
                spill.len += block.len() as u64;
            }
            if spill.len > start {
                partition.spilled.push(start..spill.len);
            }
        }
        self.sealed = 0;
        Ok(())
    }

    /// Stores all records as one object: the partitions in their order, then an index.
    pub(crate) fn finish(mut self, store: &dyn Store, key: &str) -> StoreResult<Scattered> {
        if self.records == 0 {
            return Ok(Scattered::default());
        }
        (0..self.partitions.len()).for_each(|partition| self.seal(partition));
        let folder = self.folder.clone();
        let (path, ends) = self.write_object().map_err(|e| disk(&folder, &e))?;
        store::wait(store.put_file(key, &path))?;
        Ok(Scattered { key: key.to_owned(), ends, records: self.records })
    }

    fn write_object(&mut self) -> io::Result<(tempfile::TempPath, Vec<u64>)> {
        let object = tempfile::Builder::new().prefix("shuffle-").tempfile_in(&self.folder)?;
        let (mut file, path) = object.into_parts();
        let mut ends = Vec::with_capacity(self.partitions.len());
        let mut end = 0;
        for partition in &mut self.partitions {
            for range in partition.spilled.drain(..) {
                if let Some(spill) = &mut self.spill {
                    spill.file.seek(SeekFrom::Start(range.start))?;
                    end += io::copy(&mut (&spill.file).take(range.end - range.start), &mut file)?;
                }
            }
            for block in partition.sealed.drain(..) {
                file.write_all(&block)?;
                end += block.len() as u64;
            }
            ends.push(end);
        }
        file.write_all(&index(&ends))?;
        Ok((path, ends))
    }
}

/// Returns the index of an object: the ends of the partitions, their number, and the magic bytes.
fn index(ends: &[u64]) -> Vec<u8> {
    let mut index: Vec<u8> = ends.iter().flat_map(|end| end.to_le_bytes()).collect();
    index.extend_from_slice(&(ends.len() as u64).to_le_bytes());
    index.extend_from_slice(MAGIC);
    index
}
