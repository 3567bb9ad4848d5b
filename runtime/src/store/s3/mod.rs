//! The `s3:` store: an object for each key, under a prefix in a bucket.

mod keys;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, EncodingType};
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;

use super::{BoxFuture, Stat, Store, StoreError, StoreResult, StoreScheme, check_key};
use crate::aws;
use crate::error::{Error, Result};
use crate::function::Backoff;

inventory::submit! {
    StoreScheme { scheme: "s3", open: |rest| Ok(Arc::new(S3Store::open(rest)?)) }
}

/// Size of the parts in which longer values are transferred, [`PARALLEL`] at a time. One connection to S3 transfers
/// 85–90 MB/s, and AWS recommends parts of 8–16 MB ("Performance guidelines for Amazon S3").
const PART: usize = 8 << 20;

/// Number of parts of one value that are transferred at once.
const PARALLEL: usize = 8;

/// Maximum number of parts of a multipart upload ("Amazon S3 multipart upload limits").
const MAX_PARTS: usize = 10_000;

/// Maximum number of keys in one answer to LIST (ListObjectsV2).
const PAGE: usize = 1_000;

/// Metadata that names the writer of an object. A writer whose request was sent twice recognizes its own object by it.
const WRITER: &str = "wren-writer";

/// Number of retries of a conditional write that conflicts with another one.
const CONFLICTS: u32 = 50;

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

/// The reason why a request was not carried out.
enum Refusal {
    NotFound,
    /// `If-None-Match: *` found an object.
    Exists,
    /// Another conditional write of the key is in progress.
    Conflict,
    /// The range starts after the end of the object.
    PastEnd,
    /// `If-Match` found another version of the object.
    Changed,
    /// The connection was lost while a body was received.
    BrokeOff(String),
    Other(String),
}

impl Refusal {
    fn of<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        match (status, error.as_service_error().and_then(ProvideErrorMetadata::code)) {
            (_, Some("NoSuchBucket")) => Refusal::Other(format!(
                "{}; create the bucket with `cargo wren deploy`, or fix the store's URL",
                aws::describe_error(error)
            )),
            (Some(403), _) => Refusal::Other(format!(
                "{}; the functions of a deployment can access only objects below its store; move the object there, or \
                 allow the deployment's role in the policy of the other bucket",
                aws::describe_error(error)
            )),
            (_, Some("NoSuchKey" | "NotFound")) | (Some(404), None) => Refusal::NotFound,
            (Some(409), _) => Refusal::Conflict,
            (Some(412), _) => Refusal::Changed,
            (Some(416), _) => Refusal::PastEnd,
            _ => Refusal::Other(aws::describe_error(error)),
        }
    }

    /// Converts the error of a request with `If-None-Match: *`.
    fn of_conditional<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match Self::of(error) {
            Refusal::Changed => Refusal::Exists,
            other => other,
        }
    }
}

type Answer<T> = std::result::Result<T, Refusal>;

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

    async fn write(self, value: Bytes, absent: bool) -> StoreResult<()> {
        check_key(&self.key)?;
        let mut conflicts = 0;
        let mut pauses = Backoff::new(Duration::from_millis(20)).longest(Duration::from_secs(1)).pauses();
        loop {
            let writer = format!("{:016x}", crate::platform::random());
            let condition = absent.then_some("*");
            let written = match value.len() {
                short if short <= PART => self.put_object(value.clone(), condition, &writer).await,
                _ => self.put_parts(&value, condition, &writer).await,
            };
            match written {
                Ok(()) => return Ok(()),
                Err(Refusal::Conflict) if conflicts < CONFLICTS => {
                    conflicts += 1;
                    tokio::time::sleep(pauses.next_pause()).await;
                }
                // The answer to the first request may have been lost, so the second one found the object of the first.
                Err(Refusal::Exists) if self.is_mine(&writer).await => return Ok(()),
                Err(refusal) => return Err(self.error("write", refusal)),
            }
        }
    }

    async fn put_object(&self, value: Bytes, condition: Option<&str>, writer: &str) -> Answer<()> {
        let mut put = self.s3.put_object().bucket(&*self.store.bucket).key(&self.full).body(ByteStream::from(value));
        if let Some(condition) = condition {
            put = put.if_none_match(condition).metadata(WRITER, writer);
        }
        put.send().await.map(drop).map_err(|e| Refusal::of_conditional(&e))
    }

    async fn is_mine(&self, writer: &str) -> bool {
        let head = self.s3.head_object().bucket(&*self.store.bucket).key(&self.full).send().await;
        head.is_ok_and(|head| head.metadata().and_then(|m| m.get(WRITER)).is_some_and(|by| by == writer))
    }

    async fn put_parts(&self, value: &Bytes, condition: Option<&str>, writer: &str) -> Answer<()> {
        let bucket = &*self.store.bucket;
        let mut create = self.s3.create_multipart_upload().bucket(bucket).key(&self.full);
        if condition.is_some() {
            create = create.metadata(WRITER, writer);
        }
        let created = create.send().await.map_err(|e| Refusal::of(&e))?;
        let id = created.upload_id().ok_or_else(|| Refusal::Other("S3 returned no upload id".to_owned()))?;
        let parts = match self.upload_parts(id, value).await {
            Ok(parts) => CompletedMultipartUpload::builder().set_parts(Some(parts)).build(),
            Err(refusal) => return Err(self.abort(id, refusal).await),
        };
        let complete = self.s3.complete_multipart_upload().bucket(bucket).key(&self.full);
        let complete = complete.upload_id(id).multipart_upload(parts).set_if_none_match(condition.map(str::to_owned));
        match complete.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.abort(id, Refusal::of_conditional(&error)).await),
        }
    }

    async fn upload_parts(&self, id: &str, value: &Bytes) -> Answer<Vec<CompletedPart>> {
        let size = PART.max(value.len().div_ceil(MAX_PARTS));
        let mut starts = (0..value.len()).step_by(size).zip(1..);
        let mut running = JoinSet::new();
        let mut done = Vec::new();
        loop {
            while running.len() < PARALLEL
                && let Some((start, number)) = starts.next()
            {
                let body = value.slice(start..value.len().min(start + size));
                let part = self.s3.upload_part().bucket(&*self.store.bucket).key(&self.full).upload_id(id);
                let part = part.part_number(number).body(ByteStream::from(body));
                running.spawn(async move {
                    let sent = part.send().await.map_err(|e| Refusal::of(&e))?;
                    let tag = sent.e_tag().map(str::to_owned);
                    let crc = sent.checksum_crc32().map(str::to_owned);
                    Ok(CompletedPart::builder().part_number(number).set_e_tag(tag).set_checksum_crc32(crc).build())
                });
            }
            match running.join_next().await {
                Some(Ok(part)) => done.push(part?),
                Some(Err(error)) => return Err(Refusal::Other(error.to_string())),
                None => break,
            }
        }
        done.sort_unstable_by_key(CompletedPart::part_number);
        Ok(done)
    }

    /// Removes the parts of an upload that failed. If that fails, the bucket's lifecycle rule removes them.
    async fn abort(&self, id: &str, refusal: Refusal) -> Refusal {
        let abort = self.s3.abort_multipart_upload().bucket(&*self.store.bucket).key(&self.full);
        let _ = abort.upload_id(id).send().await;
        refusal
    }

    async fn read(self, range: Option<Range<u64>>) -> StoreResult<Vec<u8>> {
        keys::check_any(&self.key)?;
        let range = range.unwrap_or(0..u64::MAX);
        if range.is_empty() {
            return self.size().await.map(|_| Vec::new());
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.read_once(&range).await {
                Ok(value) => return Ok(value),
                Err(Refusal::PastEnd) => return Ok(Vec::new()),
                Err(Refusal::Changed | Refusal::BrokeOff(_)) if tries < 10 => {}
                Err(refusal) => return Err(self.error("read", refusal)),
            }
        }
    }

    /// Reads the first part, whose answer contains the total length, and then the other parts in parallel.
    async fn read_once(&self, range: &Range<u64>) -> Answer<Vec<u8>> {
        let first_end = range.end.min(range.start.saturating_add(PART as u64));
        let first = self.get(range.start..first_end, None).await?;
        let length = total_length(&first).ok_or_else(|| Refusal::Other("the answer of S3 has no length".to_owned()))?;
        let end = range.end.min(length);
        let total = usize::try_from(end.saturating_sub(range.start))
            .map_err(|_| Refusal::Other("it does not fit in memory".to_owned()))?;
        let tag = first.e_tag().map(str::to_owned);
        let range_start = range.start;
        let mut rest = BytesMut::with_capacity(total);
        let mut room = |length: usize| {
            let after = rest.split_off(length);
            std::mem::replace(&mut rest, after)
        };
        let mut running = JoinSet::new();
        let part = room(total.min(PART));
        running.spawn(async move { Ok((range_start, fill(part, first, total.min(PART)).await?)) });
        let mut starts = (first_end..end).step_by(PART);
        let mut parts = Vec::new();
        loop {
            while running.len() < PARALLEL
                && let Some(start) = starts.next()
            {
                let part_end = end.min(start + PART as u64);
                let length = (part_end - start) as usize;
                let part = room(length);
                let get = self.get_request(start..part_end, tag.clone());
                running.spawn(async move {
                    let answer = get.send().await.map_err(|e| Refusal::of(&e))?;
                    Ok((start, fill(part, answer, length).await?))
                });
            }
            match running.join_next().await {
                Some(Ok(part)) => parts.push(part?),
                Some(Err(error)) => return Err(Refusal::Other(error.to_string())),
                None => break,
            }
        }
        parts.sort_unstable_by_key(|(start, _)| *start);
        // The parts are pieces of one buffer, so nothing is copied.
        let mut whole = BytesMut::new();
        parts.into_iter().for_each(|(_, part)| whole.unsplit(part));
        Ok(whole.into())
    }

    fn get_request(
        &self,
        range: Range<u64>,
        tag: Option<String>,
    ) -> aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder {
        let last = range.end - 1;
        let get = self.s3.get_object().bucket(&*self.store.bucket).key(&self.full).set_if_match(tag);
        get.range(format!("bytes={}-{last}", range.start))
    }

    async fn get(&self, range: Range<u64>, tag: Option<String>) -> Answer<GetObjectOutput> {
        self.get_request(range, tag).send().await.map_err(|e| Refusal::of(&e))
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

/// Returns the length of the whole object of an answer.
fn total_length(answer: &GetObjectOutput) -> Option<u64> {
    match answer.content_range() {
        Some(range) => range.rsplit_once('/')?.1.parse().ok(),
        None => u64::try_from(answer.content_length()?).ok(),
    }
}

/// Reads a body of `length` bytes into a buffer with that capacity.
async fn fill(mut buffer: BytesMut, mut answer: GetObjectOutput, length: usize) -> Answer<BytesMut> {
    while let Some(chunk) = answer.body.next().await {
        let chunk = chunk.map_err(|e| Refusal::BrokeOff(format!("the connection was lost: {e}")))?;
        if buffer.len() + chunk.len() > length {
            return Err(Refusal::Other(format!("the body is longer than {length} bytes")));
        }
        buffer.extend_from_slice(&chunk);
    }
    if buffer.len() < length {
        return Err(Refusal::BrokeOff(format!("the body has only {} of {length} bytes", buffer.len())));
    }
    Ok(buffer)
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
