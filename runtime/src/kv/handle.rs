//! The handle that programs use: typed, cheap to clone, and a valid argument of remote functions.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Addition, KeyValue, KvError, Number, Place};
use crate::codec;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::platform;

/// Environment variable with the URL that [`kv`] opens.
const VARIABLE: &str = "WREN_KV";

/// Prefix of a URL that names an environment variable, which contains the actual URL.
const BY_NAME: &str = "env:";

/// Opens the configured key-value storage: that of `WREN_KV` or of `kv` in `Wren.toml`, or, for programs that run on
/// this machine, `embedded:` in the folder `kv` of `.wren`.
///
/// See [`Kv`] for an example.
///
/// # Errors
/// [`Error::Config`] for an invalid URL; also if calls run on AWS Lambda and no storage is configured, because the
/// embedded one cannot be reached from there.
pub fn kv() -> Result<Kv> {
    let config = Config::load()?;
    if let Some(url) = &config.kv {
        let named_by_variable = std::env::var(VARIABLE).is_ok_and(|set| set == *url);
        return Kv::open_as(url, named_by_variable.then(|| format!("{BY_NAME}{VARIABLE}")));
    }
    let on_lambda = config.backend.as_deref().is_some_and(crate::config::is_lambda);
    if on_lambda || platform::in_lambda() {
        return Err(Error::Config(
            "no key-value storage is configured, and the embedded one cannot be reached from AWS Lambda; set WREN_KV, \
             or `kv` in Wren.toml, to a `redis://host:port/db` in the functions' network, and pass the handle to the \
             functions as an argument"
                .to_owned(),
        ));
    }
    Kv::open(&format!("embedded:{}", platform::text_of_path(&config.directory.join("kv"))))
}

/// A handle to key-value storage. Cheap to clone; the [module](mod@crate::kv) lists the kinds of storage.
///
/// It can be an argument of a remote function, which then uses the same storage:
///
/// ```
/// use wren::kv::Kv;
///
/// #[wren::remote]
/// fn visit(kv: Kv, page: &str) -> wren::Result<i64> {
///     kv.increment(page, 1)
/// }
///
/// # wren::block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let kv = Kv::open(&format!("embedded:{}", folder.path().display()))?;
/// # #[cfg(any())]
/// let kv = wren::kv()?;
/// wren::map(|_| visit(kv.clone(), "front"), 0..100).await?;
/// assert_eq!(kv.counter("front")?, 100);
///
/// kv.set("best", &("a setting", 0.97))?;
/// let best: Option<(String, f64)> = kv.get("best")?;
/// assert_eq!(best, Some(("a setting".to_owned(), 0.97)));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// A handle is serialized as its URL. A URL with a password is never sent: the handle that [`crate::kv()`] opens from
/// `WREN_KV` is then serialized as the name of that variable. Workers on the same machine have the variable too; on AWS
/// Lambda, set it in the functions' environment. To use another variable, call `Kv::open("env:NAME")`; to put only the
/// password into a variable, use `redis://host?password_env=NAME`.
///
/// A call that runs again, because it failed and is retried or because its worker died, makes its changes again. Where
/// that matters, mark finished tasks: call [`set_if_absent`](Self::set_if_absent) with a key that names the task.
#[derive(Clone)]
pub struct Kv {
    inner: Arc<dyn KeyValue>,
    /// `env:NAME`, if the URL comes from an environment variable.
    name: Option<String>,
}

/// The serialized form of a [`Kv`].
#[derive(Serialize, Deserialize)]
struct Wire {
    url: String,
    server_id: Option<String>,
}

impl Serialize for Kv {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let url = if self.inner.url_is_complete() { Ok(self.inner.url()) } else { self.name.clone().ok_or(()) };
        let url = url.map_err(|()| {
            serde::ser::Error::custom(format!(
                "the URL of {} contains a password, which is never sent to workers; put the URL into an environment \
                 variable of the program and of its workers, and open it by name: `wren::kv()` does so for {VARIABLE}, \
                 `Kv::open(\"env:NAME\")` for other variables",
                self.inner.url()
            ))
        })?;
        let server_id = self.inner.server_id().map_err(serde::ser::Error::custom)?;
        Wire { url, server_id }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Kv {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Wire { url, server_id } = Wire::deserialize(deserializer)?;
        let kv = Self::open(&url).map_err(serde::de::Error::custom)?;
        if let Some(server_id) = server_id {
            kv.inner.bind_to_server(&server_id);
        }
        Ok(kv)
    }
}

/// Prints the URL, without a password.
impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kv({})", self.inner.url())
    }
}

impl From<Arc<dyn KeyValue>> for Kv {
    fn from(inner: Arc<dyn KeyValue>) -> Self {
        Self { inner, name: None }
    }
}

impl Kv {
    /// Opens the storage of a URL: `embedded:<folder>`, `redis://host:port/db`, or `env:NAME` for the
    /// URL in an environment variable.
    ///
    /// # Errors
    /// [`Error::Config`] for an invalid URL, or for a variable that is not set.
    pub fn open(url: &str) -> Result<Self> {
        let Some(name) = url.strip_prefix(BY_NAME) else { return Self::open_as(url, None) };
        let value = std::env::var(name).map_err(|_| {
            Error::Config(format!(
                "the URL of the key-value storage is in the environment variable {name}, which is not set in this \
                 process; set it here and where the functions run"
            ))
        })?;
        Self::open_as(&value, Some(url.to_owned()))
    }

    fn open_as(url: &str, name: Option<String>) -> Result<Self> {
        Ok(Self { inner: super::open(url)?, name })
    }

    /// Returns the URL, without a password.
    pub fn url(&self) -> String {
        self.inner.url()
    }

    fn inner(&self) -> Result<&dyn KeyValue> {
        Error::if_forked()?;
        Ok(&*self.inner)
    }

    /// Returns the untyped storage, for operations that have no typed form here.
    pub fn storage(&self) -> &Arc<dyn KeyValue> {
        &self.inner
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// [`Error::Kv`], as all following methods; [`Error::BadValue`] if the value is not an encoded `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        decode(key, self.inner()?.get(key)?.as_deref())
    }

    /// Returns the values of many keys, in the order of the keys, in one round trip.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many<T: DeserializeOwned>(&self, keys: &[&str]) -> Result<Vec<Option<T>>> {
        let values = self.inner()?.get_many(keys)?;
        keys.iter().zip(values).map(|(key, value)| decode(key, value.as_deref())).collect()
    }

    /// Stores a value, replacing any existing one.
    ///
    /// # Errors
    /// [`Error::BadValue`] if it cannot be encoded.
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        Ok(self.inner()?.set(key, &codec::encode(value)?)?)
    }

    /// Stores many values in one round trip.
    ///
    /// # Errors
    /// As [`set`](Self::set). After an error, some of the values may be stored.
    pub fn set_many<T: Serialize>(&self, values: &[(&str, T)]) -> Result<()> {
        let encoded =
            values.iter().map(|(key, value)| Ok((*key, codec::encode(value)?))).collect::<Result<Vec<_>>>()?;
        let encoded: Vec<_> = encoded.iter().map(|(key, value)| (*key, value.as_slice())).collect();
        Ok(self.inner()?.set_many(&encoded)?)
    }

    /// Stores a value if the key has none, and returns whether it did. Of any number of racing calls, exactly one
    /// stores its value.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_if_absent<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<bool> {
        Ok(self.inner()?.set_if_absent(key, &codec::encode(value)?)?)
    }

    /// Replaces the value with `new` if it equals `expected`, and returns whether it did. `None` means no value.
    ///
    /// The encodings are compared. Equal values have equal encodings, except for maps without a fixed order.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = wren::kv::Kv::open(&format!("embedded:{}", folder.path().display()))?;
    /// // Keeps the maximum over all writers.
    /// # let mine = 0.9;
    /// loop {
    ///     let best: Option<f64> = kv.get("best")?;
    ///     if best.is_some_and(|best| best >= mine) || kv.compare_and_set("best", best.as_ref(), Some(&mine))? {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn compare_and_set<T: Serialize>(&self, key: &str, expected: Option<&T>, new: Option<&T>) -> Result<bool> {
        let encode = |value: Option<&T>| value.map(codec::encode).transpose();
        let (expected, new) = (encode(expected)?, encode(new)?);
        Ok(self.inner()?.compare_and_set(key, expected.as_deref(), new.as_deref())?)
    }

    /// Removes a key. Removing a missing key is not an error.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn delete(&self, key: &str) -> Result<()> {
        Ok(self.inner()?.delete(key)?)
    }

    /// Adds to a counter and returns the sum. A missing counter counts as 0.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn increment(&self, key: &str, by: i64) -> Result<i64> {
        Ok(self.inner()?.increment(key, by)?)
    }

    /// Returns the value of a counter, 0 if it is missing.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn counter(&self, key: &str) -> Result<i64> {
        match self.inner()?.get(key)? {
            None => Ok(0),
            Some(digits) => {
                let no_counter = KvError::NoCounter { key: key.to_owned() };
                Ok(parse_counter(&digits).ok_or(no_counter)?)
            }
        }
    }

    /// Stores bytes as they are, without encoding them.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn set_bytes(&self, key: &str, value: &[u8]) -> Result<()> {
        Ok(self.inner()?.set(key, value)?)
    }

    /// Returns the bytes of a value of any type.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn get_bytes(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.inner()?.get(key)?)
    }

    /// Returns the bytes `range` of a value, without the part of the range beyond its end.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        Ok(self.inner()?.get_range(key, range)?)
    }

    /// Stores numbers in the format that [`add`](Self::add) can add to.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let kv = wren::kv::Kv::open(&format!("embedded:{}", folder.path().display()))?;
    /// kv.set_numbers("weights", &[0.0f32; 4])?;
    /// kv.add("weights", 1, &[0.5f32, 0.25])?;
    /// assert_eq!(kv.numbers::<f32>("weights")?, Some(vec![0.0, 0.5, 0.25, 0.0]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn set_numbers<T: Number>(&self, key: &str, numbers: &[T]) -> Result<()> {
        Ok(self.inner()?.set(key, &T::to_bytes(numbers))?)
    }

    /// Returns the numbers that [`set_numbers`](Self::set_numbers) stored.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn numbers<T: Number>(&self, key: &str) -> Result<Option<Vec<T>>> {
        let value = self.inner()?.get(key)?;
        Ok(value.map(|bytes| {
            let mut numbers = Vec::with_capacity(bytes.len() / T::SIZE);
            T::extend_from_bytes(&mut numbers, &bytes);
            numbers
        }))
    }

    /// Adds `delta` to the numbers of a value, from number `start` on, as one atomic step.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn add<T: Number>(&self, key: &str, start: u64, delta: &[T]) -> Result<()> {
        Ok(self.inner()?.add(&[Addition { key, place: Place::From(start), delta: T::numbers(delta) }])?)
    }

    /// Returns all keys that start with `prefix`, in byte order. On Redis, this scans every key of the server.
    ///
    /// # Errors
    /// [`Error::Kv`].
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.inner()?.keys(prefix)?)
    }
}

fn decode<T: DeserializeOwned>(key: &str, bytes: Option<&[u8]>) -> Result<Option<T>> {
    bytes
        .map(codec::decode)
        .transpose()
        .map_err(|error| Error::BadValue { reason: format!("the value under `{key}`: {error}") })
}

/// Parses the digits of a counter.
pub(super) fn parse_counter(digits: &[u8]) -> Option<i64> {
    // As in Redis, a plus sign or a leading zero is invalid.
    let text = std::str::from_utf8(digits).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
