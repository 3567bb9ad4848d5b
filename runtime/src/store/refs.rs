//! Large values, stored once: [`put`] and [`Ref`].

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::blobs::{fetch, key_of, known, remember};
use crate::attempt::{Decoded, decode_result};
use crate::error::{Error, Result};
use crate::function::{Blob, attached};
use crate::{codec, store};

/// A value of type `T` in the store, named by the BLAKE3 hash of its encoding.
///
/// A `Ref` is small, and can be an argument, a result or a field of either. [`get`](Self::get) fetches the value. A
/// worker keeps fetched values, so it usually fetches the same value only once.
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

/// The serialized form of a [`Ref`].
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

/// Attaches a value of a `memory:` store to the arguments, because a worker process cannot access the memory of this
/// one.
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
    // If the value is gone, the worker gets an error when it requests the value.
    if let Some(blob) = known(hash).or_else(fetch) {
        attached::attach(blob);
    }
    let named = named().get(hash).cloned().unwrap_or_default();
    named.iter().for_each(|inner| attach(inner, url));
}

type Hashes = HashMap<[u8; 32], Vec<[u8; 32]>>;

/// For each value of a `memory:` store, the values that it refers to, which are sent with it.
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
    /// Returns the length of the encoded value, in bytes.
    pub fn size(&self) -> u64 {
        self.len
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Returns the value's key in its store: `blobs/` and the BLAKE3 hash of its encoding.
    pub fn key(&self) -> String {
        key_of(&self.hash)
    }
}

impl<T: DeserializeOwned> Ref<T> {
    /// Fetches the value.
    ///
    /// # Errors
    /// [`Error::Store`] if the store no longer has the value or cannot be reached; [`Error::BadValue`] if the value
    /// does not decode as a `T`.
    pub async fn get(&self) -> Result<T> {
        Error::if_forked()?;
        if let Some(known) = known(&self.hash) {
            return decode(&known.bytes);
        }
        let (url, hash) = (self.store.clone(), self.hash);
        decode(&store::unblock(move || fetch(&url, hash)).await??.bytes)
    }

    /// Fetches the value, for functions that are not `async`. It can be called anywhere; in async code it blocks the
    /// runtime's thread in the meantime.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
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

pub(crate) fn put_bytes<T>(store: &dyn store::Store, bytes: &[u8]) -> store::StoreResult<Ref<T>> {
    let hash = *blake3::hash(bytes).as_bytes();
    store::put_once(store, &key_of(&hash), bytes)?;
    Ok(Ref { hash, len: bytes.len() as u64, store: store.url(), value: PhantomData })
}

/// Encodes a value for the store, and records the other values that it refers to.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let bytes = codec::encode(value)?;
    // The values that the encoding attached are not arguments now. They are sent when this value is an argument.
    let inner: Vec<[u8; 32]> = attached::take().iter().map(|blob| *blob.hash().as_bytes()).collect();
    if !inner.is_empty() {
        named().insert(*blake3::hash(&bytes).as_bytes(), inner);
    }
    Ok(bytes)
}
