//! The use of stores in wren's own code, from async code ([`Requests`]) and from other code ([`wait`]).
//!
//! A store's future may block the thread that polls it while a disk works. And a future that awaits another async
//! runtime, such as those of the S3 store, must not be awaited by parking the thread inside a poll: tokio gives each
//! poll of a task a budget of 128 ready results, and after that every result is `Pending`, for ever. So async code
//! never calls a store directly: each request runs on a thread that is reserved for requests.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;

use super::{Store, StoreError, StoreResult};
use crate::error::{Error, Result};

/// Number of requests that one job sends at once, because a remote store takes long for each.
pub(crate) const SIDE_BY_SIDE: usize = 64;

/// Maximum number of threads for the requests of all jobs. Threads are started on demand.
const THREADS: usize = 256;

/// Returns the async runtime for wren's own tasks, separate from any runtime of the program. It has its own thread, and
/// so have blocking requests: neither waits for the program's tasks.
pub(crate) fn event_loop() -> Result<Handle> {
    static LOOP: Mutex<Option<Handle>> = Mutex::new(None);
    Error::if_forked()?;
    let mut made = lock(&LOOP);
    if let Some(handle) = &*made {
        return Ok(handle.clone());
    }
    let refused = |e: std::io::Error| Error::Backend(format!("cannot create the async runtime for the store: {e}"));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .thread_name("wren-store")
        // Keep idle threads for long: if the system refuses new threads, requests wait for an existing one.
        .thread_keep_alive(Duration::from_secs(3600))
        .build()
        .map_err(refused)?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    thread::Builder::new().name("wren-tasks".into()).spawn(run).map_err(refused)?;
    Ok(made.insert(handle).clone())
}

/// Runs blocking work on a thread for such work. If the future is dropped, the work continues.
pub(crate) async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (give, take) = tokio::sync::oneshot::channel();
    // Boxed, so that tokio's code is compiled once and not for each kind of work: it keeps deployed programs small.
    let work: Work = Box::new(move || drop(give.send(work())));
    event_loop()?.spawn_blocking(work).await.map_err(|error| broken(&error))?;
    take.await.map_err(|_| Error::Backend("a request to the store returned nothing; this is a bug in wren".to_owned()))
}

type Work = Box<dyn FnOnce() + Send>;

/// Runs all work, up to [`SIDE_BY_SIDE`] pieces at once, and starts no more after one has failed.
async fn side_by_side(works: Vec<Work>, has_failed: &AtomicBool) -> Result<()> {
    let handle = event_loop()?;
    let mut works = works.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < SIDE_BY_SIDE
            && !has_failed.load(Ordering::Acquire)
            && let Some(work) = works.next()
        {
            under_way.spawn_blocking_on(work, &handle);
        }
        match under_way.join_next().await {
            Some(done) => done.map_err(|error| broken(&error))?,
            None => return Ok(()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken(error: &tokio::task::JoinError) -> Error {
    Error::Backend(format!("a request to the store ended early: {error}; this is a bug in the store's code"))
}

/// Runs a future to completion on this thread, for code that is not async. In async code it blocks the calling
/// runtime's thread, but it still completes; use [`Requests`] there instead.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    // Timers and tasks that a store creates belong to wren's runtime: the runtime of this thread, if there is one, is
    // blocked in the meantime.
    let handle = event_loop().ok();
    let _entered = handle.as_ref().map(Handle::enter);
    let mut future = pin!(tokio::task::unconstrained(future));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Sleeps on wren's own runtime, because the caller's runtime may have no timers.
pub(crate) async fn sleep(pause: Duration) -> Result<()> {
    let slept = event_loop()?.spawn(async move { tokio::time::sleep(pause).await });
    slept.await.map_err(|error| broken(&error))
}

/// Stores a value if the key has none. Returns whether the value was stored.
pub(crate) fn put_once(store: &dyn Store, key: &str, value: &[u8]) -> StoreResult<bool> {
    match wait(store.put_if_absent(key, value)) {
        Err(StoreError::AlreadyExists { .. }) => Ok(false),
        other => other.map(|()| true),
    }
}

/// Returns the value of a key, or `None` if it has none.
pub(crate) fn find(store: &dyn Store, key: &str) -> StoreResult<Option<Vec<u8>>> {
    match wait(store.get(key)) {
        Err(StoreError::NotFound { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// Returns the size of the value of a key, or `None` if it has no value.
pub(crate) fn find_size(store: &dyn Store, key: &str) -> StoreResult<Option<u64>> {
    match wait(store.size(key)) {
        Err(StoreError::NotFound { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// A store for async code.
#[derive(Debug, Clone)]
pub(crate) struct Requests(Arc<dyn Store>);

impl Requests {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.0
    }

    /// Returns whether requests are free of charge, because the store is on this machine.
    pub(crate) fn are_free(&self) -> bool {
        ["file:", "memory:"].iter().any(|scheme| self.0.url().starts_with(scheme))
    }

    /// Runs a request.
    pub(crate) async fn make<T: Send + 'static>(
        &self,
        request: impl FnOnce(&dyn Store) -> StoreResult<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.0.clone();
        Ok(unblock(move || request(&*store)).await??)
    }

    /// Runs a request for each item, many of them at once. Returns their results in the order of the items.
    ///
    /// # Errors
    /// The error of the first item, in their order, whose request failed. No more requests are started after a failure.
    pub(crate) async fn for_each<I, T>(
        &self,
        items: impl IntoIterator<Item = I>,
        request: impl Fn(&dyn Store, I) -> StoreResult<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>>
    where
        I: Send + 'static,
        T: Send + 'static,
    {
        let request = Arc::new(request);
        let answers: Arc<Mutex<Vec<Option<StoreResult<T>>>>> = Arc::default();
        let has_failed = Arc::new(AtomicBool::new(false));
        let mut works: Vec<Work> = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let (store, request) = (self.0.clone(), request.clone());
            let (answers, has_failed) = (answers.clone(), has_failed.clone());
            works.push(Box::new(move || {
                let answer = request(&*store, item);
                if answer.is_err() {
                    has_failed.store(true, Ordering::Release);
                }
                lock(&answers)[index] = Some(answer);
            }));
        }
        lock(&answers).resize_with(works.len(), || None);
        side_by_side(works, &has_failed).await?;
        let answers = std::mem::take(&mut *lock(&answers));
        // Requests without a result were not started, because another one failed.
        Ok(answers.into_iter().flatten().collect::<StoreResult<_>>()?)
    }

    /// Returns the value of a key, or `None` if it has none.
    pub(crate) async fn find(&self, key: String) -> Result<Option<Vec<u8>>> {
        self.make(move |store| find(store, &key)).await
    }

    pub(crate) async fn put(&self, key: String, value: Vec<u8>) -> Result<()> {
        self.make(move |store| wait(store.put(&key, &value))).await
    }

    /// Stores a value if the key has none. Returns whether the value was stored.
    pub(crate) async fn put_if_absent(&self, key: String, value: Vec<u8>) -> Result<bool> {
        self.make(move |store| put_once(store, &key, &value)).await
    }

    /// Returns all keys that start with a prefix.
    pub(crate) async fn list(&self, prefix: String) -> Result<Vec<String>> {
        /// Number of keys to request at once. S3 returns 1,000 per answer; its store requests the next ones by itself.
        const PAGE: usize = 100_000;
        let list = self.make(move |store| {
            let mut keys: Vec<String> = Vec::new();
            loop {
                let mut page = wait(store.list(&prefix, keys.last().map(String::as_str), PAGE))?;
                if page.is_empty() {
                    return Ok(keys);
                }
                keys.append(&mut page);
            }
        });
        list.await
    }

    pub(crate) async fn exists(&self, key: String) -> Result<bool> {
        let found = self.make(move |store| {
            let found = wait(store.list(&key, None, 1))?;
            Ok(found.first() == Some(&key))
        });
        found.await
    }

    /// Removes keys.
    pub(crate) async fn remove(&self, keys: Vec<String>) -> Result<()> {
        self.for_each(keys, |store, key| wait(store.delete(&key))).await.map(drop)
    }

    /// Removes all keys that start with a prefix.
    pub(crate) async fn remove_below(&self, prefix: String) -> Result<()> {
        let keys = self.list(prefix).await?;
        self.remove(keys).await
    }
}

/// Spawns a task that finishes before the program exits, even if it is not awaited.
#[cfg(feature = "data")]
pub(crate) fn spawn_last(task: impl Future<Output = ()> + Send + 'static) {
    // Without a runtime, nothing was stored either.
    if let Ok(handle) = event_loop() {
        crate::platform::finish_before_exit(handle.spawn(task));
    }
}
