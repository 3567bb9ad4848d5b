//! Reads of objects, of which long ones are read in parallel parts.

use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::BytesMut;
use tokio::task::JoinSet;

use super::refusal::{Answer, Refusal};
use super::{PARALLEL, PART, Requests, keys};
use crate::store::StoreResult;

impl Requests {
    pub(super) async fn read(self, range: Option<Range<u64>>) -> StoreResult<Vec<u8>> {
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
