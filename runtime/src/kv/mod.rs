//! Low-latency shared key-value storage: small values that many functions read and change at once.
//!
//! [`crate::kv()`] opens the configured one and gives a [`Kv`]; [`Params`] is a vector of numbers on
//! top of it, for parameter servers.
//!
//! | URL | what it is |
//! | --- | --- |
//! | `embedded:<folder>` | LMDB in a folder, shared by the processes of one machine |
//! | `redis://host:port/db` | a Redis server, shared by everything that reaches it |
//!
//! What is stored is bytes under keys. A handle's [`get`](Kv::get) and [`set`](Kv::set) put any serde
//! type over them; counters and vectors of numbers have forms of their own, so that the storage itself
//! can change them: a counter is its decimal digits, as Redis has it; numbers are little-endian, one
//! after the other.
//!
//! All of it blocks the calling thread, since remote functions are ordinary code. In an `async`
//! driver a call takes microseconds (embedded) or a round trip (Redis).

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

/// The longest key, in bytes.
pub const MAX_KEY: usize = 500;

/// Key-value storage: what an implementation does. Programs use [`Kv`], which is typed.
///
/// Each operation on one key is atomic, and seen by whoever begins an operation after it returned.
/// Operations on many keys are as many operations, sent at once: each is atomic, all together are
/// not. Keys are 1 to [`MAX_KEY`] bytes without a zero byte. [`conformance::kv`](crate::conformance::kv) checks an implementation
/// against all that is said here.
pub trait KeyValue: Send + Sync + fmt::Debug {
    /// The URL that opens the same again. It may be printed: a password is left out of it.
    fn url(&self) -> String;

    /// Whether the URL is without a password, so that it can be sent to workers.
    fn url_is_complete(&self) -> bool {
        true
    }

    /// Whether another machine that opens the URL sees the same values.
    fn is_remote(&self) -> bool;

    /// Which life of the server this talks to, where what it holds may end with its process.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn life(&self) -> KvResult<Option<String>> {
        Ok(None)
    }

    /// Talks to no other life of the server than this one: operations fail with
    /// [`KvError::Restarted`] if it is over.
    fn stay_in(&self, _life: &str) {}

    /// The value of a key.
    ///
    /// # Errors
    /// [`KvError::Unreachable`], [`KvError::Restarted`] and [`KvError::Failed`], as all operations;
    /// [`KvError::BadKey`].
    fn get(&self, key: &str) -> KvResult<Option<Vec<u8>>>;

    /// The bytes `range` of a value; what lies past its end is left out.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_range(&self, key: &str, range: Range<u64>) -> KvResult<Option<Vec<u8>>> {
        Ok(self.get_ranges(&[(key, range)])?.pop().flatten())
    }

    /// The values of many keys, in their order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_many(&self, keys: &[&str]) -> KvResult<Vec<Option<Vec<u8>>>>;

    /// Ranges of many values, in their order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_ranges(&self, ranges: &[(&str, Range<u64>)]) -> KvResult<Vec<Option<Vec<u8>>>>;

    /// Stores a value, replacing what is there.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`KvError::TooLarge`].
    fn set(&self, key: &str, value: &[u8]) -> KvResult<()> {
        self.set_many(&[(key, value)])
    }

    /// Stores many values. After an error, some may be stored.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    fn set_many(&self, values: &[(&str, &[u8])]) -> KvResult<()>;

    /// Stores a value if the key has none; says whether it did. Of any number of racing calls, one does.
    ///
    /// # Errors
    /// As [`set`](Self::set), and [`KvError::Uncertain`].
    fn set_if_absent(&self, key: &str, value: &[u8]) -> KvResult<bool>;

    /// Puts `new` in the place of `expected`, `None` being no value; says whether `expected` was there.
    ///
    /// # Errors
    /// As [`set`](Self::set), and [`KvError::Uncertain`].
    fn compare_and_set(&self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> KvResult<bool>;

    /// Removes a key; a key that is not there is no error.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn delete(&self, key: &str) -> KvResult<()>;

    /// Adds to a counter, which is 0 where there is none, and gives what it is then.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`KvError::Uncertain`]; [`KvError::NoCounter`] where the value is no
    /// decimal number or the sum is not within `i64`.
    fn increment(&self, key: &str, by: i64) -> KvResult<i64>;

    /// Adds numbers to those in values. After an error, some additions may be made, each wholly.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`KvError::Uncertain`]; [`KvError::OutOfRange`] where a value is not
    /// there or ends before the place: that addition is not made.
    fn add(&self, additions: &[Addition<'_>]) -> KvResult<()>;

    /// All keys that begin with `prefix`, in byte order.
    ///
    /// # Errors
    /// As [`get`](Self::get), but for any prefix.
    fn keys(&self, prefix: &str) -> KvResult<Vec<String>>;
}

/// Numbers to be added to those in one value, as one atomic step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Addition<'a> {
    /// The value's key.
    pub key: &'a str,
    /// Which of its numbers.
    pub place: Place<'a>,
    /// What to add to each.
    pub delta: Numbers<'a>,
}

/// Which numbers of a value, counted in numbers from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// As many as there are deltas, from this one on.
    From(u64),
    /// These, one for each delta; one that is named twice is added to twice.
    At(&'a [u32]),
}

#[cfg(any(feature = "kv", feature = "redis"))]
impl Addition<'_> {
    /// The length of the shortest value that has the place, in bytes.
    ///
    /// # Errors
    /// [`KvError::OutOfRange`] where there are not as many indices as deltas.
    fn needs(&self) -> KvResult<u64> {
        let (count, size) = (self.delta.len() as u64, self.delta.size() as u64);
        let numbers = match self.place {
            Place::From(start) => start.saturating_add(count),
            Place::At(indices) if indices.len() as u64 != count => {
                let reason = format!("{} indices are given for {count} numbers", indices.len());
                return Err(KvError::OutOfRange { key: self.key.to_owned(), reason });
            }
            Place::At(indices) => indices.iter().max().map_or(0, |&last| u64::from(last) + 1),
        };
        Ok(numbers.saturating_mul(size))
    }

    /// The error of a value that has not the place; `len` is its length in bytes.
    fn out_of_range(&self, len: Option<u64>) -> KvError {
        let reason = match len {
            None => "there is no value".to_owned(),
            Some(len) => format!("the value ends at byte {len}, and the numbers at byte {}", self.needs().unwrap_or(0)),
        };
        KvError::OutOfRange { key: self.key.to_owned(), reason }
    }
}

/// How a URL scheme is opened; other crates add theirs with `inventory::submit!`.
pub struct KvScheme {
    /// The scheme, without its colon: `redis`.
    pub scheme: &'static str,
    /// Opens the part of the URL after the colon.
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
/// [`Error::Config`] for a scheme that no linked crate knows, which names those that are known. The
/// URL itself is not in it, since it may have a password.
pub(crate) fn open(url: &str) -> Result<Arc<dyn KeyValue>> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let known = || inventory::iter::<KvScheme>.into_iter();
    if let Some(found) = known().find(|known| known.scheme == scheme) {
        return (found.open)(rest);
    }
    let mut names: Vec<_> = known().map(|known| format!("{}:", known.scheme)).collect();
    names.sort_unstable();
    Err(Error::Config(format!("no key-value storage is known for `{scheme}:`; known are {}", names.join(", "))))
}

/// Refuses what is no key for any storage.
///
/// # Errors
/// [`KvError::BadKey`].
pub fn check_key(key: &str) -> KvResult<()> {
    let reason = if key.is_empty() {
        "it is empty"
    } else if key.len() > MAX_KEY {
        "it is longer than 500 bytes"
    } else if key.as_bytes().contains(&0) {
        "it has a zero byte"
    } else {
        return Ok(());
    };
    Err(KvError::BadKey { key: key.to_owned(), reason: reason.to_owned() })
}

/// What a value may have at most, in bytes: what Redis takes.
#[cfg(any(feature = "kv", feature = "redis"))]
const MAX_VALUE: usize = 512 << 20;

/// Refuses what is too large for any storage.
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
    fn an_unknown_scheme_lists_those_that_are_known() {
        let message = open("etcd://me:secret@host").err().unwrap().to_string();
        assert_eq!(message, "no key-value storage is known for `etcd:`; known are embedded:, redis:");
    }

    #[cfg(not(feature = "redis"))]
    #[test]
    fn what_is_left_out_says_how_to_put_it_in() {
        let message = open("redis://host").err().unwrap().to_string();
        assert!(message.contains("cargo add wren-cloud --features redis"), "{message}");
        assert!(crate::store::open("redis://host").is_err());
    }

    #[test]
    fn keys_have_borders() {
        for key in ["", "a\0b", &"k".repeat(501)] {
            assert!(matches!(check_key(key), Err(KvError::BadKey { .. })), "{key:?}");
        }
        for key in [" ", "/a/", ".", "ключ", &"k".repeat(500)] {
            assert_eq!(check_key(key), Ok(()));
        }
    }
}
