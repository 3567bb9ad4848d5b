//! The arguments of one call, encoded one after the other.
//!
//! Each argument starts with a little-endian `u32`. If its highest bit is clear, that many bytes of an encoded value
//! follow. If the bit is set, the lower bits are the index of a [`Blob`], which is sent only once even if many calls
//! refer to it.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::blob::Blob;
use super::immutable::Lent;
use super::{CallClock, attached};
use crate::codec::{self, CodecError, Number};
use crate::error::Failure;

/// An argument whose encoding is longer than this, in bytes, becomes a blob.
pub const INLINE_LIMIT: usize = 64 << 10;

const IS_BLOB: u32 = 1 << 31;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The encoded arguments of one call.
#[derive(Debug, Default, Clone)]
pub(crate) struct Args {
    pub(crate) bytes: SmallVec<[u8; 48]>,
    pub(crate) blobs: Vec<Arc<Blob>>,
}

impl Args {
    /// Returns the size of the arguments in bytes, including blobs.
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64 + self.blobs.iter().map(|blob| blob.bytes.len() as u64).sum::<u64>()
    }
}

#[cfg(test)]
impl Args {
    /// The arguments that `push` encodes.
    pub(crate) fn encoded(push: impl FnOnce(&mut ArgsEncoder)) -> Self {
        let mut encoder = ArgsEncoder::new();
        push(&mut encoder);
        encoder.finish().unwrap()
    }
}

/// Encodes arguments one by one; generated code uses it.
#[doc(hidden)]
pub struct ArgsEncoder {
    scratch: Vec<u8>,
    blobs: Vec<Arc<Blob>>,
    error: Option<CodecError>,
}

impl ArgsEncoder {
    /// Creates an encoder without arguments.
    #[allow(clippy::new_without_default, reason = "generated code calls new")]
    #[inline]
    pub fn new() -> Self {
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.clear();
        // Values that the program encoded for another purpose, such as a file, do not belong to this call.
        attached::forget();
        Self { scratch, blobs: Vec::new(), error: None }
    }

    /// Appends an argument.
    #[inline]
    pub fn push<T: Serialize + ?Sized>(&mut self, value: &T) {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(&[0; 4]);
        if let Err(error) = codec::encode_into(value, &mut self.scratch) {
            self.error.get_or_insert(error);
            return;
        }
        let len = self.scratch.len() - start - 4;
        if len > INLINE_LIMIT {
            let blob = Blob::of(&self.scratch[start + 4..], &[]);
            self.scratch.truncate(start);
            self.push_blob(blob);
        } else {
            self.scratch[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
        }
    }

    /// Appends an argument of numbers, in one copy.
    pub fn push_numbers<T: Number + Serialize>(&mut self, value: &[T]) {
        let Some((start, numbers)) = codec::parts_of(value) else { return self.push(value) };
        if numbers.len() > INLINE_LIMIT {
            return self.push_blob(Blob::of(numbers, &start));
        }
        let len = (start.len() + numbers.len()) as u32;
        self.scratch.extend_from_slice(&len.to_le_bytes());
        self.scratch.extend_from_slice(&start);
        self.scratch.extend_from_slice(numbers);
    }

    fn push_blob(&mut self, blob: Arc<Blob>) {
        let header = IS_BLOB | self.blobs.len() as u32;
        self.scratch.extend_from_slice(&header.to_le_bytes());
        self.blobs.push(blob);
    }

    #[inline]
    pub(crate) fn finish(mut self) -> Result<Args, CodecError> {
        self.blobs.append(&mut attached::take());
        let bytes = SmallVec::from_slice(&self.scratch);
        if self.scratch.capacity() <= 16 << 20 {
            // A thread that is about to end does not keep the buffer.
            let _ = SCRATCH.try_with(|kept| kept.set(self.scratch));
        }
        match self.error.take() {
            None => Ok(Args { bytes, blobs: self.blobs }),
            Some(error) => Err(error),
        }
    }
}

/// Decodes arguments one by one. The data that they borrow lives as long as the call.
#[doc(hidden)]
pub struct ArgsDecoder<'a> {
    pub(super) rest: &'a [u8],
    pub(super) blobs: &'a [Arc<Blob>],
    pub(super) clock: &'a CallClock,
}

impl<'a> ArgsDecoder<'a> {
    #[inline]
    fn next_encoded(&mut self, name: &str) -> Result<&'a [u8], Failure> {
        let missing = || Failure::BadArguments { reason: format!("argument `{name}` is missing or truncated") };
        let (header, rest) = self.rest.split_first_chunk::<4>().ok_or_else(missing)?;
        let header = u32::from_le_bytes(*header);
        if header & IS_BLOB != 0 {
            self.rest = rest;
            let blobs: &'a [Arc<Blob>] = self.blobs;
            let blob = blobs.get((header & !IS_BLOB) as usize).ok_or_else(missing)?;
            return Ok(&blob.bytes);
        }
        let (value, rest) = rest.split_at_checked(header as usize).ok_or_else(missing)?;
        self.rest = rest;
        Ok(value)
    }

    /// Returns the next argument if it is a blob, and the arguments after it.
    fn peek_blob(&self) -> Option<(&'a Arc<Blob>, &'a [u8])> {
        let (header, rest) = self.rest.split_first_chunk::<4>()?;
        let header = u32::from_le_bytes(*header);
        let index = (header & IS_BLOB != 0).then_some((header & !IS_BLOB) as usize)?;
        Some((self.blobs.get(index)?, rest))
    }

    /// Returns the next argument by decoding it with `next`, or without if it is a blob that this process has decoded
    /// before.
    pub fn next_once<T>(&mut self, next: impl FnOnce(&mut Self) -> Result<Box<T>, Failure>) -> Result<Lent<T>, Failure>
    where
        T: ?Sized + Send + Sync + 'static,
    {
        let Some((blob, rest)) = self.peek_blob() else { return next(self).map(Lent::new) };
        let lent = blob.decoded_once(|| next(self))?;
        self.rest = rest;
        Ok(lent)
    }

    /// Decodes the next argument.
    #[inline]
    pub fn next<T: Deserialize<'a>>(&mut self, name: &str) -> Result<T, Failure> {
        codec::decode(self.next_encoded(name)?).map_err(|e| bad_argument(name, &e))
    }

    /// Decodes the next argument, which consists of numbers. Borrows them from the message if they are aligned there.
    pub fn next_numbers<T>(&mut self, name: &str) -> Result<Cow<'a, [T]>, Failure>
    where
        T: Number + Deserialize<'a>,
    {
        let encoded = self.next_encoded(name)?;
        match codec::read_numbers(encoded, &[]) {
            Some(numbers) => Ok(numbers),
            None => codec::decode(encoded).map(Cow::Owned).map_err(|e| bad_argument(name, &e)),
        }
    }

    /// Checks that there are no more arguments.
    #[inline]
    pub fn finish(self) -> Result<(), Failure> {
        self.clock.decoded();
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Failure::BadArguments { reason: format!("there are {} extra bytes after the arguments", self.rest.len()) })
    }
}

fn bad_argument(name: &str, error: &CodecError) -> Failure {
    Failure::BadArguments { reason: format!("argument `{name}`: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_argument_captured_by_many_calls_is_one_blob() {
        let model = vec![0.5f64; 20_000];
        let calls: Vec<Args> = (0..100u64)
            .map(|seed| {
                Args::encoded(|e| {
                    e.push(&seed);
                    e.push(&model)
                })
            })
            .collect();
        assert!(calls.iter().all(|c| Arc::ptr_eq(&c.blobs[0], &calls[0].blobs[0])));
        assert_eq!(*calls[0].blobs[0].bytes, codec::encode(&model).unwrap());
    }

    #[test]
    fn large_bytes_encode_like_serde() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        assert_eq!(*Args::encoded(|e| e.push_numbers(&bytes)).blobs[0].bytes, codec::encode(&bytes).unwrap());
    }

    #[tokio::test]
    async fn refs_encoded_outside_calls_join_no_call() {
        let executor = crate::Executor::builder().backend("inline").store("memory:outside-of-a-call").build().unwrap();
        let value = crate::calls::put(&vec![7_u8; 100]).on(&executor).await.unwrap();
        assert_eq!(Args::encoded(|e| e.push(&value)).blobs.len(), 1);
        serde_json::to_string(&value).unwrap();
        assert!(Args::encoded(|e| e.push(&1_u8)).blobs.is_empty());
        assert_eq!(Args::encoded(|e| e.push(&(1_u8, &value))).blobs.len(), 1);
    }

    #[test]
    fn a_changed_value_is_another_blob() {
        let mut model = vec![1u64; 100_000];
        let one = Args::encoded(|e| e.push(&model));
        model[99_999] = 2;
        assert!(!Arc::ptr_eq(&one.blobs[0], &Args::encoded(|e| e.push(&model)).blobs[0]));
    }
}
