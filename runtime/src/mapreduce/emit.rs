//! [`Emitter`], to which `map` emits pairs.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::table::Table;
use super::{BoxError, Key, MapReduce, Shuffle, by_hash};
use crate::codec;
use crate::shuffle::{Scatter, Scattered};
use crate::store::Store;

/// Receives the pairs that [`MapReduce::map`] emits.
pub struct Emitter<'a, T: MapReduce>(pub(super) Pairs<&'a T>);

impl<T: MapReduce> fmt::Debug for Emitter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Emitter({} pairs)", self.0.emitted)
    }
}

impl<T: MapReduce> Emitter<'_, T> {
    /// Emits a value under a key.
    ///
    /// An error, such as a full disk, fails the task when `map` returns.
    #[inline]
    pub fn emit(&mut self, key: &T::Key, value: T::Value) {
        self.0.push(key, value);
    }
}

/// The types of pairs, and the functions that combine pairs and choose their partitions.
pub(crate) trait Emits: Copy {
    type Key: Key + ?Sized;
    type Value: Serialize;
    const COMBINES: bool;
    const PARTITIONS: bool;

    fn combine(self, value: &mut Self::Value, next: Self::Value);
    fn partition(self, key: <Self::Key as Key>::View<'_>, partitions: usize) -> usize;
}

impl<T: MapReduce> Emits for &T {
    type Key = T::Key;
    type Value = T::Value;
    const COMBINES: bool = T::COMBINES;
    const PARTITIONS: bool = T::PARTITIONS;

    #[inline]
    fn combine(self, value: &mut T::Value, next: T::Value) {
        MapReduce::combine(self, value, next);
    }

    fn partition(self, key: <T::Key as Key>::View<'_>, partitions: usize) -> usize {
        MapReduce::partition(self, key, partitions)
    }
}

/// Pairs on their way to partitions, combined if possible.
pub(crate) struct Pairs<E: Emits> {
    emits: E,
    /// The table that combines pairs, if `combine` is implemented.
    table: Option<Table<E::Value>>,
    sink: Sink<E>,
    /// Encoding of the current key.
    key: Vec<u8>,
    pub(crate) emitted: u64,
}

/// The stage after the table: encodes pairs and puts them into partitions.
struct Sink<E> {
    emits: E,
    scatter: Scatter,
    partitions: usize,
    value: Vec<u8>,
    /// The first error. Later pairs are ignored.
    failed: Option<BoxError>,
}

impl<E: Emits> Pairs<E> {
    pub(crate) fn new(emits: E, shuffle: &Shuffle, partitions: usize, folder: PathBuf) -> Self {
        // A third of the memory is left to the program.
        let third = shuffle.memory() / 3;
        let scatter = Scatter::new(partitions, third, folder, shuffle.compress);
        Self {
            emits,
            table: E::COMBINES.then(|| Table::new(third)),
            sink: Sink { emits, scatter, partitions, value: Vec::new(), failed: None },
            key: Vec::new(),
            emitted: 0,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, key: &E::Key, value: E::Value) {
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
                table.add(encoded, value, |held, next| self.emits.combine(held, next));
                if table.is_full() {
                    self.sink.take_all(table);
                }
            }
            None => self.sink.take(encoded, &value),
        }
    }

    /// Stores the emitted pairs.
    pub(crate) fn finish(mut self, store: &dyn Store, key: &str) -> Result<Scattered, BoxError> {
        if let Some(table) = &mut self.table {
            self.sink.take_all(table);
        }
        // Free the table's memory for writing.
        drop(self.table);
        match self.sink.failed {
            Some(error) => Err(error),
            None => Ok(self.sink.scatter.finish(store, key)?),
        }
    }
}

impl<E: Emits> Sink<E> {
    fn take_all(&mut self, table: &mut Table<E::Value>) {
        let emits = self.emits;
        let take = |key: &[u8], value| {
            self.take(key, &value);
            Ok::<_, std::convert::Infallible>(())
        };
        let taken = table.drain(|held, next| emits.combine(held, next), take);
        let Ok(()) = taken;
    }

    fn take(&mut self, key: &[u8], value: &E::Value) {
        if self.failed.is_none()
            && let Err(error) = self.try_take(key, value)
        {
            self.failed = Some(error);
        }
    }

    fn try_take(&mut self, key: &[u8], value: &E::Value) -> Result<(), BoxError> {
        let partition = match self.partitions {
            1 => 0,
            partitions if E::PARTITIONS => {
                let view = E::Key::decode(key).ok_or(NO_KEY)?;
                self.emits.partition(view, partitions)
            }
            partitions => by_hash(key, partitions),
        };
        self.value.clear();
        codec::encode_into(value, &mut self.value)?;
        Ok(self.scatter.push(partition, key, &self.value)?)
    }
}

/// Error message for a key whose encoding cannot be decoded.
pub(crate) const NO_KEY: &str = "cannot decode a key from its encoding";
