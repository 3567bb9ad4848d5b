//! The stages of a sort, as workers run them.

use std::io::Write;
use std::ops::Range;

use memchr::memchr;
use serde::{Deserialize, Serialize};

use super::sample::Splitters;
use crate::data::{Shape, Split};
use crate::error::{Error, Result};
use crate::mapreduce::{FileSink, ReduceResult, Shuffle, sorted};
use crate::shuffle::{self, Scattered, Segment};
use crate::store::{self, StoreError};

/// Number of places in a split that a sample is taken from.
const PLACES: usize = 4;

/// The records to sort, and their key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RecordLayout {
    pub(super) shape: Shape,
    /// The bytes of a record that are its key.
    pub(super) key: Range<usize>,
}

impl RecordLayout {
    /// Whether records begin with their keys.
    pub(super) fn is_prefix(&self) -> bool {
        self.key.start == 0
    }

    #[inline]
    fn key<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        let end = self.key.end.min(record.len());
        &record[self.key.start.min(end)..end]
    }

    /// Passes each record of a block to `take`, lines without their newline.
    #[inline]
    fn each<E>(&self, mut block: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self.shape {
            Shape::Fixed(len) => block.chunks_exact(len).try_for_each(take),
            Shape::Lines | Shape::Other => {
                while !block.is_empty() {
                    let end = memchr(b'\n', block).unwrap_or(block.len());
                    take(&block[..end])?;
                    block = block.get(end + 1..).unwrap_or_default();
                }
                Ok(())
            }
        }
    }
}

/// The parameters of a map task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MapParams {
    pub(super) shuffle: Shuffle,
    pub(super) records: RecordLayout,
    pub(super) splitters: Splitters,
}

/// The parameters of a reduce task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ReduceParams {
    pub(super) shuffle: Shuffle,
    pub(super) shape: Shape,
    /// Whether key and value together are the record. Otherwise, the value is.
    pub(super) whole: bool,
    pub(super) segments: Vec<Segment>,
}

/// Returns about `n` keys from several places of a split.
#[crate::remote(crate = crate)]
pub(super) fn sample(split: &Split, records: &RecordLayout, n: usize) -> Result<Vec<Vec<u8>>> {
    let mut keys = Vec::with_capacity(n);
    let split = split.looked_at()?;
    for place in 0..PLACES {
        let wanted = n * (place + 1) / PLACES;
        let mut blocks = split.part(place, PLACES).blocks()?;
        while keys.len() < wanted
            && let Some(block) = blocks.next_block()?
        {
            let _ = records.each(block, |record| {
                keys.push(records.key(record).to_vec());
                if keys.len() < wanted { Ok(()) } else { Err(()) }
            });
        }
    }
    Ok(keys)
}

/// Puts the records of a split into partitions.
#[crate::remote(crate = crate)]
pub(super) fn scatter(split: &Split, stage: &MapParams, task: usize) -> Result<Scattered> {
    let MapParams { shuffle, records, splitters } = stage;
    let store = store::open(&shuffle.store)?;
    let partitions = splitters.partitions();
    let mut scatter = shuffle::Scatter::new(partitions, shuffle.memory(), store.scratch(), shuffle.compress);
    let mut blocks = split.blocks()?;
    while let Some(block) = blocks.next_block()? {
        records.each(block, |record| {
            let key = records.key(record);
            let partition = splitters.partition(key);
            match records.is_prefix() {
                true => scatter.push_whole(partition, record, key.len()),
                false => scatter.push(partition, key, record),
            }
        })?;
    }
    Ok(scatter.finish(&*store, &shuffle.key(task))?)
}

/// Sorts a partition into its file.
#[crate::remote(crate = crate)]
pub(super) fn collect(stage: &ReduceParams, folder: &str, partition: usize) -> Result<ReduceResult<()>> {
    let mut merged = sorted(&stage.shuffle, stage.segments.clone())?;
    let name = format!("part-{partition:05}");
    let mut file = FileSink::create(folder, &name, &stage.shuffle)?;
    let mut records = 0;
    while let Some(record) = merged.record() {
        let bytes = if stage.whole { record.bytes } else { record.value() };
        let written = file.write_all(bytes).and_then(|()| match stage.shape {
            Shape::Fixed(_) => Ok(()),
            Shape::Lines | Shape::Other => file.write_all(b"\n"),
        });
        written.map_err(|e| full(folder, &name, &e))?;
        records += 1;
        merged.advance()?;
    }
    Ok(ReduceResult { collected: Vec::new(), records, file: Some(file.finish()?) })
}

fn full(folder: &str, name: &str, error: &std::io::Error) -> Error {
    StoreError::of_disk(folder.to_owned(), "write", name, error).into()
}
