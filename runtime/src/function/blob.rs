//! Large encoded values, which travel once however many calls name them.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::platform::SharedBytes;

/// From how many bytes on a value lies in memory that worker processes can map: less is as fast to send.
const SHARE_FROM: usize = 1 << 20;

/// How many values lie in such memory at once: each takes a descriptor.
pub(crate) const MOST_SHARED: usize = 64;

/// How many buffers of values that are gone are kept, and how many bytes of either kind.
const SPARES: usize = 8;
const LARGEST_SPARE: usize = 16 << 20;
const SPARE_SHARED: usize = 128 << 20;

/// The last few blobs of this thread. A thousand calls that capture one model encode it a thousand
/// times; comparing with the last encoding finds that it is one value. Comparing costs less than
/// hashing, and ends at the first byte where values differ.
const RECENT: usize = 4;

thread_local! {
    static RECENT_BLOBS: RefCell<[Weak<Blob>; RECENT]> = const { RefCell::new([const { Weak::new() }; RECENT]) };
}

/// Whether there are worker processes here that can map memory of this one.
static HAS_WORKERS: AtomicBool = AtomicBool::new(false);

/// How many values lie in memory that can be mapped.
static SHARED: AtomicUsize = AtomicUsize::new(0);

/// From now on, there are worker processes that can map memory of this one.
pub(crate) fn share_with_workers() {
    HAS_WORKERS.store(true, Ordering::Relaxed);
}

/// A large encoded value, held once in this process.
#[derive(Debug)]
pub(crate) struct Blob {
    /// Unique in this process.
    pub(crate) id: u64,
    pub(crate) bytes: BlobBytes,
    hash: OnceLock<blake3::Hash>,
}

/// Where a value lies.
#[derive(Debug)]
pub(crate) enum BlobBytes {
    Own(Vec<u8>),
    /// In memory that other processes can map, or that this one mapped.
    Shared(SharedBytes),
}

impl Deref for BlobBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Blob {
    pub(crate) fn new(bytes: Vec<u8>) -> Arc<Self> {
        Self::with(BlobBytes::Own(bytes))
    }

    fn with(bytes: BlobBytes) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::received(id, bytes)
    }

    /// A blob as another process named it.
    pub(crate) fn received(id: u64, bytes: BlobBytes) -> Arc<Self> {
        Arc::new(Self { id, bytes, hash: OnceLock::new() })
    }

    /// The blob of `start` and `bytes`, one after the other: a recent one of this thread where it is equal.
    pub(crate) fn of(bytes: &[u8], start: &[u8]) -> Arc<Self> {
        let of_recent = RECENT_BLOBS.try_with(|recent| {
            let mut recent = recent.borrow_mut();
            let same = |b: &Arc<Self>| {
                b.bytes.len() == start.len() + bytes.len()
                    && b.bytes.starts_with(start)
                    && b.bytes[start.len()..] == *bytes
            };
            if let Some(found) = recent.iter().filter_map(Weak::upgrade).find(same) {
                return found;
            }
            let blob = Self::with(copied(bytes, start));
            recent.rotate_right(1);
            recent[0] = Arc::downgrade(&blob);
            blob
        });
        // A thread that is about to end remembers none.
        of_recent.unwrap_or_else(|_| Self::with(copied(bytes, start)))
    }

    /// The content's address, if anybody has asked for it.
    pub(crate) fn known_hash(&self) -> Option<[u8; 32]> {
        self.hash.get().map(|hash| *hash.as_bytes())
    }

    /// The content's address.
    pub(crate) fn hash(&self) -> blake3::Hash {
        *self.hash.get_or_init(|| blake3::hash(&self.bytes))
    }

    /// Whether it lies in memory that other processes can map.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.bytes, BlobBytes::Shared(_))
    }

    /// The memory that a worker can map. One that a `Ref` may name is kept by workers beyond its calls, and so is not
    /// sent as memory that will hold another value.
    pub(crate) fn shared(&self) -> Option<&SharedBytes> {
        match &self.bytes {
            BlobBytes::Shared(bytes) if self.hash.get().is_none() => Some(bytes),
            _ => None,
        }
    }
}

fn copied(bytes: &[u8], start: &[u8]) -> BlobBytes {
    let len = start.len() + bytes.len();
    if let Some(mut shared) = spare_shared(len) {
        let (head, tail) = shared.as_mut().split_at_mut(start.len());
        head.copy_from_slice(start);
        tail.copy_from_slice(bytes);
        return BlobBytes::Shared(shared);
    }
    let mut whole = spare_buffer(len);
    whole.extend_from_slice(start);
    whole.extend_from_slice(bytes);
    BlobBytes::Own(whole)
}

/// Buffers of blobs that are gone, for those to come: fresh pages cost more than the copy into them.
static SPARE: Mutex<Spare> = Mutex::new(Spare { own: Vec::new(), shared: Vec::new() });

struct Spare {
    own: Vec<Vec<u8>>,
    shared: Vec<SharedBytes>,
}

pub(crate) fn spare_buffer(len: usize) -> Vec<u8> {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    match spare.own.iter().position(|buffer| buffer.capacity() >= len) {
        Some(index) => spare.own.swap_remove(index),
        None => Vec::with_capacity(len),
    }
}

/// Memory for a value that workers map, or none where it is better sent.
fn spare_shared(len: usize) -> Option<SharedBytes> {
    if len < SHARE_FROM || !HAS_WORKERS.load(Ordering::Relaxed) || SHARED.load(Ordering::Relaxed) >= MOST_SHARED {
        return None;
    }
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |shared: &SharedBytes| (len..=len.saturating_mul(4)).contains(&shared.capacity());
    let found = spare.shared.iter().position(fits).map(|index| spare.shared.swap_remove(index));
    drop(spare);
    let shared = match found {
        Some(mut shared) => {
            shared.set_len(len);
            shared
        }
        None => SharedBytes::new(len).ok()?,
    };
    SHARED.fetch_add(1, Ordering::Relaxed);
    Some(shared)
}

impl Drop for Blob {
    fn drop(&mut self) {
        let lock = || SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut self.bytes, BlobBytes::Own(Vec::new())) {
            BlobBytes::Own(mut buffer) if buffer.capacity() <= LARGEST_SPARE => {
                let mut spare = lock();
                if spare.own.len() < SPARES {
                    buffer.clear();
                    spare.own.push(buffer);
                }
            }
            BlobBytes::Own(_) => {}
            // No call has it any more: the batches of those that do hold the blob.
            BlobBytes::Shared(shared) if shared.is_writable() => {
                SHARED.fetch_sub(1, Ordering::Relaxed);
                let mut spare = lock();
                let held: usize = spare.shared.iter().map(SharedBytes::capacity).sum();
                if spare.shared.len() < SPARES && held.saturating_add(shared.capacity()) <= SPARE_SHARED {
                    spare.shared.push(shared);
                }
            }
            BlobBytes::Shared(_) => {}
        }
    }
}
