//! The `s3:` store: an object for each key, under a prefix in a bucket.

mod keys;
mod read;
mod refusal;
mod write;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::EncodingType;
use bytes::Bytes;

use super::{BoxFuture, Stat, Store, StoreError, StoreResult, StoreScheme, check_key};
use crate::aws;
use crate::error::{Error, Result};
use refusal::Refusal;

inventory::submit! {
    StoreScheme { scheme: "s3", open: |rest| Ok(Arc::new(S3Store::open(rest)?)) }
}

/// Size of the parts in which longer values are transferred, [`PARALLEL`] at a time. One connection to S3 transfers
/// 85–90 MB/s, and AWS recommends parts of 8–16 MB ("Performance guidelines for Amazon S3").
const PART: usize = 8 << 20;

/// Number of parts of one value that are transferred at once.
const PARALLEL: usize = 8;

/// Maximum number of keys in one answer to LIST (ListObjectsV2).
const PAGE: usize = 1_000;

/// A store in Amazon S3, or in a server that speaks its protocol (`AWS_ENDPOINT_URL_S3`).
///
/// Long values are read and written in parallel parts, by requests on wren's own threads. `put_if_absent` uses
/// `If-None-Match: *`, which S3 checks when the object is complete. Requests that S3 refuses because of too much load
/// are sent again after random pauses.
///
/// Any key of S3 that other programs have written can be listed and read: `a//b`, `/a`, `a/`. Only keys that
/// [`check_key`](super::check_key) accepts can be written.
#[derive(Clone)]
pub struct S3Store {
    bucket: Arc<str>,
    /// Empty, or ends with a slash.
    prefix: Arc<str>,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

impl S3Store {
    /// Opens the store of `//bucket/prefix`, which is the part of a URL after `s3:`.
    ///
    /// # Errors
    /// [`Error::Config`] if the bucket is missing, or the prefix is not a valid key.
    pub fn open(rest: &str) -> Result<Self> {
        let wrong =
            |why: &str| Error::Config(format!("invalid store URL `s3:{rest}`: {why}; expected `s3://bucket/prefix`"));
        let path = rest.strip_prefix("//").ok_or_else(|| wrong("it has no bucket"))?;
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_end_matches('/');
        if bucket.is_empty() {
            return Err(wrong("it has no bucket"));
        }
        if !prefix.is_empty() {
            check_key(prefix).map_err(|e| wrong(&e.to_string()))?;
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { bucket: bucket.into(), prefix: prefix.into() })
    }

    /// Runs the requests for a key on the runtime for AWS.
    fn request<'a, T, F>(
        &self,
        key: &str,
        operation: impl FnOnce(Requests) -> F + Send + 'static,
    ) -> BoxFuture<'a, StoreResult<T>>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let store = self.clone();
        let key = key.to_owned();
        Box::pin(async move {
            let broken = |reason| store.failed("access", &key, reason);
            let task = aws::spawn({
                let (store, key) = (store.clone(), key.clone());
                async move {
                    let full = format!("{}{key}", store.prefix);
                    operation(Requests { s3: aws::s3().await, store, key, full }).await
                }
            });
            task.map_err(broken)?.join().await.map_err(broken)?
        })
    }

    fn failed(&self, operation: &str, key: &str, reason: String) -> StoreError {
        StoreError::io(self.url(), operation, key, reason)
    }
}

impl Store for S3Store {
    fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix).trim_end_matches('/').to_owned()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn put<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        let value = Bytes::copy_from_slice(value);
        self.request(key, |requests| async move { requests.write(value, false).await })
    }

    fn put_file<'a>(&'a self, key: &'a str, path: &'a Path) -> BoxFuture<'a, StoreResult<()>> {
        let map = || {
            let file = std::fs::File::open(path)?;
            // SAFETY: nothing is assumed about the bytes. If the file were truncated while it is sent, SIGBUS would end
            // the process, so the contract of `put_file` forbids writes to the file in the meantime. miri cannot map
            // files.
            unsafe { memmap2::Mmap::map(&file) }
        };
        match map() {
            Ok(map) => {
                let value = Bytes::from_owner(map);
                self.request(key, |requests| async move { requests.write(value, false).await })
            }
            Err(error) => Box::pin(std::future::ready(Err(self.unreadable(key, path, &error)))),
        }
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        let value = Bytes::copy_from_slice(value);
        self.request(key, |requests| async move { requests.write(value, true).await })
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        self.request(key, |requests| async move { requests.read(None).await })
    }

    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        self.request(key, |requests| async move { requests.read(Some(range)).await })
    }

    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<u64>> {
        self.request(key, |requests| async move { requests.size().await })
    }

    fn stat<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Stat>> {
        self.request(key, |requests| async move { requests.stat().await })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<String>>> {
        let found = self.list_stats(prefix, after, limit);
        Box::pin(async move { Ok(found.await?.into_iter().map(|(key, _)| key).collect()) })
    }

    fn list_stats<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<(String, Stat)>>> {
        let after = after.map(str::to_owned);
        self.request(prefix, move |requests| async move { requests.list(after, limit).await })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        self.request(key, |requests| async move { requests.delete().await })
    }
}

/// The requests of one operation.
struct Requests {
    s3: Client,
    store: S3Store,
    key: String,
    /// The full key of the object, prefix included.
    full: String,
}

impl Requests {
    fn error(&self, operation: &str, refusal: Refusal) -> StoreError {
        let (store, key) = (self.store.url(), self.key.clone());
        let failed = |reason: &str| self.store.failed(operation, &self.key, reason.to_owned());
        match refusal {
            Refusal::NotFound => StoreError::NotFound { store, key },
            Refusal::Exists => StoreError::AlreadyExists { store, key },
            Refusal::Conflict => failed("other writers of the same key were always faster"),
            Refusal::PastEnd => failed("the range starts after the end of the value"),
            Refusal::Changed => failed("it is replaced faster than it can be read"),
            Refusal::BrokeOff(reason) | Refusal::Other(reason) => failed(&reason),
        }
    }

    async fn stat(&self) -> StoreResult<Stat> {
        keys::check_any(&self.key)?;
        let head = self.s3.head_object().bucket(&*self.store.bucket).key(&self.full).send().await;
        let head = head.map_err(|e| self.error("read the size of", Refusal::of(&e)))?;
        let len = head.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
        Ok(Stat { len, version: head.e_tag().unwrap_or_default().to_owned() })
    }

    async fn size(&self) -> StoreResult<u64> {
        self.stat().await.map(|stat| stat.len)
    }

    async fn list(self, after: Option<String>, limit: usize) -> StoreResult<Vec<(String, Stat)>> {
        let own = self.store.prefix.len();
        let mut found: Vec<(String, Stat)> = Vec::new();
        let mut last = after.map(|key| format!("{}{key}", self.store.prefix));
        while found.len() < limit {
            let page = (limit - found.len()).min(PAGE);
            let list = self.s3.list_objects_v2().bucket(&*self.store.bucket).prefix(&self.full);
            // Keys may contain characters that XML cannot represent.
            let list = list.set_start_after(last.clone()).max_keys(page as i32).encoding_type(EncodingType::Url);
            let list = list.send().await.map_err(|e| self.error("list", Refusal::of(&e)))?;
            let is_encoded = list.encoding_type() == Some(&EncodingType::Url);
            for object in list.contents() {
                let key = object.key().unwrap_or_default();
                let key = if is_encoded { keys::decoded(key) } else { Some(key.to_owned()) };
                let key = key.ok_or_else(|| self.error("list", Refusal::Other("a key is not UTF-8".to_owned())))?;
                // The prefix itself may be an object too, which is not part of the store.
                if let Some(own) = key.get(own..).filter(|own| !own.is_empty()) {
                    found.push((own.to_owned(), keys::stat_of(object)));
                }
                last = Some(key);
            }
            if list.contents().is_empty() || list.is_truncated() != Some(true) {
                break;
            }
        }
        Ok(found)
    }

    async fn delete(self) -> StoreResult<()> {
        check_key(&self.key)?;
        let deleted = self.s3.delete_object().bucket(&*self.store.bucket).key(&self.full).send().await;
        match deleted.map_err(|e| Refusal::of(&e)) {
            Ok(_) | Err(Refusal::NotFound) => Ok(()),
            Err(refusal) => Err(self.error("delete", refusal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_bucket_and_a_prefix() {
        let url = |rest| S3Store::open(rest).map(|store| store.url());
        assert_eq!(url("//bucket").unwrap(), "s3://bucket");
        assert_eq!(url("//bucket/").unwrap(), "s3://bucket");
        assert_eq!(url("//bucket/a/b/").unwrap(), "s3://bucket/a/b");
        for wrong in ["", "bucket", "//", "///a", "//bucket/../a", "//bucket/a//b"] {
            assert!(url(wrong).unwrap_err().to_string().contains("expected `s3://bucket/prefix`"), "{wrong}");
        }
    }
}
