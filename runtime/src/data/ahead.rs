//! Reads a store's value ahead: the next parts are fetched while the current one is processed.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::store::{self, Store, StoreResult};

/// Size of a request, in bytes. One connection to S3 moves 85–90 MB/s, and AWS recommends requests of 8–16 MB
/// ("Performance guidelines for Amazon S3").
const PART: u64 = 8 << 20;

/// Number of concurrent requests. Together with the part that is being processed, three parts are in memory.
const REQUESTS: usize = 2;

/// The number of bytes requested, and the bytes received.
type Part = StoreResult<(u64, Vec<u8>)>;

/// The parts of a range, in order. Dropping it ends the fetching thread after its pending requests.
#[derive(Debug)]
pub(super) struct Ahead(Receiver<Part>);

impl Ahead {
    /// Starts to fetch a range. Returns `None` if the range fits in one part: there is no next part to fetch meanwhile.
    pub(super) fn start(store: &Arc<dyn Store>, key: &str, range: Range<u64>) -> io::Result<Option<Self>> {
        if range.end.saturating_sub(range.start) <= PART {
            return Ok(None);
        }
        let (sender, parts) = sync_channel(0);
        let (store, key) = (store.clone(), key.to_owned());
        thread::Builder::new().name("wren-read-ahead".into()).spawn(move || fetch(&*store, &key, range, &sender))?;
        Ok(Some(Self(parts)))
    }

    /// Returns the next part, or `None` after the end of the range and after an error.
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
