//! The encoded result of one call.

use std::ops::Deref;

use serde::Serialize;

use super::args::INLINE_LIMIT;
use super::excerpt::Excerpt;
use super::types::DebugFn;
use super::{CallClock, framed};
use crate::codec::{self, Number};
use crate::error::Failure;

/// An encoded result: `bytes`, followed by the numbers of a long `Vec`, which are not copied.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) long: Long,
}

/// The bytes of a `Vec` of numbers of any type.
#[derive(Default)]
pub(crate) struct Long(Option<Box<dyn AsBytes + Send>>);

trait AsBytes {
    fn as_bytes(&self) -> &[u8];
    fn align(&self) -> usize;
}

impl<T: Number> AsBytes for Vec<T> {
    fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }

    fn align(&self) -> usize {
        align_of::<T>()
    }
}

impl Long {
    fn new<T: Number>(numbers: Vec<T>) -> Self {
        Self(Some(Box::new(numbers)))
    }

    /// Returns the alignment of the numbers in bytes.
    pub(crate) fn align(&self) -> usize {
        self.0.as_ref().map_or(1, |numbers| numbers.align())
    }
}

impl Deref for Long {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |numbers| numbers.as_bytes())
    }
}

impl std::fmt::Debug for Long {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Long({} bytes)", self.len())
    }
}

impl Encoded {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.long = Long::default();
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.long.len()
    }

    /// Appends the result, preceded by its length.
    pub(crate) fn append_to(&self, results: &mut Vec<u8>) {
        results.extend_from_slice(&framed::head(self.len()));
        results.extend_from_slice(&self.bytes);
        results.extend_from_slice(&self.long);
    }
}

/// Receives the result of a call.
#[doc(hidden)]
pub struct Output<'a> {
    pub(super) encoded: &'a mut Encoded,
    pub(super) clock: &'a CallClock,
    /// Gets the result as text, if the caller wants to show it.
    pub(super) shown: Option<&'a mut Excerpt>,
}

impl Output<'_> {
    /// Writes the result as text, if the caller wants to show it and the type has `Debug`.
    #[inline]
    pub fn shown_as<T>(mut self, value: &T, debug: Option<DebugFn<T>>) -> Self {
        if let (Some(excerpt), Some(debug)) = (&mut self.shown, debug) {
            excerpt.fill(value, debug);
        }
        self
    }

    /// Encodes the result.
    #[inline]
    pub fn write<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        self.clock.computed();
        codec::encode_into(value, &mut self.encoded.bytes).map_err(|e| Failure::BadResult { reason: e.to_string() })
    }

    /// Writes a result that consists of numbers, with their layout in memory.
    #[inline]
    pub fn write_numbers<T: Number + Serialize>(self, value: Vec<T>) -> Result<(), Failure> {
        let Some((start, numbers)) = codec::parts_of(&value) else { return self.write(&value) };
        self.clock.computed();
        self.encoded.bytes.extend_from_slice(&start);
        if numbers.len() <= INLINE_LIMIT {
            self.encoded.bytes.extend_from_slice(numbers);
        } else {
            self.encoded.long = Long::new(value);
        }
        Ok(())
    }
}
