//! The values of one key, as `reduce` sees them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::BoxError;
use crate::codec;
use crate::shuffle::Merged;

/// The values of a key, as an iterator in the order of the inputs. Values that are not taken are skipped.
pub struct Values<'a, V> {
    merged: &'a mut Merged,
    key: &'a [u8],
    /// An error that ended the iteration. The task fails with it when `reduce` returns.
    failed: Option<BoxError>,
    value: PhantomData<fn() -> V>,
}

impl<V> fmt::Debug for Values<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values")
    }
}

impl<'a, V> Values<'a, V> {
    pub(super) fn new(merged: &'a mut Merged, key: &'a [u8]) -> Self {
        Self { merged, key, failed: None, value: PhantomData }
    }

    fn is_over(&self) -> bool {
        self.failed.is_some() || self.merged.record().is_none_or(|record| record.key() != self.key)
    }

    /// Skips the remaining values of the key.
    pub(super) fn finish(self) -> Result<(), BoxError> {
        while !self.is_over() {
            self.merged.advance()?;
        }
        self.failed.map_or(Ok(()), Err)
    }
}

impl<V: DeserializeOwned> Iterator for Values<'_, V> {
    type Item = V;

    fn next(&mut self) -> Option<V> {
        if self.is_over() {
            return None;
        }
        let value = codec::decode(self.merged.record()?.value());
        match (value, self.merged.advance()) {
            (Ok(value), Ok(())) => Some(value),
            (Err(error), _) => {
                self.failed = Some(error.into());
                None
            }
            (_, Err(error)) => {
                self.failed = Some(error.into());
                None
            }
        }
    }
}
