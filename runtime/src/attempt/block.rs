//! The encoded arguments of consecutive tasks of a job.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::function::{Args, Blob, Limits, RemoteFn, framed};

/// The encoded arguments of consecutive tasks that share function and limits.
#[derive(Debug)]
pub struct TaskBlock {
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

impl TaskBlock {
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
    use crate::function::ArgsEncoder;

    fn args(push: impl FnOnce(&mut ArgsEncoder)) -> Args {
        let mut encoder = ArgsEncoder::new();
        push(&mut encoder);
        encoder.finish().unwrap()
    }

    #[test]
    fn args_of_a_range_are_those_of_its_tasks() {
        let mut block = TaskBlock::new(TaskBlock::dummy(0..0, "f", Limits::default()).function, Limits::default(), 10);
        for task in 10..20u64 {
            block.push(args(|e| e.push(&task)));
        }
        let whole = block.args(10..20);
        assert_eq!([block.args(10..13), block.args(13..20)].concat(), whole);
        assert_eq!(block.args(15..15), b"");
    }
}
