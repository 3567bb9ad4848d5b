//! Large encoded values, which are sent only once even if many calls refer to them.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::immutable::{Decoded, Lent};
use crate::error::Failure;
use crate::platform::SharedBytes;

/// Minimum size in bytes of a value that is kept in memory that worker processes can map. Sending a smaller value is as
/// fast.
const SHARE_FROM: usize = 1 << 20;

/// Maximum number of values in such memory at once: each takes a file descriptor.
pub(crate) const MOST_SHARED: usize = 64;

/// Maximum number of buffers of dropped values that are kept, of each kind.
const SPARES: usize = 8;
/// Maximum size in bytes of an unshared buffer that is kept.
const LARGEST_SPARE: usize = 16 << 20;
/// Maximum total size in bytes of the shared buffers that are kept.
const SPARE_SHARED: usize = 128 << 20;

/// Number of recent blobs that each thread remembers. A thousand calls that capture one model encode it a thousand
/// times; comparing with recent encodings shows that it is one value. Comparing costs less than hashing, and ends at
/// the first byte where values differ.
const RECENT: usize = 4;

thread_local! {
    static RECENT_BLOBS: RefCell<[Weak<Blob>; RECENT]> = const { RefCell::new([const { Weak::new() }; RECENT]) };
}

/// Whether there are worker processes on this machine that can map memory of this process.
static HAS_WORKERS: AtomicBool = AtomicBool::new(false);

/// Number of values in memory that worker processes can map.
static SHARED: AtomicUsize = AtomicUsize::new(0);

/// Records that there are worker processes that can map memory of this process.
pub(crate) fn share_with_workers() {
    HAS_WORKERS.store(true, Ordering::Relaxed);
}

/// A large encoded value, of which this process has one copy.
#[derive(Debug)]
pub(crate) struct Blob {
    /// Unique in this process.
    pub(crate) id: u64,
    pub(crate) bytes: BlobBytes,
    hash: OnceLock<blake3::Hash>,
    decoded: Decoded,
}

/// The memory that contains a value.
#[derive(Debug)]
pub(crate) enum BlobBytes {
    Own(Vec<u8>),
    /// Memory that other processes can map, or that this process has mapped.
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

    /// Creates a blob with the id that another process gave it.
    pub(crate) fn received(id: u64, bytes: BlobBytes) -> Arc<Self> {
        Arc::new(Self { id, bytes, hash: OnceLock::new(), decoded: Decoded::default() })
    }

    /// Returns a blob that contains `start` followed by `bytes`: a recent blob of this thread if one is equal.
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
        // A thread that is about to end does not remember any.
        of_recent.unwrap_or_else(|_| Self::with(copied(bytes, start)))
    }

    /// Returns the hash of the content if it has been computed.
    pub(crate) fn known_hash(&self) -> Option<[u8; 32]> {
        self.hash.get().map(|hash| *hash.as_bytes())
    }

    /// Returns the hash of the content, by which it is addressed.
    pub(crate) fn hash(&self) -> blake3::Hash {
        *self.hash.get_or_init(|| blake3::hash(&self.bytes))
    }

    /// Returns the value as decoded by `decode`, which is called only once for each blob of this process.
    pub(crate) fn decoded_once<T: ?Sized + Send + Sync + 'static>(
        &self,
        decode: impl FnOnce() -> Result<Box<T>, Failure>,
    ) -> Result<Lent<T>, Failure> {
        self.decoded.get(decode)
    }

    /// Whether the value is in memory that other processes can map.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.bytes, BlobBytes::Shared(_))
    }

    /// Returns the memory that a worker can map. A value that a `Ref` may refer to is excluded: workers keep it longer
    /// than its calls, but the memory will contain another value later.
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

/// Buffers of dropped blobs, which new blobs reuse: fresh pages cost more than the copy into them.
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

/// Returns memory for a value that workers map, or `None` if it is better to send the value.
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
            // No call uses the memory any more: a batch holds the blobs of its calls.
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
