//! The messages to one worker: batches, and the large values that they refer to. They are written to the worker's ring
//! as far as there is room.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use crate::attempt::{Batch, TaskBlock};
use crate::backend::local::shm::{BatchHeader, BlobHeader, MAX_BODY, Region, Writer, kind, length_body};
use crate::codec;
use crate::function::Blob;
use crate::history::spans;
use crate::logging::Levels;
use crate::platform::{self, SharedBytes, SleepFlag};

/// The messages to one worker.
pub(super) struct Outbox {
    writer: Writer,
    waiting: VecDeque<Outgoing>,
    /// Blobs that the worker has.
    blobs: HashMap<u64, Weak<Blob>>,
}

/// Number and size of large arguments that were sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SentLarge {
    pub(super) values: u32,
    pub(super) bytes: u64,
}

/// A message that waits for room in the ring.
enum Outgoing {
    Frame(u32, Vec<u8>),
    /// A large value, and the number of its bytes that have been sent.
    Blob(Arc<Blob>, usize),
    /// A large value that the worker maps, and whether its descriptor has been sent.
    Shared(Arc<Blob>, bool),
    /// Arguments of tasks, and the number of their bytes that have been sent.
    Args(Arc<TaskBlock>, Range<u64>, usize),
}

impl Outbox {
    pub(super) fn new(region: &Region) -> Self {
        Self { writer: Writer::new(region, true), waiting: VecDeque::new(), blobs: HashMap::new() }
    }

    /// Sends a batch, and the blobs that it refers to if the worker does not have them. Returns these blobs.
    pub(super) fn send(&mut self, batch: &Batch, slot: usize) -> SentLarge {
        self.forget_dropped_blobs();
        let sent = self.send_blobs(batch);
        self.send_args(batch, slot);
        sent
    }

    fn send_blobs(&mut self, batch: &Batch) -> SentLarge {
        let mut sent = SentLarge::default();
        for (_, blobs) in batch.block.blobs(batch.tasks.clone()) {
            for blob in blobs {
                if self.blobs.insert(blob.id, Arc::downgrade(blob)).is_none() {
                    sent.values += 1;
                    sent.bytes += blob.bytes.len() as u64;
                    self.waiting.push_back(match blob.shared() {
                        Some(_) => Outgoing::Shared(blob.clone(), false),
                        None => Outgoing::Blob(blob.clone(), 0),
                    });
                }
            }
        }
        sent
    }

    fn forget_dropped_blobs(&mut self) {
        let waiting = &mut self.waiting;
        self.blobs.retain(|id, blob| {
            let alive = blob.strong_count() > 0;
            if !alive {
                waiting.push_back(Outgoing::Frame(kind::FORGET, encoded(id)));
            }
            alive
        });
    }

    fn send_args(&mut self, batch: &Batch, slot: usize) {
        let Batch { id: batch_id, tasks, attempt, block, .. } = batch;
        let function = block.function();
        let ids = |blobs: &[Arc<Blob>]| blobs.iter().map(|b| b.id).collect();
        let blobs = block.blobs(tasks.clone());
        let header = encoded(&BatchHeader {
            batch_id: *batch_id,
            slot: slot as u32,
            first: tasks.start,
            count: (tasks.end - tasks.start) as u32,
            attempt: *attempt,
            function: function.id(),
            signature_hash: function.signature_hash(),
            memory_is_limited: block.limits().memory_mb.is_some(),
            traceparent: block.traceparent(),
            levels: Levels::for_workers(spans::are_exported()),
            blobs: blobs.map(|(task, blobs)| ((task - tasks.start) as u32, ids(blobs))).collect(),
        });
        let len = (header.len() as u32).to_le_bytes();
        let args = block.args(tasks.clone());
        let parts: [&[u8]; 3] = [&len, &header, args];
        let total = parts.iter().map(|p| p.len()).sum::<usize>();
        if total > MAX_BODY {
            self.waiting.push_back(Outgoing::Args(block.clone(), tasks.clone(), 0));
            self.waiting.push_back(Outgoing::Frame(kind::BATCH, [&len[..], &header].concat()));
        } else if !self.waiting.is_empty() || !self.writer.send(kind::BATCH, &parts) {
            self.waiting.push_back(Outgoing::Frame(kind::BATCH, parts.concat()));
        }
    }

    /// Writes waiting messages to the ring, as far as there is room.
    pub(super) fn write(&mut self, socket: &OwnedFd, wants_room: &SleepFlag<'_>) {
        while let Some(front) = self.waiting.front_mut() {
            if front.write(&mut self.writer, socket) {
                self.waiting.pop_front();
            } else if !wants_room.announce() {
                // The need for room was announced before, so the worker notifies this process when it has read more.
                break;
            }
        }
        if self.waiting.is_empty() {
            wants_room.withdraw();
        }
    }

    /// Returns the length of the values that the worker has mapped, in bytes.
    pub(super) fn mapped(&self) -> u64 {
        self.blobs
            .values()
            .filter_map(Weak::upgrade)
            .filter(|blob| blob.is_shared())
            .map(|blob| blob.bytes.len() as u64)
            .sum::<u64>()
    }
}

impl Outgoing {
    /// Writes as much as there is room for. Returns whether everything was written.
    fn write(&mut self, writer: &mut Writer, socket: &OwnedFd) -> bool {
        match self {
            Outgoing::Frame(kind, body) => writer.send(*kind, &[body]),
            Outgoing::Args(block, tasks, sent) => Self::write_parts(block.args(tasks.clone()), sent, writer),
            Outgoing::Blob(blob, sent) => {
                let header = BlobHeader { id: blob.id, hash: blob.known_hash(), mapped: None };
                Self::write_parts(&blob.bytes, sent, writer) && writer.send(kind::BLOB, &[&encoded(&header)])
            }
            Outgoing::Shared(blob, true) => {
                let header = BlobHeader { id: blob.id, hash: None, mapped: Some(blob.bytes.len()) };
                writer.send(kind::BLOB, &[&encoded(&header)])
            }
            Outgoing::Shared(blob, is_sent) => {
                match blob.shared().and_then(SharedBytes::fd).map(|fd| platform::try_send(socket, &[1], &[fd])) {
                    Some(Ok(())) => *is_sent = true,
                    Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    // A `Ref` may refer to the value by now, or too many descriptors are in transit, or the worker is
                    // gone, which the supervisor reports. The value is sent instead.
                    Some(Err(_)) | None => *self = Outgoing::Blob(blob.clone(), 0),
                }
                self.write(writer, socket)
            }
        }
    }

    /// Writes a long message as parts. Returns whether everything was written.
    fn write_parts(bytes: &[u8], sent: &mut usize, writer: &mut Writer) -> bool {
        if *sent == 0 && !writer.send(kind::LENGTH, &[&length_body(bytes.len(), 1)]) {
            return false;
        }
        while *sent < bytes.len() {
            let part = &bytes[*sent..bytes.len().min(*sent + MAX_BODY)];
            if !writer.send(kind::PART, &[part]) {
                return false;
            }
            *sent += part.len();
        }
        true
    }
}

fn encoded<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Headers are plain structs, which can always be encoded. A worker rejects an empty frame.
    codec::encode(value).unwrap_or_default()
}
