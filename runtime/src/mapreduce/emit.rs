//! What `map` emits to.

use std::fmt;

use super::stage::MapStage;
use super::table::Table;
use super::{BoxError, Key, MapReduce, by_hash};
use crate::codec;
use crate::shuffle::{Scatter, Scattered};
use crate::store::Store;

/// Takes the pairs that [`MapReduce::map`] emits.
pub struct Emitter<'a, T: MapReduce> {
    job: &'a T,
    /// Where there is a `combine`.
    table: Option<Table<T::Value>>,
    sink: Sink<'a, T>,
    /// The encoding of the key at hand.
    key: Vec<u8>,
    emitted: u64,
}

/// Behind the table.
struct Sink<'a, T> {
    job: &'a T,
    scatter: Scatter,
    partitions: usize,
    value: Vec<u8>,
    /// After it, nothing is taken any more.
    failed: Option<BoxError>,
}

impl<T: MapReduce> fmt::Debug for Emitter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Emitter({} pairs)", self.emitted)
    }
}

impl<'a, T: MapReduce> Emitter<'a, T> {
    pub(super) fn new(job: &'a T, stage: &MapStage, store: &dyn Store) -> Self {
        // A third of the memory is left to `map` itself.
        let third = stage.shuffle.memory() / 3;
        let scatter = Scatter::new(stage.partitions, third, store.scratch(), stage.shuffle.compress);
        Self {
            job,
            table: T::COMBINES.then(|| Table::new(third)),
            sink: Sink { job, scatter, partitions: stage.partitions, value: Vec::new(), failed: None },
            key: Vec::new(),
            emitted: 0,
        }
    }

    /// Emits a value under a key.
    ///
    /// That the disk is full, for instance, fails the task when `map` returns.
    #[inline]
    pub fn emit(&mut self, key: &T::Key, value: T::Value) {
        self.emitted += 1;
        let encoded = match key.as_encoded() {
            Some(encoded) => encoded,
            None => {
                self.key.clear();
                key.encode(&mut self.key);
                &self.key
            }
        };
        match &mut self.table {
            Some(table) => {
                table.add(encoded, value, |held, next| self.job.combine(held, next));
                if table.is_full() {
                    self.sink.take_all(table);
                }
            }
            None => self.sink.take(encoded, &value),
        }
    }

    /// How many pairs were emitted.
    pub(super) fn emitted(&self) -> u64 {
        self.emitted
    }

    /// Stores what was emitted.
    pub(super) fn finish(mut self, store: &dyn Store, key: &str) -> Result<Scattered, BoxError> {
        if let Some(table) = &mut self.table {
            self.sink.take_all(table);
        }
        // The table's memory serves the writing.
        drop(self.table);
        match self.sink.failed {
            Some(error) => Err(error),
            None => Ok(self.sink.scatter.finish(store, key)?),
        }
    }
}

impl<T: MapReduce> Sink<'_, T> {
    fn take_all(&mut self, table: &mut Table<T::Value>) {
        let job = self.job;
        let take = |key: &[u8], value| {
            self.take(key, &value);
            Ok::<_, std::convert::Infallible>(())
        };
        let taken = table.drain(|held, next| job.combine(held, next), take);
        let Ok(()) = taken;
    }

    fn take(&mut self, key: &[u8], value: &T::Value) {
        if self.failed.is_none()
            && let Err(error) = self.try_take(key, value)
        {
            self.failed = Some(error);
        }
    }

    fn try_take(&mut self, key: &[u8], value: &T::Value) -> Result<(), BoxError> {
        let partition = match self.partitions {
            1 => 0,
            partitions if T::PARTITIONS => {
                let view = T::Key::decode(key).ok_or("a key's encoding does not decode")?;
                self.job.partition(view, partitions)
            }
            partitions => by_hash(key, partitions),
        };
        self.value.clear();
        codec::encode_into(value, &mut self.value)?;
        Ok(self.scatter.push(partition, key, &self.value)?)
    }
}
