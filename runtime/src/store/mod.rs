//! Shared object storage: a map from keys to bytes. Its put-if-absent operation is used to commit results.

pub(crate) mod blobs;
mod file;
mod memory;
mod refs;
mod requests;
#[cfg(feature = "aws")]
mod s3;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use crate::error::{Error, Result};

pub use crate::error::{StoreError, StoreResult};
pub use file::FileStore;
#[cfg(feature = "data")]
pub(crate) use file::version_of;
pub use memory::MemoryStore;
pub use refs::Ref;
pub(crate) use refs::{encode, put_bytes};
pub(crate) use requests::{Requests, SIDE_BY_SIDE, event_loop, find_size, put_once, sleep, unblock, wait};
#[cfg(feature = "data")]
pub(crate) use requests::{find, spawn_last};
#[cfg(feature = "aws")]
pub use s3::S3Store;

/// A boxed future, as returned by the methods of [`Store`].
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Shared object storage.
///
/// Keys are `/`-separated and relative: `jobs/7/done/12`. [`check_key`] decides which keys may be written. A store that
/// other programs write to, such as a bucket of S3, may list and read other keys too. Values are atomic: a reader sees
/// a complete value or none. [`conformance::store`](crate::conformance::store) checks that an implementation follows
/// this documentation.
///
/// wren polls the futures on its own threads, in a tokio runtime with timers and I/O. They may block, and they may use
/// tokio.
pub trait Store: Send + Sync + fmt::Debug {
    /// Returns the URL that opens the same store again: `file:/srv/wren`.
    fn url(&self) -> String;

    /// Returns whether another process that opens [`url`](Self::url) sees the same values.
    fn is_shared(&self) -> bool;

    /// Stores a value, replacing the old one.
    fn put<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>>;

    /// Stores a value if the key has none. Of any number of racing calls, one succeeds.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] if the key has a value.
    fn put_if_absent<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>>;

    /// Stores the content of a file, replacing the old value. The file must not be written to in the meantime, and it
    /// may be gone afterwards: if it is in [`scratch`](Self::scratch), a store of files need not copy it.
    fn put_file<'a>(&'a self, key: &'a str, path: &'a Path) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            let value = std::fs::read(path).map_err(|e| self.unreadable(key, path, &e))?;
            self.put(key, &value).await
        })
    }

    /// Returns a folder for files that [`put_file`](Self::put_file) will store, and for data that does not fit in
    /// memory.
    fn scratch(&self) -> PathBuf {
        std::env::temp_dir()
    }

    /// Returns the value of a key.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Vec<u8>>>;

    /// Returns the bytes `range` of a value. The part of the range past the end of the value is ignored.
    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Vec<u8>>>;

    /// Returns the length of a value, in bytes.
    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<u64>>;

    /// Returns the length of a value, and its version, which differs from that of earlier values of the key.
    fn stat<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Stat>> {
        Box::pin(async move { Ok(Stat { len: self.size(key).await?, version: String::new() }) })
    }

    /// Lists up to `limit` keys that start with `prefix` and sort after `after`, in byte order.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<String>>>;

    /// Like [`list`](Self::list), but also returns the [`stat`](Self::stat) of each value. If there are fewer than
    /// `limit`, the list is complete. A store whose listing contains the lengths need not send a request for each key.
    fn list_stats<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<(String, Stat)>>> {
        Box::pin(async move {
            let mut found: Vec<(String, Stat)> = Vec::new();
            let mut last = after.map(str::to_owned);
            while found.len() < limit {
                let wanted = (limit - found.len()).min(SIDE_BY_SIDE);
                let keys = self.list(prefix, last.as_deref(), wanted).await?;
                let stats = all_of(keys.iter().map(|key| self.stat(key))).await;
                let ends = keys.len() < wanted;
                last = keys.last().cloned().or(last);
                for (key, stat) in keys.into_iter().zip(stats) {
                    match stat {
                        Ok(stat) => found.push((key, stat)),
                        // It was deleted after it was listed.
                        Err(StoreError::NotFound { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                if ends {
                    break;
                }
            }
            Ok(found)
        })
    }

    /// Removes a key. Removing a key that does not exist is not an error.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>>;

    /// Returns the error of a [`put_file`](Self::put_file) whose file cannot be read.
    fn unreadable(&self, key: &str, path: &Path, error: &std::io::Error) -> StoreError {
        let reason = format!("cannot read the file {}: {error}", path.display());
        StoreError::io(self.url(), "write", key, reason)
    }
}

/// The properties of a value that a store reports without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The length of the value, in bytes.
    pub len: u64,
    /// A text that changes when the value is replaced, such as an ETag or a time. Empty if the store has no such text.
    pub version: String,
}

/// A URL scheme and the function that opens its stores. Other crates add theirs with `inventory::submit!`.
pub struct StoreScheme {
    /// The scheme, without its colon: `file`.
    pub scheme: &'static str,
    /// Opens the part of the URL after the colon.
    pub open: fn(rest: &str) -> Result<Arc<dyn Store>>,
}

inventory::collect!(StoreScheme);

#[cfg(not(feature = "aws"))]
inventory::submit! {
    StoreScheme { scheme: "s3", open: |_| Err(Error::left_out("the store `s3:`", "aws")) }
}

#[cfg(not(feature = "redis"))]
inventory::submit! {
    StoreScheme { scheme: "redis", open: |_| Err(Error::left_out("the store `redis:`", "redis")) }
}

/// Opens the store of a URL, such as `file:.wren/store` or `memory:`.
///
/// # Errors
/// [`Error::Config`] for a scheme that no linked crate knows. The message lists the known ones.
pub fn open(url: &str) -> Result<Arc<dyn Store>> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let known = || inventory::iter::<StoreScheme>.into_iter();
    if let Some(found) = known().find(|s| s.scheme == scheme) {
        return (found.open)(rest);
    }
    let mut names: Vec<_> = known().map(|s| format!("{}:", s.scheme)).collect();
    names.sort_unstable();
    Err(Error::Config(format!("unknown store `{url}`; expected one of {}", names.join(", "))))
}

/// Returns whether a store has the scheme of a URL.
#[cfg(feature = "data")]
pub(crate) fn is_known(scheme: &str) -> bool {
    inventory::iter::<StoreScheme>.into_iter().any(|known| known.scheme == scheme)
}

/// Runs several futures concurrently, and returns their values in the order of the futures.
pub(crate) async fn all_of<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (Some(Box::pin(future)), None)).collect();
    std::future::poll_fn(|cx| {
        let mut all = true;
        for (future, value) in &mut waiting {
            if let Some(pinned) = future {
                match pinned.as_mut().poll(cx) {
                    std::task::Poll::Ready(ready) => (*future, *value) = (None, Some(ready)),
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        if all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    // Every future has its value now.
    waiting.into_iter().filter_map(|(_, value)| value).collect()
}

/// Checks that a key is valid in every store: keys become paths and parts of URLs.
///
/// This applies to keys that are written. Values that other programs have written can be read under any key that the
/// store supports.
///
/// # Errors
/// [`StoreError::BadKey`].
pub fn check_key(key: &str) -> StoreResult<()> {
    let reason = if key.is_empty() {
        "it is empty"
    } else if key.len() > 1024 || key.split('/').any(|part| part.len() > 255) {
        "it is longer than 1,024 bytes, or has a part that is longer than 255"
    } else if key.contains('\0') {
        "it contains a zero byte"
    } else if key.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        "it has a part that is empty or starts with a dot"
    } else {
        return Ok(());
    };
    Err(StoreError::BadKey { key: key.to_owned(), reason: reason.to_owned() })
}

/// Limits a range of bytes to a value of length `len`.
pub(crate) fn clip(range: &Range<u64>, len: usize) -> Range<usize> {
    let end = usize::try_from(range.end).unwrap_or(len).min(len);
    usize::try_from(range.start).unwrap_or(end).min(end)..end
}
