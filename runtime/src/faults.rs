//! Seeded fault injection, to test a program against the faults of machines and networks: crashes, duplicates,
//! throttling, delays, lost results, lost writes.
//!
//! ```
//! use wren::faults::Faults;
//!
//! #[wren::remote]
//! fn triple(x: u64) -> u64 { 3 * x }
//!
//! # wren::block_on(async {
//! let faults = Faults::seeded(42).crash(0.1).duplicate(0.1).throttle(0.05);
//! let executor = wren::Executor::builder().backend("inline").faults(faults).build()?;
//! let tripled = wren::map(triple, 0..500).on(&executor).await?;
//! assert!(tripled.iter().copied().eq((0..500).map(|x| 3 * x)));
//! # Ok::<(), wren::Error>(()) }).unwrap();
//! ```

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::attempt::{Batch, BatchId, Reply, Results, RunningTask, Timing};
use crate::backend::{Backend, Placement};
use crate::error::{Failure, Result};
use crate::function::{Limits, framed};
use crate::scheduler;
use crate::store::{BoxFuture, Stat, Store, StoreError, StoreResult};

/// Maximum number of injected crashes of a task.
const CRASHES: u32 = 2;

/// The rate of each kind of fault, and the seed that decides when faults happen.
///
/// Rates are probabilities from 0 to 1, and 0 by default. A crash is decided separately for each attempt of a task.
/// From the third attempt on, a task never crashes: a task has three attempts by default, and a program under test
/// should finish. The other faults are decided for each batch of tasks or for each write to a store.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "faults have no effect until they are passed to an executor builder or put around a store"]
pub struct Faults {
    seed: u64,
    crash: f64,
    duplicate: f64,
    throttle: f64,
    delay: f64,
    longest_delay: Duration,
    lose_write: f64,
}

impl Faults {
    /// Creates a configuration without faults. `seed` decides when the faults that are added later happen.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            crash: 0.0,
            duplicate: 0.0,
            throttle: 0.0,
            delay: 0.0,
            longest_delay: Duration::ZERO,
            lose_write: 0.0,
        }
    }

    /// Loses the result of a task that ran, as if its worker had died before it reported the result.
    pub fn crash(mut self, rate: f64) -> Self {
        self.crash = rate;
        self
    }

    /// Makes the backend refuse a batch because of too much load.
    pub fn throttle(mut self, rate: f64) -> Self {
        self.throttle = rate;
        self
    }

    /// Delivers a batch of results twice.
    pub fn duplicate(mut self, rate: f64) -> Self {
        self.duplicate = rate;
        self
    }

    /// Delays a batch of results, or a write to the store, by up to `longest`. The thread that writes to the store
    /// sleeps during the delay.
    pub fn delay(mut self, rate: f64, longest: Duration) -> Self {
        self.delay = rate;
        self.longest_delay = longest;
        self
    }

    /// Makes a write to the store fail, before or after the value is stored.
    pub fn lose_write(mut self, rate: f64) -> Self {
        self.lose_write = rate;
        self
    }

    /// Wraps a store, so that it has these faults.
    pub fn around_store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let random = Mutex::new(fastrand::Rng::with_seed(self.seed));
        Arc::new(FaultyStore { inner: store, faults: self.clone(), random })
    }

    pub(crate) fn around(self, backend: Box<dyn Backend>) -> Box<dyn Backend> {
        let random = fastrand::Rng::with_seed(self.seed);
        Box::new(FaultyBackend { inner: backend, faults: self, random, spared: HashSet::new(), late: VecDeque::new() })
    }
}

struct FaultyBackend {
    inner: Box<dyn Backend>,
    faults: Faults,
    random: fastrand::Rng,
    /// Batches whose tasks must not crash, because of their attempt number.
    spared: HashSet<BatchId>,
    /// Delayed replies, each with the time of its delivery.
    late: VecDeque<(Duration, Reply)>,
}

impl fmt::Debug for FaultyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyBackend({:?})", self.faults)
    }
}

impl FaultyBackend {
    fn happens(&mut self, rate: f64) -> bool {
        rate > 0.0 && self.random.f64() < rate
    }

    /// Passes a reply on, with injected faults.
    fn inject(&mut self, reply: Reply, now: Duration, replies: &mut Vec<Reply>) {
        match reply {
            Reply::Done { batch_id, tasks, results, timing } => {
                for reply in self.crash_some(batch_id, tasks, results, timing) {
                    if self.happens(self.faults.duplicate) {
                        replies.extend(copy(&reply));
                    }
                    if self.happens(self.faults.delay) {
                        let late = self.faults.longest_delay.mul_f64(self.random.f64());
                        self.late.push_back((now + late, reply));
                    } else {
                        replies.push(reply);
                    }
                }
            }
            other => replies.push(other),
        }
    }

    /// Splits a batch of results at the tasks that crash.
    fn crash_some(&mut self, batch_id: BatchId, tasks: Range<u64>, results: Results, timing: Timing) -> Vec<Reply> {
        if self.faults.crash == 0.0 {
            return vec![Reply::Done { batch_id, tasks, results, timing }];
        }
        let results = results.into_packed();
        // A retried task is alone in its batch, so this reply is the only one of a spared batch.
        let spared = self.spared.remove(&batch_id);
        let mut out = Vec::new();
        let (mut first, mut from, mut at) = (tasks.start, 0, 0);
        for task in tasks.clone() {
            let piece = results.get(at..).and_then(framed::length);
            let end =
                piece.map_or(results.len(), |(len, behind)| (results.len() - behind.len() + len).min(results.len()));
            if !spared && self.happens(self.faults.crash) {
                if first < task {
                    let results = Results::packed(results[from..at].to_vec());
                    out.push(Reply::Done { batch_id, tasks: first..task, results, timing });
                }
                let failure = Failure::WorkerDied { signal: Some(9), exit_code: None };
                out.push(Reply::Failed { batch_id, task, failure, stderr: String::new(), timing });
                (first, from) = (task + 1, end);
            }
            at = end;
        }
        if first < tasks.end {
            let results = Results::packed(results[from..].to_vec());
            out.push(Reply::Done { batch_id, tasks: first..tasks.end, results, timing });
        }
        out
    }
}

fn copy(reply: &Reply) -> Option<Reply> {
    match reply {
        Reply::Done { batch_id, tasks, results, timing } => {
            Some(Reply::Done { batch_id: *batch_id, tasks: tasks.clone(), results: results.clone(), timing: *timing })
        }
        _ => None,
    }
}

impl Backend for FaultyBackend {
    fn slots(&self) -> usize {
        self.inner.slots()
    }

    fn workers(&self) -> usize {
        self.inner.workers()
    }

    fn placement(&self, function: &str, limits: &Limits) -> Result<Option<Placement>> {
        self.inner.placement(function, limits)
    }

    fn usd_per_second(&self) -> fn(Option<u32>) -> f64 {
        self.inner.usd_per_second()
    }

    fn tune(&self, config: &mut scheduler::SchedulerConfig) {
        self.inner.tune(config);
    }

    fn cancel_job(&mut self, run: &Arc<str>) {
        self.inner.cancel_job(run);
    }

    fn invoke(&mut self, batch: Batch, now: Duration, replies: &mut Vec<Reply>) {
        if self.happens(self.faults.throttle) {
            let message = "injected fault".to_owned();
            replies.push(Reply::Throttled { batch_id: batch.id, message });
            return;
        }
        if batch.attempt > CRASHES {
            self.spared.insert(batch.id);
        }
        self.inner.invoke(batch, now, replies);
    }

    fn reclaim(&mut self, batch_id: BatchId, replies: &mut Vec<Reply>) {
        self.inner.reclaim(batch_id, replies);
    }

    fn blocked(&mut self) -> usize {
        self.inner.blocked()
    }

    fn running(&mut self, now: Duration, running: &mut Vec<RunningTask>) -> bool {
        self.inner.running(now, running)
    }

    fn cancel(&mut self, batch_id: BatchId, now: Duration) {
        self.inner.cancel(batch_id, now);
    }

    fn poll(&mut self, now: Duration, replies: &mut Vec<Reply>) -> Option<Duration> {
        let mut came = Vec::new();
        let after = self.inner.poll(now, &mut came);
        for reply in came {
            self.inject(reply, now, replies);
        }
        let mut still = VecDeque::new();
        for (at, reply) in self.late.drain(..) {
            if at <= now {
                replies.push(reply);
            } else {
                still.push_back((at, reply));
            }
        }
        self.late = still;
        let next_late = self.late.iter().map(|(at, _)| at.saturating_sub(now)).min();
        [after, next_late].into_iter().flatten().min()
    }
}

/// A store with injected faults.
#[derive(Debug)]
struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Faults,
    random: Mutex<fastrand::Rng>,
}

/// The outcome of one write.
enum Write {
    Succeeds,
    FailsBefore,
    FailsAfter,
}

impl FaultyStore {
    /// Decides the outcome of a write, and its delay.
    fn decide(&self) -> (Write, Duration) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let late = if random.f64() < self.faults.delay { random.f64() } else { 0.0 };
        let write = match random.f64() < self.faults.lose_write {
            false => Write::Succeeds,
            true if random.bool() => Write::FailsBefore,
            true => Write::FailsAfter,
        };
        (write, self.faults.longest_delay.mul_f64(late))
    }

    fn lost(&self, key: &str) -> StoreError {
        StoreError::io(self.inner.url(), "write", key, "injected fault")
    }

    async fn inject<'a>(
        &'a self,
        key: &'a str,
        write: impl Future<Output = StoreResult<()>> + Send + 'a,
    ) -> StoreResult<()> {
        let (fate, late) = self.decide();
        if !late.is_zero() {
            std::thread::sleep(late);
        }
        match fate {
            Write::Succeeds => write.await,
            Write::FailsBefore => Err(self.lost(key)),
            Write::FailsAfter => {
                write.await?;
                Err(self.lost(key))
            }
        }
    }
}

impl Store for FaultyStore {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn put<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(self.inject(key, self.inner.put(key, value)))
    }

    fn put_file<'a>(&'a self, key: &'a str, path: &'a Path) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(self.inject(key, self.inner.put_file(key, path)))
    }

    fn scratch(&self) -> PathBuf {
        self.inner.scratch()
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(self.inject(key, self.inner.put_if_absent(key, value)))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        self.inner.get(key)
    }

    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> BoxFuture<'a, StoreResult<Vec<u8>>> {
        self.inner.get_range(key, range)
    }

    fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<u64>> {
        self.inner.size(key)
    }

    fn stat<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<Stat>> {
        self.inner.stat(key)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<String>>> {
        self.inner.list(prefix, after, limit)
    }

    fn list_stats<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<(String, Stat)>>> {
        self.inner.list_stats(prefix, after, limit)
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        self.inner.delete(key)
    }
}
