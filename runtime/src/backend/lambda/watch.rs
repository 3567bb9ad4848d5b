//! Finds the outcomes of events by listing the store.
//!
//! The key of an outcome ends with the id of its batch, and ids grow. A listing starts at the first batch that is still
//! outstanding and skips ranges without outstanding batches, so a straggler costs one page and not all pages after it.
//! While no outcomes arrive, pauses grow. The number of listings is therefore proportional to the number of outcomes,
//! not to tasks times polls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::{Batch, BatchId, LambdaState};
use crate::aws;
use crate::backend::lambda::wire;
use crate::codec::envelope;
use crate::error::Failure;
use crate::store::{StoreError, StoreResult};

/// The pause between two polls: the shortest, while outcomes arrive, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Number of keys in one listing: the maximum in one response of S3.
const PAGE: usize = 1_000;

/// Maximum number of outcomes that are fetched at once.
const FETCHES: usize = 64;

/// Batches whose outcomes are expected in the store.
pub(super) struct Watch {
    out: Mutex<Out>,
    news: Notify,
    fetches: Arc<Semaphore>,
}

#[derive(Default)]
struct Out {
    runs: BTreeMap<Arc<str>, BTreeMap<BatchId, Batch>>,
    /// Whether the polling loop has been started.
    watched: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self { out: Mutex::default(), news: Notify::new(), fetches: Arc::new(Semaphore::new(FETCHES)) }
    }
}

impl Watch {
    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, shared: &Arc<LambdaState>, run: &Arc<str>, batch: &Batch) {
        let mut out = self.out();
        out.runs.entry(run.clone()).or_default().insert(batch.id, batch.clone());
        if !out.watched {
            out.watched = true;
            let weak = Arc::downgrade(shared);
            // The loop ends when the backend is dropped.
            if let Ok(runtime) = aws::runtime() {
                runtime.spawn(watch(weak));
            }
        }
        drop(out);
        self.news.notify_one();
    }

    pub(super) fn forget(&self, run: &str, batch_id: BatchId) {
        self.take(run, batch_id);
    }

    pub(super) fn forget_all(&self, run: &str) {
        self.out().runs.remove(run);
    }

    fn take(&self, run: &str, batch_id: BatchId) -> Option<Batch> {
        let mut out = self.out();
        let batches = out.runs.get_mut(run)?;
        let taken = batches.remove(&batch_id);
        if batches.is_empty() {
            out.runs.remove(run);
        }
        taken
    }

    fn runs(&self) -> Vec<Arc<str>> {
        self.out().runs.keys().cloned().collect()
    }

    /// Returns the outstanding batches of a run, from an id on.
    fn in_flight_from(&self, run: &str, from: BatchId) -> BTreeSet<BatchId> {
        let out = self.out();
        out.runs.get(run).map(|batches| batches.range(from..).map(|(id, _)| *id).collect()).unwrap_or_default()
    }
}

/// Polls for outcomes until the backend is dropped.
async fn watch(weak: Weak<LambdaState>) {
    let mut pause = PAUSE.0;
    loop {
        let Some(shared) = weak.upgrade() else { return };
        let runs = shared.watch.runs();
        if runs.is_empty() {
            // Wakes up regularly to notice that the backend was dropped.
            let _ = tokio::time::timeout(PAUSE.1, shared.watch.news.notified()).await;
            pause = PAUSE.0;
            continue;
        }
        let mut found = 0;
        for run in runs {
            match poll(&shared, &run).await {
                Ok(batches) => found += batches,
                // The store retries by itself, so an error here will last.
                Err(error) => fail_run(&shared, &run, &error),
            }
        }
        drop(shared);
        pause = if found > 0 { PAUSE.0 } else { (pause * 3 / 2).min(PAUSE.1) };
        tokio::time::sleep(pause).await;
    }
}

/// Lists the outcomes of a run, and starts to fetch the outstanding ones. Returns how many it found.
async fn poll(shared: &Arc<LambdaState>, run: &Arc<str>) -> StoreResult<usize> {
    let prefix = wire::done_key(run, 0);
    let prefix = &prefix[..prefix.len() - 12];
    let mut found = 0;
    let mut from = 0;
    loop {
        let out = shared.watch.in_flight_from(run, from);
        let Some(first) = out.first() else { return Ok(found) };
        let before = wire::done_key(run, first.saturating_sub(1));
        let keys = shared.store.list(prefix, Some(&before), PAGE).await?;
        let batches: Vec<BatchId> = keys.iter().filter_map(|key| key.strip_prefix(prefix)?.parse().ok()).collect();
        for batch_id in batches.iter().filter(|batch_id| out.contains(batch_id)) {
            if let Some(batch) = shared.watch.take(run, *batch_id) {
                found += 1;
                let (shared, run) = (shared.clone(), run.clone());
                tokio::spawn(async move {
                    // If the semaphore were closed, the outcome would be fetched without a permit.
                    let _permit = shared.watch.fetches.clone().acquire_owned().await.ok();
                    fetch(&shared, &run, &batch).await;
                });
            }
        }
        match batches.last() {
            Some(last) if keys.len() >= PAGE => from = last + 1,
            _ => return Ok(found),
        }
    }
}

/// Fetches the outcome of a batch that has one in the store.
pub(super) async fn fetch(shared: &Arc<LambdaState>, run: &Arc<str>, batch: &Batch) {
    let key = wire::done_key(run, batch.id);
    let outcome = shared.store.get(&key).await.and_then(|sealed| {
        let store = shared.store.url();
        envelope::open(&sealed).map_err(|reason| StoreError::Damaged { store, key, reason })
    });
    match outcome {
        Ok(outcome) => shared.send_outcome(batch.id, outcome),
        Err(error) => shared.fail_all(batch, &Failure::Store(error)),
    }
}

fn fail_run(shared: &Arc<LambdaState>, run: &Arc<str>, error: &StoreError) {
    let batches = shared.watch.out().runs.remove(run).unwrap_or_default();
    for batch in batches.values() {
        shared.fail_all(batch, &Failure::Store(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::attempt::TaskBlock;
    use crate::aws::deployment::Deployment;
    use crate::backend::WakeHandle;
    use crate::backend::lambda::wire::{BatchOutcome, Part, Report};
    use crate::function::Limits;
    use crate::platform::Notifier;
    use crate::store::{BoxFuture, MemoryStore, Store};

    /// Counts listings.
    #[derive(Debug)]
    struct Counting(Arc<dyn Store>, AtomicUsize);

    impl Store for Counting {
        fn url(&self) -> String {
            self.0.url()
        }
        fn is_shared(&self) -> bool {
            self.0.is_shared()
        }
        fn put<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
            self.0.put(key, value)
        }
        fn put_if_absent<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
            self.0.put_if_absent(key, value)
        }
        fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
            self.0.get(key)
        }
        fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
            self.0.get_range(key, range)
        }
        fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<u64>> {
            self.0.size(key)
        }
        fn list<'a>(
            &'a self,
            prefix: &'a str,
            after: Option<&'a str>,
            limit: usize,
        ) -> BoxFuture<'a, StoreResult<Vec<String>>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.list(prefix, after, limit)
        }
        fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
            self.0.delete(key)
        }
    }

    /// Runs 20,000 batches, 1,000 at once, which end in random order, except for the first, which never ends.
    #[test]
    fn listings_grow_with_outcomes_and_not_with_batches() {
        const BATCHES: u64 = 20_000;
        let store = Arc::new(Counting(MemoryStore::named("watch-test"), AtomicUsize::new(0)));
        let (sender, replies) = mpsc::channel();
        let wake_handle = WakeHandle(Notifier::new().unwrap());
        let shared = Arc::new(LambdaState::new(Deployment::dummy(), store.clone(), 0, sender, wake_handle));
        let run: Arc<str> = "job.1".into();
        let block = TaskBlock::dummy(0..BATCHES + 1, "f", Limits::default());
        let mut random = fastrand::Rng::with_seed(7);
        let mut out = Vec::new();
        let mut next = 1;
        let mut polls = 0;
        let runtime = aws::runtime().unwrap();
        while next <= BATCHES || out.len() > 1 {
            while out.len() < 1_000 && next <= BATCHES {
                let tasks = next..next + 1;
                let batch = Batch { id: next, job_run: None, tasks, attempt: 1, block: block.clone() };
                shared.watch.out().runs.entry(run.clone()).or_default().insert(next, batch);
                out.push(next);
                next += 1;
            }
            for _ in 0..200.min(out.len() - 1) {
                let batch_id = out.swap_remove(random.usize(1..out.len()));
                let results = batch_id.to_le_bytes().to_vec();
                let part = Part::Done { first: batch_id, count: 1, results, ran: Default::default() };
                let outcome = BatchOutcome { parts: vec![part], report: Report::default() };
                let sealed = envelope::seal(&outcome).unwrap();
                crate::store::wait(store.put(&wire::done_key(&run, batch_id), &sealed)).unwrap();
            }
            polls += 1;
            runtime.block_on(poll(&shared, &run)).unwrap();
        }
        let mut done: Vec<u64> = (1..BATCHES)
            .map(|_| match replies.recv_timeout(Duration::from_secs(60)).unwrap() {
                super::super::Reply::Done { batch_id, .. } => batch_id,
                other => panic!("{other:?}"),
            })
            .collect();
        done.sort_unstable();
        assert!(done.into_iter().eq(2..=BATCHES), "each outcome once, except for the straggler");
        let listings = store.1.load(Ordering::Relaxed);
        // Far fewer than 1,000 batches × 100 polls, and than 20 pages × 100 polls.
        assert!(listings < BATCHES as usize / 20, "{listings} listings in {polls} polls for {BATCHES} batches");
    }
}
