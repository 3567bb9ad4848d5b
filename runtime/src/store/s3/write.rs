//! Writes of objects: in one request or in parallel parts, with or without a condition.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::refusal::{Answer, Refusal};
use super::{PARALLEL, PART, Requests};
use crate::function::Backoff;
use crate::store::{StoreResult, check_key};

/// Maximum number of parts of a multipart upload ("Amazon S3 multipart upload limits").
const MAX_PARTS: usize = 10_000;

/// Metadata that names the writer of an object. A writer whose request was sent twice recognizes its own object by it.
const WRITER: &str = "wren-writer";

/// Number of retries of a conditional write that conflicts with another one.
const CONFLICTS: u32 = 50;

/// Pauses before these retries.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(20)).longest(Duration::from_millis(500));

impl Requests {
    pub(super) async fn write(self, value: Bytes, absent: bool) -> StoreResult<()> {
        check_key(&self.key)?;
        let mut conflicts = 0;
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
                    tokio::time::sleep(PAUSES.pause(conflicts, &mut fastrand::Rng::new())).await;
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
}
