//! Encoded arguments: of one call ([`Args`]), and of consecutive tasks of a job ([`Block`]).
//!
//! The arguments of a call are, one after the other, a little-endian `u32` and, where its highest
//! bit is clear, that many bytes of a value. Where the bit is set, the lower bits are the index
//! of a [`Blob`], which travels once however many calls name it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::backoff::Backoff;
use crate::blob::Blob;
use crate::codec::{self, CodecError, Number};
use crate::framed;
use crate::registry::RemoteFn;

/// An argument whose encoding is longer than this, in bytes, becomes a blob.
pub const INLINE_LIMIT: usize = 64 << 10;

pub(crate) const IS_BLOB: u32 = 1 << 31;

/// What a call may use, from its annotation and its builder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the worker, in MB of 2^20 bytes.
    pub memory_mb: Option<u32>,
    /// Time of one execution.
    pub timeout: Option<Duration>,
    /// How often an `Err` or a panic is run again.
    pub retries: Option<u32>,
    /// The pauses before that.
    pub backoff: Option<Backoff>,
    /// Whether it is never run again, whatever became of it.
    pub at_most_once: bool,
}

impl Limits {
    /// The limits of the annotation.
    pub fn of(function: &RemoteFn) -> Self {
        Self {
            memory_mb: function.memory_mb,
            timeout: function.timeout,
            retries: function.retries,
            backoff: function.backoff,
            at_most_once: function.at_most_once,
        }
    }

    /// These limits, and in their place those that `job` says.
    pub(crate) fn under(self, job: &Self) -> Self {
        Self {
            memory_mb: job.memory_mb.or(self.memory_mb),
            timeout: job.timeout.or(self.timeout),
            retries: job.retries.or(self.retries),
            backoff: job.backoff.or(self.backoff),
            at_most_once: job.at_most_once || self.at_most_once,
        }
    }
}

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
    /// Bytes held, blobs included.
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64 + self.blobs.iter().map(|blob| blob.bytes.len() as u64).sum::<u64>()
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
    /// Begins with no arguments.
    #[allow(clippy::new_without_default, reason = "generated code calls new")]
    #[inline]
    pub fn new() -> Self {
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.clear();
        // What the program encoded besides, perhaps into a file of its own, is not of this call.
        crate::refs::forget_attached();
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
        self.blobs.append(&mut crate::refs::take_attached());
        let bytes = SmallVec::from_slice(&self.scratch);
        if self.scratch.capacity() <= 16 << 20 {
            // A thread that is about to end keeps none.
            let _ = SCRATCH.try_with(|kept| kept.set(self.scratch));
        }
        match self.error.take() {
            None => Ok(Args { bytes, blobs: self.blobs }),
            Some(error) => Err(error),
        }
    }
}

/// The encoded arguments of consecutive tasks that share function and limits.
#[derive(Debug)]
pub struct Block {
    function: &'static RemoteFn,
    limits: Limits,
    first: u64,
    /// The span that its tasks belong to, as the `traceparent` of W3C's Trace Context has it.
    traceparent: Option<Arc<str>>,
    bytes: Vec<u8>,
    /// Where each task's arguments end in `bytes`.
    ends: Vec<usize>,
    blobs: BTreeMap<u64, Vec<Arc<Blob>>>,
}

impl Block {
    pub(crate) fn new(function: &'static RemoteFn, limits: Limits, first: u64) -> Self {
        let (bytes, ends, blobs) = Default::default();
        Self { function, limits, first, traceparent: None, bytes, ends, blobs }
    }

    pub(crate) fn set_traceparent(&mut self, traceparent: Option<Arc<str>>) {
        self.traceparent = traceparent;
    }

    pub(crate) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// A block as it comes from elsewhere: `bytes` are those of [`args`](Self::args) for `count` tasks.
    /// `None` where they are not.
    #[cfg(feature = "aws")]
    pub(crate) fn received(
        function: &'static RemoteFn,
        limits: Limits,
        tasks: Range<u64>,
        bytes: Vec<u8>,
        blobs: BTreeMap<u64, Vec<Arc<Blob>>>,
    ) -> Option<Self> {
        let mut ends = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (len, behind) = framed::length(rest)?;
            rest = behind.get(len..)?;
            ends.push(bytes.len() - rest.len());
        }
        let whole = ends.len() as u64 == tasks.end.checked_sub(tasks.start)?;
        whole.then_some(Self { function, limits, first: tasks.start, traceparent: None, bytes, ends, blobs })
    }

    /// Where the arguments of some of the tasks lie in those of all.
    #[cfg(feature = "aws")]
    pub(crate) fn args_range(&self, tasks: Range<u64>) -> Range<u64> {
        let start = self.args(self.first..tasks.start).len() as u64;
        start..start + self.args(tasks).len() as u64
    }

    /// Whether a call of that function and limits can join the block.
    #[inline]
    pub(crate) fn accepts(&self, function: &'static RemoteFn, limits: &Limits) -> bool {
        std::ptr::eq(self.function, function) && self.limits == *limits
    }

    #[inline]
    pub(crate) fn push(&mut self, args: Args) {
        if !args.blobs.is_empty() {
            self.blobs.insert(self.first + self.ends.len() as u64, args.blobs);
        }
        framed::push(&args.bytes, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Bytes held, blobs included.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.blobs.values().flatten().map(|b| b.bytes.len()).sum::<usize>()
    }

    pub(crate) fn is_full(&self, tasks: usize, bytes: usize) -> bool {
        self.ends.len() >= tasks.min(u32::MAX as usize)
            || self.bytes.len() >= bytes
            || (!self.blobs.is_empty() && self.size() >= bytes)
    }

    /// How many tasks it has.
    pub(crate) fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The tasks, by index in their job.
    pub fn tasks(&self) -> Range<u64> {
        self.first..self.first + self.ends.len() as u64
    }

    /// What they run.
    pub fn function(&self) -> &'static RemoteFn {
        self.function
    }

    /// What they may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The arguments of some of the tasks, each task's behind its length.
    pub(crate) fn args(&self, tasks: Range<u64>) -> &[u8] {
        let end_of = |task: u64| match (task - self.first) as usize {
            0 => 0,
            n => self.ends[n - 1],
        };
        &self.bytes[end_of(tasks.start)..end_of(tasks.end)]
    }

    /// The blobs that some of the tasks name.
    pub(crate) fn blobs(&self, tasks: Range<u64>) -> impl Iterator<Item = (u64, &[Arc<Blob>])> {
        self.blobs.range(tasks).map(|(task, blobs)| (*task, &blobs[..]))
    }

    /// A block of tasks without arguments.
    #[cfg(test)]
    pub(crate) fn dummy(tasks: Range<u64>, name: &'static str, limits: Limits) -> Arc<Self> {
        let function = Box::leak(Box::new(RemoteFn::dummy(name)));
        let mut block = Self::new(function, limits, tasks.start);
        tasks.for_each(|_| block.push(Args::default()));
        Arc::new(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(push: impl FnOnce(&mut ArgsEncoder)) -> Args {
        let mut encoder = ArgsEncoder::new();
        push(&mut encoder);
        encoder.finish().unwrap()
    }

    #[test]
    fn a_large_argument_captured_by_many_calls_is_one_blob() {
        let model = vec![0.5f64; 20_000];
        let calls: Vec<Args> = (0..100u64)
            .map(|seed| {
                args(|e| {
                    e.push(&seed);
                    e.push(&model)
                })
            })
            .collect();
        assert!(calls.iter().all(|c| Arc::ptr_eq(&c.blobs[0], &calls[0].blobs[0])));
        assert_eq!(*calls[0].blobs[0].bytes, codec::encode(&model).unwrap());
    }

    #[test]
    fn large_bytes_encode_as_serde_would() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        assert_eq!(*args(|e| e.push_numbers(&bytes)).blobs[0].bytes, codec::encode(&bytes).unwrap());
    }

    #[tokio::test]
    async fn a_ref_that_was_encoded_outside_of_a_call_goes_with_none() {
        let executor = crate::Executor::builder().backend("inline").store("memory:outside-of-a-call").build().unwrap();
        let value = crate::put(&vec![7_u8; 100]).on(&executor).await.unwrap();
        assert_eq!(args(|e| e.push(&value)).blobs.len(), 1);
        serde_json::to_string(&value).unwrap();
        assert!(args(|e| e.push(&1_u8)).blobs.is_empty());
        assert_eq!(args(|e| e.push(&(1_u8, &value))).blobs.len(), 1);
    }

    #[test]
    fn a_changed_value_is_another_blob() {
        let mut model = vec![1u64; 100_000];
        let one = args(|e| e.push(&model));
        model[99_999] = 2;
        assert!(!Arc::ptr_eq(&one.blobs[0], &args(|e| e.push(&model)).blobs[0]));
    }

    #[test]
    fn args_of_a_range_are_those_of_its_tasks() {
        let mut block = Block::new(Block::dummy(0..0, "f", Limits::default()).function, Limits::default(), 10);
        for task in 10..20u64 {
            block.push(args(|e| e.push(&task)));
        }
        let whole = block.args(10..20);
        assert_eq!([block.args(10..13), block.args(13..20)].concat(), whole);
        assert_eq!(block.args(15..15), b"");
    }
}
