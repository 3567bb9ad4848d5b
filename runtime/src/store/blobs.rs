//! Content-addressed values: their keys, and a cache of the values that this process has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::StoreError;
use crate::error::{Error, Result};
use crate::function::Blob;

/// The folder of values in a store.
pub(crate) const BLOBS: &str = "blobs";

pub(crate) fn key_of(hash: &[u8; 32]) -> String {
    format!("{BLOBS}/{}", blake3::Hash::from_bytes(*hash).to_hex())
}

/// Returns the hash that the key of a value contains.
pub(crate) fn hash_of(key: &str) -> Option<[u8; 32]> {
    let hex = key.strip_prefix(BLOBS)?.strip_prefix('/')?;
    blake3::Hash::from_hex(hex).ok().map(|hash| *hash.as_bytes())
}

/// Fetches a value from the store of the URL.
pub(super) fn fetch(url: &str, hash: [u8; 32]) -> Result<Arc<Blob>> {
    Error::if_forked()?;
    let store = super::open(url)?;
    let key = key_of(&hash);
    let bytes = super::wait(store.get(&key))?;
    if *blake3::hash(&bytes).as_bytes() != hash {
        let reason = "the content does not match the hash in its key".to_owned();
        return Err(StoreError::Damaged { store: url.to_owned(), key, reason }.into());
    }
    let blob = Blob::new(bytes);
    blob.hash();
    remember(hash, &blob);
    Ok(blob)
}

/// Blobs that this process fetched or received, up to the limit of [`keep`].
type Known = Mutex<HashMap<[u8; 32], Arc<Blob>>>;

/// Returns the limit of the cache, in bytes: an eighth of the memory in AWS Lambda, 256 MB elsewhere.
fn keep() -> usize {
    static KEEP: OnceLock<usize> = OnceLock::new();
    *KEEP.get_or_init(|| {
        let limit_mb = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok().and_then(|mb| mb.parse::<usize>().ok());
        limit_mb.map_or(256 << 20, |mb| (mb << 20) / 8)
    })
}

fn cache() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default)
}

pub(crate) fn known(hash: &[u8; 32]) -> Option<Arc<Blob>> {
    let kept = cache().lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned();
    kept.or_else(|| sent().get(hash)?.upgrade())
}

type ReceivedBlobs = HashMap<[u8; 32], Weak<Blob>>;

/// Blobs that the driver sent to this worker. The worker holds them as long as they may be requested, because blobs of
/// a `memory:` store are nowhere else.
fn sent() -> MutexGuard<'static, ReceivedBlobs> {
    static SENT: OnceLock<Mutex<ReceivedBlobs>> = OnceLock::new();
    SENT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records a blob that the driver sent.
pub(crate) fn receive(hash: [u8; 32], blob: &Arc<Blob>) {
    let mut sent = sent();
    sent.retain(|_, blob| blob.strong_count() > 0);
    sent.insert(hash, Arc::downgrade(blob));
}

/// Keeps a blob for later calls of `Ref::get`.
pub(crate) fn remember(hash: [u8; 32], blob: &Arc<Blob>) {
    let mut known = cache().lock().unwrap_or_else(PoisonError::into_inner);
    if known.values().map(|b| b.bytes.len()).sum::<usize>() + blob.bytes.len() > keep() {
        known.clear();
    }
    known.insert(hash, blob.clone());
}
