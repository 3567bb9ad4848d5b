//! Stores as wren's own code uses them, from async code ([`Requests`]) and from other code ([`wait`]).
//!
//! A store's future may block the thread that polls it, for as long as a disk takes. And a future that
//! awaits another event loop, as those of the S3 store do, must not be awaited by parking inside a poll:
//! tokio gives each poll of a task a budget of 128 such answers, and beyond it every one is "not yet", for
//! ever. So async code never touches a store by itself: each request runs on one of a few threads that are
//! for nothing else.

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

/// How many requests one job has under way at once: a store far away takes its time for each.
pub(crate) const SIDE_BY_SIDE: usize = 64;

/// Threads for requests, of all jobs together. They are started as they are needed.
const THREADS: usize = 256;

/// The event loop that wren's own tasks run on, beside whatever loop the program has. It is on a thread of
/// its own, and so are the requests that block: neither waits for the program's tasks.
pub(crate) fn event_loop() -> Result<Handle> {
    static LOOP: Mutex<Option<Handle>> = Mutex::new(None);
    Error::if_forked()?;
    let mut made = lock(&LOOP);
    if let Some(handle) = &*made {
        return Ok(handle.clone());
    }
    let refused = |e: std::io::Error| Error::Backend(format!("the system gives no event loop for the store: {e}"));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .thread_name("wren-store")
        // The last one stays: where the system has no more threads to give, requests wait for it.
        .thread_keep_alive(Duration::from_secs(3600))
        .build()
        .map_err(refused)?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    thread::Builder::new().name("wren-tasks".into()).spawn(run).map_err(refused)?;
    Ok(made.insert(handle).clone())
}

/// Runs what blocks on a thread that is for it. Dropped, the future no longer waits, and the work goes on.
pub(crate) async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (give, take) = tokio::sync::oneshot::channel();
    // Boxed, so that tokio's part is compiled once, and not for each kind of work: programs that are deployed are small.
    let work: Work = Box::new(move || drop(give.send(work())));
    event_loop()?.spawn_blocking(work).await.map_err(|error| broken(&error))?;
    take.await.map_err(|_| Error::Backend("a request to the store gave nothing; this is a defect of wren".to_owned()))
}

type Work = Box<dyn FnOnce() + Send>;

/// Does all work, many pieces of it at once, until a piece has failed.
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
    Error::Backend(format!("a request to the store ended early: {error}; this is a defect of the store's code"))
}

/// Runs a future to its end on this thread, for code that is not async. In async code it holds up the event
/// loop that called it, which is what [`Requests`] is for; but it does end there.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    // Timers and tasks that a store makes belong to wren's event loop: the one of this thread, if it has
    // one, does not turn meanwhile.
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

/// Waits on wren's own event loop: the caller's may be any, and may have no timers.
pub(crate) async fn sleep(pause: Duration) -> Result<()> {
    let slept = event_loop()?.spawn(async move { tokio::time::sleep(pause).await });
    slept.await.map_err(|error| broken(&error))
}

/// Stores a value if the key has none; gives whether it had none.
pub(crate) fn put_once(store: &dyn Store, key: &str, value: &[u8]) -> StoreResult<bool> {
    match wait(store.put_if_absent(key, value)) {
        Err(StoreError::AlreadyExists { .. }) => Ok(false),
        other => other.map(|()| true),
    }
}

/// The value of a key, or none.
pub(crate) fn find(store: &dyn Store, key: &str) -> StoreResult<Option<Vec<u8>>> {
    match wait(store.get(key)) {
        Err(StoreError::NotFound { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// The size of the value of a key, or none where it has no value.
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

    /// Whether they go to a store of this machine, where none costs money.
    pub(crate) fn are_free(&self) -> bool {
        ["file:", "memory:"].iter().any(|scheme| self.0.url().starts_with(scheme))
    }

    /// Makes a request.
    pub(crate) async fn make<T: Send + 'static>(
        &self,
        request: impl FnOnce(&dyn Store) -> StoreResult<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.0.clone();
        Ok(unblock(move || request(&*store)).await??)
    }

    /// Makes a request for each item, many of them at once; gives their answers in the order of the items.
    ///
    /// # Errors
    /// The first that comes.
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
        // Those that have no answer were not asked, because another one failed.
        Ok(answers.into_iter().flatten().collect::<StoreResult<_>>()?)
    }

    /// The value of a key, or none.
    pub(crate) async fn find(&self, key: String) -> Result<Option<Vec<u8>>> {
        self.make(move |store| find(store, &key)).await
    }

    pub(crate) async fn put(&self, key: String, value: Vec<u8>) -> Result<()> {
        self.make(move |store| wait(store.put(&key, &value))).await
    }

    /// Stores a value if the key has none; gives whether it had none.
    pub(crate) async fn put_if_absent(&self, key: String, value: Vec<u8>) -> Result<bool> {
        self.make(move |store| put_once(store, &key, &value)).await
    }

    /// All keys below a prefix.
    pub(crate) async fn list(&self, prefix: String) -> Result<Vec<String>> {
        /// Keys that are asked for at once. S3 gives a thousand an answer, and its store goes on by itself.
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

    /// Removes what is below a prefix.
    pub(crate) async fn remove_below(&self, prefix: String) -> Result<()> {
        let keys = self.list(prefix).await?;
        self.remove(keys).await
    }
}

/// Spawns what is to be done even if nobody awaits it.
#[cfg(feature = "data")]
pub(crate) fn spawn_last(task: impl Future<Output = ()> + Send + 'static) {
    // Without an event loop nothing was stored either.
    if let Ok(handle) = event_loop() {
        crate::platform::finish_before_exit(handle.spawn(task));
    }
}
