//! Low-latency shared key-value storage: small values that many functions read and change at the same time.
//!
//! [`crate::kv()`] opens the configured storage and returns a [`Kv`]. [`Params`] is a vector of numbers on top of it,
//! for parameter servers.
//!
//! | URL | storage |
//! | --- | --- |
//! | `embedded:<folder>` | LMDB in a folder, shared by the processes of one machine |
//! | `redis://host:port/db` | a Redis server, shared by everything that reaches it |
//!
//! The storage maps keys to bytes. [`Kv::get`] and [`Kv::set`] decode and encode values of any serde type. Counters and
//! vectors of numbers have their own formats, so that the storage itself can change them: a counter is stored as its
//! decimal digits, as in Redis, and a vector as its numbers in little-endian order, one after the other.
//!
//! Every operation blocks the calling thread, because remote functions are ordinary code. In an `async` driver, a call
//! takes microseconds (embedded) or a network round trip (Redis).

#[cfg(feature = "kv")]
mod embedded;

mod handle;
mod numbers;
mod params;
#[cfg(feature = "redis")]
mod redis;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};

pub use crate::error::{KvError, KvResult};
#[cfg(feature = "kv")]
pub use embedded::Embedded;
pub use handle::{Kv, kv};
pub use numbers::{Number, Numbers};
pub use params::Params;
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisStore};

/// Maximum length of a key, in bytes.
pub const MAX_KEY: usize = 500;

/// Key-value storage: the interface of an implementation. Programs use [`Kv`], which is typed.
///
/// An operation on one key is atomic, and every operation that starts after it returned sees its effect. An operation
/// on many keys consists of single-key operations that are sent together: each of them is atomic, but the whole is not.
/// Keys are 1 to [`MAX_KEY`] bytes long and contain no zero byte. [`conformance::kv`](crate::conformance::kv) checks
/// that an implementation keeps the promises of this trait.
pub trait KeyValue: Send + Sync + fmt::Debug {
    /// Returns the URL that opens the same storage again. It may be printed: a password is left out.
    fn url(&self) -> String;

    /// Returns whether [`url`](Self::url) is the complete URL, with no password left out, so that it can be sent to
    /// workers.
    fn url_is_complete(&self) -> bool {
        true
    }

    /// Returns whether another machine that opens the URL sees the same values.
    fn is_remote(&self) -> bool;

    /// Returns an id of the running server process, if values may be lost when that process ends; `None` otherwise.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn server_id(&self) -> KvResult<Option<String>> {
        Ok(None)
    }

    /// Binds this handle to the server process with this id: once another process has taken its place, operations fail
    /// with [`KvError::Restarted`].
    fn bind_to_server(&self, _server_id: &str) {}

    /// Returns the value of a key.
    ///
    /// # Errors
    /// [`KvError::Unreachable`], [`KvError::Restarted`] and [`KvError::Failed`], as all operations;
    /// [`KvError::BadKey`].
    fn get(&self, key: &str) -> KvResult<Option<Vec<u8>>>;

    /// Returns the bytes `range` of a value, without the part of the range beyond its end.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_range(&self, key: &str, range: Range<u64>) -> KvResult<Option<Vec<u8>>> {
        Ok(self.get_ranges(&[(key, range)])?.pop().flatten())
    }

    /// Returns the values of many keys, in the order of the keys.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_many(&self, keys: &[&str]) -> KvResult<Vec<Option<Vec<u8>>>>;

    /// Returns ranges of many values, in the order of `ranges`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_ranges(&self, ranges: &[(&str, Range<u64>)]) -> KvResult<Vec<Option<Vec<u8>>>>;

    /// Stores a value, replacing any existing one.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`KvError::TooLarge`].
    fn set(&self, key: &str, value: &[u8]) -> KvResult<()> {
        self.set_many(&[(key, value)])
    }

    /// Stores many values. After an error, some of them may be stored.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    fn set_many(&self, values: &[(&str, &[u8])]) -> KvResult<()>;

    /// Stores a value if the key has none, and returns whether it did. Of any number of racing calls, exactly one
    /// stores its value.
    ///
    /// # Errors
    /// As [`set`](Self::set), and [`KvError::Uncertain`].
    fn set_if_absent(&self, key: &str, value: &[u8]) -> KvResult<bool>;

    /// Replaces the value with `new` if it equals `expected`, and returns whether it did. `None` means no value.
    ///
    /// # Errors
    /// As [`set`](Self::set), and [`KvError::Uncertain`].
    fn compare_and_set(&self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> KvResult<bool>;

    /// Removes a key. Removing a missing key is not an error.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn delete(&self, key: &str) -> KvResult<()>;

    /// Adds to a counter and returns the sum. A missing counter counts as 0.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`KvError::Uncertain`]; [`KvError::NoCounter`] if the value is not a decimal number or
    /// the sum does not fit into an `i64`.
    fn increment(&self, key: &str, by: i64) -> KvResult<i64>;

    /// Adds numbers to those in values. After an error, some additions may have been made, each of them completely.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`KvError::Uncertain`]; [`KvError::OutOfRange`] if a value is missing or ends before the
    /// place: that addition is not made.
    fn add(&self, additions: &[Addition<'_>]) -> KvResult<()>;

    /// Returns all keys that start with `prefix`, in byte order.
    ///
    /// # Errors
    /// As [`get`](Self::get), except that any prefix is valid.
    fn keys(&self, prefix: &str) -> KvResult<Vec<String>>;
}

/// Numbers to add to those in one value, as one atomic step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Addition<'a> {
    /// Key of the value.
    pub key: &'a str,
    /// The numbers of the value to add to.
    pub place: Place<'a>,
    /// The number to add to each of them.
    pub delta: Numbers<'a>,
}

/// Positions of numbers in a value, counted in numbers from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// Consecutive positions from this one on, as many as there are deltas.
    From(u64),
    /// These positions, one for each delta. A position that occurs twice is added to twice.
    At(&'a [u32]),
}

#[cfg(any(feature = "kv", feature = "redis"))]
impl Addition<'_> {
    /// Returns the length of the shortest value that contains the place, in bytes.
    ///
    /// # Errors
    /// [`KvError::OutOfRange`] if the number of indices differs from the number of deltas.
    fn needs(&self) -> KvResult<u64> {
        let (count, size) = (self.delta.len() as u64, self.delta.size() as u64);
        let numbers = match self.place {
            Place::From(start) => start.saturating_add(count),
            Place::At(indices) if indices.len() as u64 != count => {
                let reason = format!("got {} indices for {count} numbers", indices.len());
                return Err(KvError::OutOfRange { key: self.key.to_owned(), reason });
            }
            Place::At(indices) => indices.iter().max().map_or(0, |&last| u64::from(last) + 1),
        };
        Ok(numbers.saturating_mul(size))
    }

    /// Returns the error for a value that does not contain the place; `len` is its length in bytes.
    fn out_of_range(&self, len: Option<u64>) -> KvError {
        let reason = match len {
            None => "the key has no value".to_owned(),
            Some(len) => {
                format!("the value ends at byte {len}, but the numbers end at byte {}", self.needs().unwrap_or(0))
            }
        };
        KvError::OutOfRange { key: self.key.to_owned(), reason }
    }
}

/// A URL scheme of key-value storage. Other crates add theirs with `inventory::submit!`.
pub struct KvScheme {
    /// Name of the scheme, without the colon: `redis`.
    pub scheme: &'static str,
    /// Opens the storage. `rest` is the part of the URL after the colon.
    pub open: fn(rest: &str) -> Result<Arc<dyn KeyValue>>,
}

impl fmt::Debug for KvScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KvScheme({}:)", self.scheme)
    }
}

inventory::collect!(KvScheme);

#[cfg(not(feature = "kv"))]
inventory::submit! {
    KvScheme { scheme: "embedded", open: |_| Err(Error::left_out("the key-value storage `embedded:`", "kv")) }
}

#[cfg(not(feature = "redis"))]
inventory::submit! {
    KvScheme { scheme: "redis", open: |_| Err(Error::left_out("the key-value storage `redis:`", "redis")) }
}

/// Opens the storage of a URL.
///
/// # Errors
/// [`Error::Config`] for a scheme that no linked crate provides; the message lists the known schemes. It does not
/// contain the URL, which may contain a password.
pub(crate) fn open(url: &str) -> Result<Arc<dyn KeyValue>> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let known = || inventory::iter::<KvScheme>.into_iter();
    if let Some(found) = known().find(|known| known.scheme == scheme) {
        return (found.open)(rest);
    }
    let mut names: Vec<_> = known().map(|known| format!("{}:", known.scheme)).collect();
    names.sort_unstable();
    Err(Error::Config(format!("unknown key-value storage `{scheme}:`; expected one of {}", names.join(", "))))
}

/// Refuses keys that are invalid for every storage.
///
/// # Errors
/// [`KvError::BadKey`].
pub fn check_key(key: &str) -> KvResult<()> {
    let reason = if key.is_empty() {
        "it is empty"
    } else if key.len() > MAX_KEY {
        "it is longer than 500 bytes"
    } else if key.as_bytes().contains(&0) {
        "it contains a zero byte"
    } else {
        return Ok(());
    };
    Err(KvError::BadKey { key: key.to_owned(), reason: reason.to_owned() })
}

/// Maximum length of a value, in bytes: the limit of Redis.
#[cfg(any(feature = "kv", feature = "redis"))]
const MAX_VALUE: usize = 512 << 20;

/// Refuses values that are too large for every storage.
#[cfg(any(feature = "kv", feature = "redis"))]
fn check_value(key: &str, value: &[u8]) -> KvResult<()> {
    match value.len() {
        0..=MAX_VALUE => Ok(()),
        len => Err(KvError::TooLarge { key: key.to_owned(), len: len as u64 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_lists_known_ones() {
        let message = open("etcd://me:secret@host").err().unwrap().to_string();
        assert_eq!(message, "unknown key-value storage `etcd:`; expected one of embedded:, redis:");
    }

    #[cfg(not(feature = "redis"))]
    #[test]
    fn missing_features_say_how_to_add_them() {
        let message = open("redis://host").err().unwrap().to_string();
        assert!(message.contains("cargo add wren-cloud --features redis"), "{message}");
        assert!(crate::store::open("redis://host").is_err());
    }

    #[test]
    fn keys_have_limits() {
        for key in ["", "a\0b", &"k".repeat(501)] {
            assert!(matches!(check_key(key), Err(KvError::BadKey { .. })), "{key:?}");
        }
        for key in [" ", "/a/", ".", "ключ", &"k".repeat(500)] {
            assert_eq!(check_key(key), Ok(()));
        }
    }
}
