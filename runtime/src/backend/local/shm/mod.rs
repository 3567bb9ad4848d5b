//! The channel between the driver and one local worker process: shared memory with a ring of frames in each direction,
//! and flags by which each side knows that it must wake the other.
//!
//! Shared memory has two advantages over a socket. A result is safe from the moment it is written, because it outlives
//! its worker. And while both sides are awake, sending a frame takes no system call, so a warm call takes less time than
//! a round trip over a socket.

mod panic_record;
mod region;
mod ring;

pub(crate) use region::{Region, SLOTS};
pub(crate) use ring::{Reader, Writer};

/// The largest frame body. Longer messages travel as [`kind::PART`]s.
pub(crate) const MAX_BODY: usize = 256 << 10;

/// Kinds of frames.
pub(crate) mod kind {
    /// Driver to worker: the length of a [`BatchHeader`](super::BatchHeader) as `u32`, the header, and the encoded
    /// arguments, unless they were sent before as parts.
    pub(crate) const BATCH: u32 = 1;
    /// Both directions: bytes that belong to the next frame that is not a part.
    pub(crate) const PART: u32 = 2;
    /// Both directions: the total length and the alignment of the parts that follow, so that the reader allocates
    /// memory only once. See [`length_body`](super::length_body).
    pub(crate) const LENGTH: u32 = 7;
    /// Driver to worker: a [`BlobHeader`](super::BlobHeader). The blob was sent before, as parts or as memory to map.
    pub(crate) const BLOB: u32 = 3;
    /// Driver to worker: the id of a blob that no later batch refers to.
    pub(crate) const FORGET: u32 = 4;
    /// Worker to driver: a [`ResultsHeader`](super::ResultsHeader) and results; or the length and the start of one
    /// result, whose rest was sent before as parts.
    pub(crate) const RESULTS: u32 = 5;
    /// Worker to driver: a [`FailedTask`](super::FailedTask).
    pub(crate) const FAILED: u32 = 6;
}

/// Returns the body of a [`kind::LENGTH`] frame: the number of bytes that follow, and their alignment.
pub(crate) fn length_body(len: usize, align: usize) -> [u8; 16] {
    let mut body = [0; 16];
    body[..8].copy_from_slice(&(len as u64).to_le_bytes());
    body[8..].copy_from_slice(&(align as u64).to_le_bytes());
    body
}

/// Reads a body of [`length_body`]; a number that is missing is 0.
pub(crate) fn length(body: &[u8]) -> (usize, usize) {
    let number = |at: usize| {
        let bytes = body.get(at..).and_then(|rest| rest.first_chunk());
        bytes.and_then(|bytes| usize::try_from(u64::from_le_bytes(*bytes)).ok()).unwrap_or(0)
    };
    (number(0), number(8))
}

use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::logging::Levels;

/// A batch without its arguments.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BatchHeader<'a> {
    pub(crate) batch_id: u64,
    /// The cursor of this batch.
    pub(crate) slot: u32,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) attempt: u32,
    pub(crate) function: &'a str,
    pub(crate) signature_hash: u64,
    /// Whether the memory of its tasks is limited.
    pub(crate) memory_is_limited: bool,
    /// The span that the tasks belong to, if spans are exported.
    pub(crate) traceparent: Option<&'a str>,
    /// The records that the driver's logger may want.
    pub(crate) levels: Levels,
    /// The blobs that the tasks refer to: (task relative to `first`, blob ids).
    pub(crate) blobs: Vec<(u32, Vec<u64>)>,
}

/// Identifies a blob whose bytes were sent before.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BlobHeader {
    pub(crate) id: u64,
    /// The BLAKE3 hash of a blob that a `Ref` may refer to.
    pub(crate) hash: Option<[u8; 32]>,
    /// The length, if the bytes were not sent as parts, but as a descriptor to map, over the socket.
    pub(crate) mapped: Option<usize>,
}

/// The times of reported tasks, in nanoseconds. The first three are on the clock of
/// [`monotonic`](crate::platform::monotonic).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerTimes {
    /// When the worker saw the first frame of the batch.
    pub(crate) started: u64,
    /// When the worker had the whole batch.
    pub(crate) fetched: u64,
    /// When the first of the reported tasks started.
    pub(crate) began: u64,
    /// How long the reported tasks decoded their arguments.
    pub(crate) decode: u64,
    /// How long their functions ran.
    pub(crate) compute: u64,
    /// How long they encoded their results.
    pub(crate) encode: u64,
    /// How long the worker then needed to write their results.
    pub(crate) commit: u64,
}

impl WorkerTimes {
    /// Returns when the results of the reported tasks were written.
    pub(crate) fn ended(&self) -> u64 {
        [self.decode, self.compute, self.encode, self.commit].into_iter().fold(self.began, u64::saturating_add)
    }
}

/// Reports one failed task.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FailedTask {
    pub(crate) batch_id: u64,
    pub(crate) task: u64,
    pub(crate) failure: Failure,
    pub(crate) times: WorkerTimes,
}

/// Reports a run of consecutive tasks that succeeded. Their results follow, each preceded by its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResultsHeader {
    pub(crate) batch_id: u64,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) times: WorkerTimes,
}

impl ResultsHeader {
    pub(crate) const LEN: usize = 80;

    /// Set in `count` of the last run of a batch: the worker has finished the batch, and its slot is free.
    pub(crate) const LAST: u64 = 1 << 63;

    pub(crate) fn write(&self, to: &mut [u8]) {
        let WorkerTimes { started, fetched, began, decode, compute, encode, commit } = self.times;
        let times = [started, fetched, began, decode, compute, encode, commit];
        let words = [self.batch_id, self.first, self.count].into_iter().chain(times);
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
        let times = WorkerTimes {
            started: next(),
            fetched: next(),
            began: next(),
            decode: next(),
            compute: next(),
            encode: next(),
            commit: next(),
        };
        Some(Self { batch_id, first, count, times })
    }
}
