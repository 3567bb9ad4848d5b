//! The encoded arguments of consecutive tasks of a job.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::function::{Args, Blob, Limits, RemoteFn, framed};

/// The encoded arguments of consecutive tasks that share a function and limits.
#[derive(Debug)]
pub struct TaskBlock {
    function: &'static RemoteFn,
    limits: Limits,
    first: u64,
    /// The span that the tasks belong to, in the `traceparent` format of W3C Trace Context.
    traceparent: Option<Arc<str>>,
    bytes: Vec<u8>,
    /// The end of each task's arguments in `bytes`.
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

    /// Rebuilds a block on another machine from `bytes`, the result of [`args`](Self::args) for `tasks`. Returns `None`
    /// if they are not the arguments of exactly that many tasks.
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

    /// Returns the byte range of the arguments of some of the tasks within those of all tasks.
    #[cfg(feature = "aws")]
    pub(crate) fn args_range(&self, tasks: Range<u64>) -> Range<u64> {
        let start = self.args(self.first..tasks.start).len() as u64;
        start..start + self.args(tasks).len() as u64
    }

    /// Returns whether a call of this function with these limits can join the block.
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

    /// Returns the number of bytes held, blobs included.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.blobs.values().flatten().map(|b| b.bytes.len()).sum::<usize>()
    }

    pub(crate) fn is_full(&self, tasks: usize, bytes: usize) -> bool {
        self.ends.len() >= tasks.min(u32::MAX as usize)
            || self.bytes.len() >= bytes
            || (!self.blobs.is_empty() && self.size() >= bytes)
    }

    /// Returns the number of tasks.
    pub(crate) fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Returns the tasks, by index in their job.
    pub fn tasks(&self) -> Range<u64> {
        self.first..self.first + self.ends.len() as u64
    }

    /// Returns the function that the tasks run.
    pub fn function(&self) -> &'static RemoteFn {
        self.function
    }

    /// Returns the limits of the tasks.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns the arguments of some of the tasks, each task's prefixed with their length.
    pub(crate) fn args(&self, tasks: Range<u64>) -> &[u8] {
        let end_of = |task: u64| match (task - self.first) as usize {
            0 => 0,
            n => self.ends[n - 1],
        };
        &self.bytes[end_of(tasks.start)..end_of(tasks.end)]
    }

    /// Returns the blobs that some of the tasks refer to.
    pub(crate) fn blobs(&self, tasks: Range<u64>) -> impl Iterator<Item = (u64, &[Arc<Blob>])> {
        self.blobs.range(tasks).map(|(task, blobs)| (*task, &blobs[..]))
    }

    /// Returns the size of the blobs that some of the tasks refer to, in bytes. A blob counts for each task.
    pub(crate) fn large_size(&self, tasks: Range<u64>) -> u64 {
        if self.blobs.is_empty() {
            return 0;
        }
        self.blobs(tasks).flat_map(|(_, blobs)| blobs).map(|blob| blob.bytes.len() as u64).sum()
    }

    /// Creates a block of tasks without arguments.
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

    #[test]
    fn args_of_a_range_match_its_tasks() {
        let mut block = TaskBlock::new(TaskBlock::dummy(0..0, "f", Limits::default()).function, Limits::default(), 10);
        for task in 10..20u64 {
            block.push(Args::encoded(|e| e.push(&task)));
        }
        let whole = block.args(10..20);
        assert_eq!([block.args(10..13), block.args(13..20)].concat(), whole);
        assert_eq!(block.args(15..15), b"");
    }
}
