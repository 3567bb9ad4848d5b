//! The combining table of a reduce task, before the sorter. Each map task combines only its own pairs; this table
//! combines the pairs of all map tasks, so that there is less to sort.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::BoxError;
use super::emit::Emits;
use super::table::Table;
use crate::codec;
use crate::shuffle::{Merged, RecordBlocks, Sorter, write_record};

/// Approximate size of the blocks in which records go to the sorter, in bytes.
const BLOCK: usize = 1 << 20;

pub(super) struct Combined<E: Emits> {
    emits: E,
    table: Table<E::Value>,
    sorter: Sorter,
}

impl<E: Emits> Combined<E>
where
    E::Value: DeserializeOwned,
{
    pub(super) fn new(emits: E, memory: usize, folder: PathBuf) -> Self {
        Self { emits, table: Table::new(memory / 2), sorter: Sorter::new(memory / 2, folder) }
    }

    pub(super) fn add(&mut self, records: &RecordBlocks) -> Result<(), BoxError> {
        for record in records.iter() {
            let record = record?;
            let value = codec::decode(record.value())?;
            self.table.add(record.key(), value, |held, next| self.emits.combine(held, next));
            if self.table.is_full() {
                self.drain()?;
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), BoxError> {
        let (emits, sorter) = (self.emits, &mut self.sorter);
        let (mut block, mut value) = (Vec::new(), Vec::new());
        let take = |key: &[u8], held| {
            value.clear();
            codec::encode_into(&held, &mut value)?;
            write_record(key, &value, &mut block);
            if block.len() >= BLOCK {
                sorter.add(RecordBlocks::one_block(std::mem::take(&mut block)))?;
            }
            Ok::<_, BoxError>(())
        };
        self.table.drain(|held, next| emits.combine(held, next), take)?;
        Ok(self.sorter.add(RecordBlocks::one_block(block))?)
    }

    pub(super) fn finish(mut self) -> Result<Merged, BoxError> {
        self.drain()?;
        drop(self.table);
        Ok(self.sorter.finish()?)
    }
}
