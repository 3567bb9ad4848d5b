//! Finds the outcomes of events in the store, by listing.
//!
//! Outcomes lie under the numbers of their batches, which grow. A listing begins at the first batch
//! that is still out and skips stretches where none is, so that a straggler costs one page and not
//! all behind it; while nothing comes, pauses grow. The number of listings thus grows with the
//! outcomes that come, and not with tasks times looks.

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

/// The pause between two looks: while outcomes come, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Keys of one listing: what S3 gives in one answer.
const PAGE: usize = 1_000;

/// Outcomes that are fetched at once.
const FETCHES: usize = 64;

/// Batches whose outcomes are to be found in the store.
pub(super) struct Watch {
    out: Mutex<Out>,
    news: Notify,
    fetches: Arc<Semaphore>,
}

#[derive(Default)]
struct Out {
    runs: BTreeMap<Arc<str>, BTreeMap<BatchId, Batch>>,
    /// Whether somebody looks.
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
            // The loop ends with the backend.
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

    /// The batches of a run that are out, from a number on.
    fn in_flight_from(&self, run: &str, from: BatchId) -> BTreeSet<BatchId> {
        let out = self.out();
        out.runs.get(run).map(|batches| batches.range(from..).map(|(id, _)| *id).collect()).unwrap_or_default()
    }
}

/// Looks for outcomes until the backend is gone.
async fn watch(weak: Weak<LambdaState>) {
    let mut pause = PAUSE.0;
    loop {
        let Some(shared) = weak.upgrade() else { return };
        let runs = shared.watch.runs();
        if runs.is_empty() {
            // Woken now and then, to see that the backend is gone.
            let _ = tokio::time::timeout(PAUSE.1, shared.watch.news.notified()).await;
            pause = PAUSE.0;
            continue;
        }
        let mut found = 0;
        for run in runs {
            match look(&shared, &run).await {
                Ok(batches) => found += batches,
                // The store retries by itself: what fails here fails for long.
                Err(error) => fail_run(&shared, &run, &error),
            }
        }
        drop(shared);
        pause = if found > 0 { PAUSE.0 } else { (pause * 3 / 2).min(PAUSE.1) };
        tokio::time::sleep(pause).await;
    }
}

/// Lists what may be there of a run, and fetches what is. Gives how many outcomes were found.
async fn look(shared: &Arc<LambdaState>, run: &Arc<str>) -> StoreResult<usize> {
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
                    // A closed semaphore would be no reason to stop.
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
        Ok(outcome) => shared.give_outcome(batch.id, outcome),
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

    /// 20,000 batches, 1,000 at once, which end in random order, but for the first, which never ends.
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
        let mut looks = 0;
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
            looks += 1;
            runtime.block_on(look(&shared, &run)).unwrap();
        }
        let mut done: Vec<u64> = (1..BATCHES)
            .map(|_| match replies.recv_timeout(Duration::from_secs(10)).unwrap() {
                super::super::Reply::Done { batch_id, .. } => batch_id,
                other => panic!("{other:?}"),
            })
            .collect();
        done.sort_unstable();
        assert!(done.into_iter().eq(2..=BATCHES), "each once, but for the straggler");
        let listings = store.1.load(Ordering::Relaxed);
        // Not 1,000 batches × 100 looks, and not 20 pages × 100 looks.
        assert!(listings < BATCHES as usize / 20, "{listings} listings in {looks} looks for {BATCHES} batches");
    }
}
