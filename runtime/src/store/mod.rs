//! Shared object storage: keys to bytes, with put-if-absent, by which results are committed.

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

/// A boxed future, as the traits of stores give it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Shared object storage.
///
/// Keys are `/`-separated and relative: `jobs/7/done/12`; [`check_key`] says which may be written. A store that others
/// write to, such as a bucket of S3, may list and read others, too. Values are whole: a reader sees all of a
/// value or none of it. [`conformance::store`](crate::conformance::store) checks an implementation against all that is said here.
///
/// wren polls the futures on threads of its own, within a runtime of tokio that has timers and I/O: they
/// may block, and they may use tokio.
pub trait Store: Send + Sync + fmt::Debug {
    /// The URL that opens the same store again: `file:/srv/wren`.
    fn url(&self) -> String;

    /// Whether another process that opens [`url`](Self::url) sees the same values.
    fn is_shared(&self) -> bool;

    /// Stores a value, replacing what is there.
    fn put<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>>;

    /// Stores a value if the key has none. Of any number of racing calls, one succeeds.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] where the key has a value.
    fn put_if_absent<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>>;

    /// Stores the content of a file, replacing what is there. Nobody else may write to the file
    /// meanwhile, and it may be gone afterwards: where it lies in [`scratch`](Self::scratch), a store of
    /// files need not copy it.
    fn put_file<'a>(&'a self, key: &'a str, path: &'a Path) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            let value = std::fs::read(path).map_err(|e| self.unreadable(key, path, &e))?;
            self.put(key, &value).await
        })
    }

    /// A folder for files that [`put_file`](Self::put_file) is to take, and for what does not fit in
    /// memory.
    fn scratch(&self) -> PathBuf {
        std::env::temp_dir()
    }

    /// The value of a key.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Vec<u8>>>;

    /// The bytes `range` of a value; what lies past its end is left out.
    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Vec<u8>>>;

    /// The length of a value, in bytes.
    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<u64>>;

    /// The length of a value, and what tells it from others that were under the key before.
    fn stat<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Stat>> {
        Box::pin(async move { Ok(Stat { len: self.size(key).await?, version: String::new() }) })
    }

    /// Up to `limit` keys that begin with `prefix` and sort after `after`, in byte order.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<String>>>;

    /// As [`list`](Self::list), with what [`stat`](Self::stat) tells of each value. Where fewer than `limit` are given,
    /// there are no more. A store whose listing knows the lengths needs no request for each.
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
                        // Deleted since it was listed.
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

    /// Removes a key; a key that is not there is no error.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>>;

    /// The error of a [`put_file`](Self::put_file) whose file cannot be read.
    fn unreadable(&self, key: &str, path: &Path, error: &std::io::Error) -> StoreError {
        let reason = format!("its file {} cannot be read: {error}", path.display());
        StoreError::Io { store: self.url(), operation: "write".to_owned(), key: key.to_owned(), reason }
    }
}

/// What a store tells of a value without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Its length, in bytes.
    pub len: u64,
    /// Changes when the value is replaced: an ETag, a time. Empty where the store has nothing like it.
    pub version: String,
}

/// How a URL scheme is opened; other crates add theirs with `inventory::submit!`.
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

/// Opens the store of a URL: `file:.wren/store`, `memory:`.
///
/// # Errors
/// [`Error::Config`] for a scheme that no linked crate knows, which names those that are known.
pub fn open(url: &str) -> Result<Arc<dyn Store>> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let known = || inventory::iter::<StoreScheme>.into_iter();
    if let Some(found) = known().find(|s| s.scheme == scheme) {
        return (found.open)(rest);
    }
    let mut names: Vec<_> = known().map(|s| format!("{}:", s.scheme)).collect();
    names.sort_unstable();
    Err(Error::Config(format!("no store is known for `{url}`; known are {}", names.join(", "))))
}

/// Whether the scheme of a URL is a store's.
#[cfg(feature = "data")]
pub(crate) fn is_known(scheme: &str) -> bool {
    inventory::iter::<StoreScheme>.into_iter().any(|known| known.scheme == scheme)
}

/// Runs several futures side by side; gives what they gave, in their order.
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
    // The loop ended because each has its value.
    waiting.into_iter().filter_map(|(_, value)| value).collect()
}

/// Refuses what is no key for any store: keys become paths and parts of URLs.
///
/// It holds for keys that are written. What others have written may be read by any key that the store can have.
pub fn check_key(key: &str) -> StoreResult<()> {
    let reason = if key.is_empty() {
        "it is empty"
    } else if key.len() > 1024 || key.split('/').any(|part| part.len() > 255) {
        "it is longer than 1,024 bytes, or a part of it is longer than 255"
    } else if key.contains('\0') {
        "it has a zero byte"
    } else if key.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        "a part of it is empty or begins with a dot"
    } else {
        return Ok(());
    };
    Err(StoreError::BadKey { key: key.to_owned(), reason: reason.to_owned() })
}

/// A range of bytes inside a value of `len`.
pub(crate) fn clip(range: &Range<u64>, len: usize) -> Range<usize> {
    let end = usize::try_from(range.end).unwrap_or(len).min(len);
    usize::try_from(range.start).unwrap_or(end).min(end)..end
}
