//! The private channel between the driver and one local worker process: shared memory with a ring
//! of frames each way, and a doorbell for whoever sleeps.
//!
//! Shared memory and not a socket, for two reasons. A result is safe from the moment it is written:
//! it outlives its worker. And while both sides are awake a call costs no system call, so a warm
//! call takes less than a socket's round trip.

mod panic_record;
mod region;
mod ring;

pub(crate) use region::{Region, SLOTS};
pub(crate) use ring::{Reader, Writer};

/// The largest frame body. Longer messages travel as [`kind::PART`]s.
pub(crate) const MAX_BODY: usize = 256 << 10;

/// What a frame is.
pub(crate) mod kind {
    /// Driver to worker: the length of a [`BatchHeader`](crate::BatchHeader) as `u32`, the header,
    /// the argument bytes; or no argument bytes, and these came before as parts.
    pub(crate) const BATCH: u32 = 1;
    /// Either way: bytes that belong to the next frame that is no part.
    pub(crate) const PART: u32 = 2;
    /// Either way: the bytes of all parts to come, as `u64`, so that they find room at once.
    pub(crate) const LENGTH: u32 = 7;
    /// Driver to worker: a [`BlobHeader`](crate::BlobHeader); the blob came before, as parts or as memory to map.
    pub(crate) const BLOB: u32 = 3;
    /// Driver to worker: the id of a blob that no later batch will name.
    pub(crate) const FORGET: u32 = 4;
    /// Worker to driver: a [`ResultsHeader`](crate::ResultsHeader), then results; or the length of one result and how it
    /// begins, and the rest came before as parts.
    pub(crate) const RESULTS: u32 = 5;
    /// Worker to driver: a [`FailedTask`](crate::FailedTask).
    pub(crate) const FAILED: u32 = 6;
}

/// The body of a [`kind::LENGTH`]: how many bytes follow, and to how many what is in them is aligned.
pub(crate) fn length_body(len: usize, align: usize) -> [u8; 16] {
    let mut body = [0; 16];
    body[..8].copy_from_slice(&(len as u64).to_le_bytes());
    body[8..].copy_from_slice(&(align as u64).to_le_bytes());
    body
}

/// See [`length_body`]; zeros where it is none.
pub(crate) fn length(body: &[u8]) -> (usize, usize) {
    let number = |at: usize| {
        let bytes = body.get(at..).and_then(|rest| rest.first_chunk());
        bytes.and_then(|bytes| usize::try_from(u64::from_le_bytes(*bytes)).ok()).unwrap_or(0)
    };
    (number(0), number(8))
}

use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// What the worker must know of a batch beside its arguments.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BatchHeader<'a> {
    pub(crate) batch_id: u64,
    /// The cursor that counts this batch.
    pub(crate) slot: u32,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) attempt: u32,
    pub(crate) function: &'a str,
    pub(crate) signature_hash: u64,
    /// Whether the memory of its tasks is limited.
    pub(crate) memory_is_limited: bool,
    /// The span that the tasks belong to, where spans are exported.
    pub(crate) traceparent: Option<&'a str>,
    /// Which blobs the tasks name: (task relative to `first`, blob ids).
    pub(crate) blobs: Vec<(u32, Vec<u64>)>,
}

/// Says what blob the bytes of a frame are.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BlobHeader {
    pub(crate) id: u64,
    /// The BLAKE3 of a blob that a `Ref` may name.
    pub(crate) hash: Option<[u8; 32]>,
    /// Its length, where no parts came but a descriptor to map, over the socket.
    pub(crate) mapped: Option<usize>,
}

/// When a worker did what it tells of, in nanoseconds: the first three by [`monotonic`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerTimes {
    /// It took the first of the batch out of the ring.
    pub(crate) started: u64,
    /// It had all of it.
    pub(crate) fetched: u64,
    /// It began with the tasks that it tells of.
    pub(crate) began: u64,
    /// How long it ran them.
    pub(crate) compute: u64,
    /// How long it then needed to write what came of them.
    pub(crate) commit: u64,
}

/// Tells of one failed task.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FailedTask {
    pub(crate) batch_id: u64,
    pub(crate) task: u64,
    pub(crate) failure: Failure,
    pub(crate) times: WorkerTimes,
}

/// Tells of consecutive tasks that succeeded; their results follow, each behind its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResultsHeader {
    pub(crate) batch_id: u64,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) times: WorkerTimes,
}

impl ResultsHeader {
    pub(crate) const LEN: usize = 64;

    /// Set in `count` of a batch's last run: the worker is through with it, and its slot is free.
    pub(crate) const LAST: u64 = 1 << 63;

    pub(crate) fn write(&self, to: &mut [u8]) {
        let WorkerTimes { started, fetched, began, compute, commit } = self.times;
        let words = [self.batch_id, self.first, self.count, started, fetched, began, compute, commit];
        for (bytes, word) in to.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }

    pub(crate) fn read(from: &[u8]) -> Option<Self> {
        let mut words = from.get(..Self::LEN)?.chunks_exact(8).map(|b| {
            let mut word = [0; 8];
            word.copy_from_slice(b);
            u64::from_le_bytes(word)
        });
        let mut next = || words.next().unwrap_or(0);
        let (batch_id, first, count) = (next(), next(), next());
        let times = WorkerTimes { started: next(), fetched: next(), began: next(), compute: next(), commit: next() };
        Some(Self { batch_id, first, count, times })
    }
}
