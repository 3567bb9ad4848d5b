//! Runs remote functions: decodes arguments, calls, encodes results, turns panics into failures.
//! What a worker process, a thread of the `inline` backend and a Lambda share.

#[cfg(feature = "aws")]
pub(crate) mod lambda;
mod panics;
pub(crate) mod process;
mod stop;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::block::{INLINE_LIMIT, IS_BLOB};
use crate::codec::{self, CodecError, Number};
use crate::error::Failure;
use crate::framed;
use crate::registry::RemoteFn;

pub(crate) use panics::{captures_panics, install_hook, message_of};
pub use stop::run_async;
pub(crate) use stop::{StopSignal, stopped_by};

/// An encoded result: `bytes` and, behind them, the numbers of a long `Vec`, which are not copied.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) long: Long,
}

/// The bytes of a `Vec` of numbers, whatever numbers these are.
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

    /// To how many bytes each of the numbers is aligned.
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

    /// Appends the result, behind its length.
    pub(crate) fn append_to(&self, results: &mut Vec<u8>) {
        results.extend_from_slice(&framed::head(self.len()));
        results.extend_from_slice(&self.bytes);
        results.extend_from_slice(&self.long);
    }
}

/// Runs one call: `args` and `blobs` as [`Args`](crate::block::Args) holds them. The result goes to
/// `out`, which is empty.
#[inline]
pub(crate) fn run(function: &RemoteFn, args: &[u8], blobs: &[Arc<Blob>], out: &mut Encoded) -> Result<(), Failure> {
    let mut invoke = Invoke { args, blobs, out };
    captures_panics(|| (function.entry)(&mut invoke))
}

/// As [`run`], and a panic goes on up the stack.
pub(crate) fn run_uncaught(
    function: &RemoteFn,
    args: &[u8],
    blobs: &[Arc<Blob>],
    out: &mut Encoded,
) -> Result<(), Failure> {
    (function.entry)(&mut Invoke { args, blobs, out })
}

/// One call as generated code sees it.
#[doc(hidden)]
pub struct Invoke<'a> {
    args: &'a [u8],
    blobs: &'a [Arc<Blob>],
    out: &'a mut Encoded,
}

impl std::fmt::Debug for Invoke<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Invoke({} bytes)", self.args.len())
    }
}

impl<'a> Invoke<'a> {
    /// The arguments to decode, and where the result goes.
    #[inline]
    pub fn split(&mut self) -> (ArgsDecoder<'a>, Output<'_>) {
        (ArgsDecoder { rest: self.args, blobs: self.blobs }, Output(self.out))
    }
}

/// Decodes arguments one by one; what they borrow lives as long as the call.
#[doc(hidden)]
pub struct ArgsDecoder<'a> {
    rest: &'a [u8],
    blobs: &'a [Arc<Blob>],
}

impl<'a> ArgsDecoder<'a> {
    #[inline]
    fn next_encoded(&mut self, name: &str) -> Result<&'a [u8], Failure> {
        let missing = || Failure::BadArguments { reason: format!("argument `{name}` is missing or cut short") };
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

    /// The next argument.
    #[inline]
    pub fn next<T: Deserialize<'a>>(&mut self, name: &str) -> Result<T, Failure> {
        codec::decode(self.next_encoded(name)?).map_err(|e| bad_argument(name, &e))
    }

    /// The next argument, of numbers: as they lie in the message, where they are aligned there.
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

    /// Checks that there are no more.
    #[inline]
    pub fn finish(self) -> Result<(), Failure> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Failure::BadArguments { reason: format!("{} bytes are left over after the arguments", self.rest.len()) })
    }
}

fn bad_argument(name: &str, error: &CodecError) -> Failure {
    Failure::BadArguments { reason: format!("argument `{name}`: {error}") }
}

/// Takes the result of a call.
#[doc(hidden)]
pub struct Output<'a>(&'a mut Encoded);

impl Output<'_> {
    /// Encodes the result.
    #[inline]
    pub fn write<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        codec::encode_into(value, &mut self.0.bytes).map_err(|e| Failure::BadResult { reason: e.to_string() })
    }

    /// Takes a result of numbers as they lie in memory.
    #[inline]
    pub fn write_numbers<T: Number + Serialize>(self, value: Vec<T>) -> Result<(), Failure> {
        let Some((start, numbers)) = codec::parts_of(&value) else { return self.write(&value) };
        self.0.bytes.extend_from_slice(&start);
        if numbers.len() <= INLINE_LIMIT {
            self.0.bytes.extend_from_slice(numbers);
        } else {
            self.0.long = Long::new(value);
        }
        Ok(())
    }
}

/// The blobs that the tasks of one flight name, by task.
pub(crate) type BlobsByTask = HashMap<u64, Vec<Arc<Blob>>>;
