//! Reads a store's value ahead: the next parts come while the present one is processed.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::store::{self, Store, StoreResult};

/// Bytes of a request. One connection to S3 moves 85–90 MB/s, and 8–16 MB is what AWS recommends
/// ("Performance guidelines for Amazon S3").
const PART: u64 = 8 << 20;

/// Requests under way at once. With the part that is processed, three parts are in memory.
const REQUESTS: usize = 2;

/// How many bytes were asked for, and what came.
type Part = StoreResult<(u64, Vec<u8>)>;

/// Parts of a range in order. Dropping it ends the thread that fetches, after the requests that are
/// under way.
#[derive(Debug)]
pub(super) struct Ahead(Receiver<Part>);

impl Ahead {
    /// Begins to fetch a range, if it is longer than one part: otherwise there is nothing to do
    /// meanwhile.
    pub(super) fn start(store: &Arc<dyn Store>, key: &str, range: Range<u64>) -> io::Result<Option<Self>> {
        if range.end.saturating_sub(range.start) <= PART {
            return Ok(None);
        }
        let (sender, parts) = sync_channel(0);
        let (store, key) = (store.clone(), key.to_owned());
        thread::Builder::new().name("wren-read-ahead".into()).spawn(move || fetch(&*store, &key, range, &sender))?;
        Ok(Some(Self(parts)))
    }

    /// The next part, or `None` behind the range and behind an error.
    pub(super) fn next(&self) -> Option<Part> {
        self.0.recv().ok()
    }
}

fn fetch(store: &dyn Store, key: &str, range: Range<u64>, parts: &SyncSender<Part>) {
    let mut at = range.start;
    while at < range.end {
        let mut requests = Vec::new();
        while requests.len() < REQUESTS && at < range.end {
            let part = at..range.end.min(at + PART);
            at = part.end;
            requests.push(async move {
                let asked = part.end - part.start;
                store.get_range(key, part).await.map(|bytes| (asked, bytes))
            });
        }
        for part in store::wait(store::all_of(requests)) {
            let failed = part.is_err();
            if parts.send(part).is_err() || failed {
                return;
            }
        }
    }
}
