//! Large values, stored once: [`put`] and [`Ref`].

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::attempt::{Decoded, decode_result};
use crate::codec;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::function::{Blob, attached};
use crate::store::{self, StoreError};

/// The folder of values in a store.
pub(crate) const BLOBS: &str = "blobs";

/// A value of type `T` in the store, named by the BLAKE3 of its encoding.
///
/// It is small, and can be an argument, a result or a field of either. [`get`](Self::get) fetches
/// the value; a worker fetches the same value once.
///
/// ```
/// #[wren::remote]
/// fn score(model: wren::Ref<Vec<f64>>, x: f64) -> wren::Result<f64> {
///     Ok(model.get_blocking()?.iter().map(|w| w * x).sum())
/// }
///
/// # wren::block_on(async {
/// # let executor = wren::Executor::builder().store("memory:refs-doc").build()?;
/// let model = wren::put(&vec![0.5, 1.5]).on(&executor).await?;
/// let scores = wren::map(|x| score(model.clone(), x as f64), 0..3).on(&executor).await?;
/// assert_eq!(scores, [0.0, 2.0, 4.0]);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
pub struct Ref<T> {
    hash: [u8; 32],
    len: u64,
    store: String,
    value: PhantomData<fn() -> T>,
}

/// A [`Ref`] as it travels.
#[derive(Serialize, Deserialize)]
struct Wire {
    hash: [u8; 32],
    len: u64,
    store: String,
}

impl<T> Serialize for Ref<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        attach(&self.hash, &self.store);
        Wire { hash: self.hash, len: self.len, store: self.store.clone() }.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Ref<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Wire { hash, len, store } = Wire::deserialize(deserializer)?;
        Ok(Self { hash, len, store, value: PhantomData })
    }
}

/// A worker process does not see the memory of this one: the value itself goes along.
fn attach(hash: &[u8; 32], url: &str) {
    if !url.starts_with("memory:") || attached::is_attached(hash) {
        return;
    }
    let fetch = || {
        let key = key_of(hash);
        let bytes = store::open(url).ok().and_then(|store| store::wait(store.get(&key)).ok())?;
        let blob = Blob::new(bytes);
        blob.hash();
        remember(*hash, &blob);
        Some(blob)
    };
    // A value that is gone is an error where it is asked for.
    if let Some(blob) = known(hash).or_else(fetch) {
        attached::attach(blob);
    }
    let named = named().get(hash).cloned().unwrap_or_default();
    named.iter().for_each(|inner| attach(inner, url));
}

type Hashes = HashMap<[u8; 32], Vec<[u8; 32]>>;

/// Which values a value of a `memory:` store names: they go where it goes.
fn named() -> MutexGuard<'static, Hashes> {
    static NAMED: OnceLock<Mutex<Hashes>> = OnceLock::new();
    NAMED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, len: self.len, store: self.store.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ref({}, {} bytes)", self.key(), self.len)
    }
}

impl<T> PartialEq for Ref<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl<T> Eq for Ref<T> {}

impl<T> Ref<T> {
    /// Length of the encoded value, in bytes.
    pub fn size(&self) -> u64 {
        self.len
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The value's key in its store: `blobs/` and the BLAKE3 of its encoding.
    pub fn key(&self) -> String {
        key_of(&self.hash)
    }
}

/// The bytes of a value, from the store of that URL.
fn fetch(url: &str, hash: [u8; 32]) -> Result<Arc<Blob>> {
    Error::if_forked()?;
    let store = store::open(url)?;
    let key = key_of(&hash);
    let bytes = store::wait(store.get(&key))?;
    if *blake3::hash(&bytes).as_bytes() != hash {
        let reason = "the content is not what its name says".to_owned();
        return Err(StoreError::Damaged { store: url.to_owned(), key, reason }.into());
    }
    let blob = Blob::new(bytes);
    blob.hash();
    remember(hash, &blob);
    Ok(blob)
}

impl<T: DeserializeOwned> Ref<T> {
    /// Fetches the value.
    ///
    /// # Errors
    /// [`Error::Store`] where the store has it no more, or cannot be reached; [`Error::BadValue`]
    /// where it does not decode as a `T`.
    pub async fn get(&self) -> Result<T> {
        Error::if_forked()?;
        if let Some(known) = known(&self.hash) {
            return decode(&known.bytes);
        }
        let (url, hash) = (self.store.clone(), self.hash);
        decode(&store::unblock(move || fetch(&url, hash)).await??.bytes)
    }

    /// Fetches the value, for functions that are not `async`. It can be called anywhere; in async code it
    /// holds up the event loop meanwhile.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_blocking(&self) -> Result<T> {
        let bytes = known(&self.hash).map_or_else(|| fetch(&self.store, self.hash), Ok)?;
        decode(&bytes.bytes)
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    decode_result(bytes, &Decoded { function: "", task: 0, attempt: 1 }).map_err(|error| match error {
        Error::BadResult { reason, .. } => Error::BadValue { reason },
        other => other,
    })
}

pub(crate) fn key_of(hash: &[u8; 32]) -> String {
    format!("{BLOBS}/{}", blake3::Hash::from_bytes(*hash).to_hex())
}

/// The hash that a key of a value is of.
pub(crate) fn hash_of(key: &str) -> Option<[u8; 32]> {
    let hex = key.strip_prefix(BLOBS)?.strip_prefix('/')?;
    blake3::Hash::from_hex(hex).ok().map(|hash| *hash.as_bytes())
}

/// Puts a value into the store. Values that are equal are stored once.
///
/// See [`Ref`] for an example.
pub fn put<T: Serialize + ?Sized>(value: &T) -> Put<T> {
    let bytes = codec::encode(value).map_err(Error::from);
    // What the encoding attached is not an argument, but goes along where this value is one.
    let inner: Vec<[u8; 32]> = attached::take().iter().map(|blob| *blob.hash().as_bytes()).collect();
    if let (Ok(bytes), false) = (&bytes, inner.is_empty()) {
        named().insert(*blake3::hash(bytes).as_bytes(), inner);
    }
    Put { bytes, executor: None, value: PhantomData }
}

/// What [`put`] returns: await it, or say first which executor's store it goes to.
#[must_use = "nothing is stored before this is awaited"]
pub struct Put<T: ?Sized> {
    bytes: Result<Vec<u8>>,
    executor: Option<Executor>,
    value: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> fmt::Debug for Put<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Put")
    }
}

impl<T: ?Sized> Put<T> {
    /// Uses the store of an executor of one's own.
    pub fn on(mut self, executor: &Executor) -> Self {
        self.executor = Some(executor.clone());
        self
    }
}

impl<T: 'static> IntoFuture for Put<T> {
    type Output = Result<Ref<T>>;
    type IntoFuture = store::BoxFuture<'static, Result<Ref<T>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let executor = self.executor.map_or_else(Executor::current, Ok)?;
            let (store, bytes) = (executor.store(), self.bytes?);
            Ok(store::unblock(move || put_bytes(&*store, &bytes)).await??)
        })
    }
}

pub(crate) fn put_bytes<T>(store: &dyn store::Store, bytes: &[u8]) -> store::StoreResult<Ref<T>> {
    let hash = *blake3::hash(bytes).as_bytes();
    store::put_once(store, &key_of(&hash), bytes)?;
    Ok(Ref { hash, len: bytes.len() as u64, store: store.url(), value: PhantomData })
}

/// Blobs that this process fetched or was sent, while there is room.
type Known = Mutex<HashMap<[u8; 32], Arc<Blob>>>;

/// How much is kept, in bytes: where memory is limited, an eighth of it.
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

type Sent = HashMap<[u8; 32], Weak<Blob>>;

/// Blobs that the driver sent to this worker, which holds them as long as they may be asked for: those of a `memory:`
/// store are nowhere else.
fn sent() -> MutexGuard<'static, Sent> {
    static SENT: OnceLock<Mutex<Sent>> = OnceLock::new();
    SENT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note of a blob that the driver sent.
pub(crate) fn receive(hash: [u8; 32], blob: &Arc<Blob>) {
    let mut sent = sent();
    sent.retain(|_, blob| blob.strong_count() > 0);
    sent.insert(hash, Arc::downgrade(blob));
}

/// Keeps a blob for later [`Ref::get`]s.
pub(crate) fn remember(hash: [u8; 32], blob: &Arc<Blob>) {
    let mut known = cache().lock().unwrap_or_else(PoisonError::into_inner);
    if known.values().map(|b| b.bytes.len()).sum::<usize>() + blob.bytes.len() > keep() {
        known.clear();
    }
    known.insert(hash, blob.clone());
}
