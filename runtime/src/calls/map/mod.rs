//! Many calls as one job: [`map`] and [`gather`].

mod calls;
mod collect;
mod feed;
mod stream;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::num::NonZeroUsize;
use std::pin::Pin;

use futures_core::Stream;
use serde::de::DeserializeOwned;

use crate::calls::Call;
use crate::calls::job::Job;
use crate::error::{Error, Result};
use crate::executor::{Executor, ResultPolicy, Settings};
use crate::function::{Backoff, Timeout};
#[cfg(feature = "data")]
use crate::history::Stage;
use crate::store::Ref;

pub(crate) use calls::Calls;
use calls::Source;
pub use calls::StreamCalls;
use collect::{Collect, TryAll};
use feed::Feed;
pub use stream::MapStream;

/// Applies a remote function to every item, as one job.
///
/// `f` turns an item into a call; often it is the remote function itself, or a closure that captures values that all
/// calls share. Awaiting the job returns all results in the order of the items.
///
/// ```
/// #[wren::remote]
/// fn cube(x: u64) -> u64 { x * x * x }
///
/// #[wren::remote]
/// fn scale(x: u64, factors: &[u64]) -> u64 { factors.iter().map(|f| f * x).sum() }
///
/// # wren::block_on(async {
/// let cubes = wren::map(cube, 0..5).await?;
/// assert_eq!(cubes, [0, 1, 8, 27, 64]);
///
/// let factors = vec![1, 2, 3];
/// let scaled = wren::map(|x| scale(x, &factors), [10, 20]).await?;
/// assert_eq!(scaled, [60, 120]);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
///
/// To map a function of `&str` over a `Vec<String>`: `wren::map(f, lines.iter().map(String::as_str))`.
pub fn map<I, F, C>(f: F, items: I) -> Map<std::iter::Map<I::IntoIter, F>, C::Output>
where
    I: IntoIterator,
    F: FnMut(I::Item) -> C,
    C: RemoteCall,
{
    Map::new(Source::iterator(items.into_iter().map(f)))
}

/// Like [`map`], for items that arrive one by one: from a channel, a socket, or a directory that is being read.
///
/// Items are taken as they arrive, and calls run meanwhile. The caller's async runtime is not blocked.
///
/// ```
/// use futures_util::stream;
///
/// #[wren::remote]
/// fn length(line: &str) -> usize { line.len() }
///
/// # wren::block_on(async {
/// let lines = stream::iter(["to", "be", "or"]);
/// let lengths = wren::map_stream(length, lines).await?;
/// assert_eq!(lengths, [2, 2, 2]);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
pub fn map_stream<S, F, C>(f: F, items: S) -> Map<StreamCalls<S, F>, C::Output>
where
    S: Stream,
    F: FnMut(S::Item) -> C,
    C: RemoteCall,
{
    Map::new(Source::<(), _>::stream(items, f))
}

/// Runs existing calls, of one or several functions, as one job.
///
/// ```
/// #[wren::remote]
/// fn double(x: u64) -> u64 { 2 * x }
///
/// #[wren::remote]
/// fn square(x: u64) -> u64 { x * x }
///
/// # wren::block_on(async {
/// let both = wren::gather([double(5), square(5)]).await?;
/// assert_eq!(both, [10, 25]);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
pub fn gather<I, C>(calls: I) -> Map<I::IntoIter, C::Output>
where
    I: IntoIterator<Item = C>,
    C: RemoteCall,
{
    Map::new(Source::iterator(calls.into_iter()))
}

/// A call of a remote function, which the function that is passed to [`map`] must return. Only [`Call`] implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a call of a function with `#[wren::remote]`",
    label = "expected a call of a remote function, found `{Self}`",
    note = "put `#[wren::remote]` on the `fn`, and pass its name or a closure that calls it: \
            `wren::map(|x| f(x, &model), items)`",
    note = "a closure runs in this process: only the remote functions that it calls run in workers"
)]
pub trait RemoteCall: sealed::Sealed {
    /// The result of the call.
    type Output;

    #[doc(hidden)]
    fn into_call(self) -> Call<Self::Output>;
}

#[diagnostic::do_not_recommend]
impl<R> RemoteCall for Call<R> {
    type Output = R;

    fn into_call(self) -> Self {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl<R> Sealed for crate::calls::Call<R> {}
}

/// A job that has not started: await it, or first choose how it runs and what it returns.
///
/// | expression | returns |
/// | --- | --- |
/// | `.await` | `Result<Vec<R>>` in the order of the items; the first failure cancels the rest |
/// | [`.try_all().await`](Map::try_all) | `Result<Vec<Result<R>>>`, each task's own outcome |
/// | [`.stream()`](Map::stream) | a [`MapStream`] of `(index, Result<R>)` as they complete |
/// | [`.refs().await`](Map::refs) | `Result<Vec<Ref<R>>>`, results left in the store |
/// | [`.start().await`](Map::start) | a [`Job`] that runs by itself |
#[must_use = "jobs are lazy: they run when awaited, streamed or started"]
pub struct Map<I, R> {
    calls: Source<I, R>,
    settings: Settings,
    executor: Option<Executor>,
}

impl<I, R> fmt::Debug for Map<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({:?})", self.settings)
    }
}

impl<I, R> Map<I, R> {
    fn new(calls: Source<I, R>) -> Self {
        Self { calls, settings: Settings::default(), executor: None }
    }

    /// Names the job, so that it can be resumed: if it runs again under the same name, with the same functions and
    /// arguments, it executes only the tasks that have not succeeded.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Sends `n` calls in one batch, in place of a number that depends on their measured duration. Batches are smaller
    /// if workers would otherwise be idle. 0 counts as 1.
    pub fn chunk(mut self, n: usize) -> Self {
        self.settings.chunk = NonZeroUsize::new(n.max(1));
        self
    }

    /// Runs at most `n` calls at once, and takes only a few more from the iterator. 0 counts as 1.
    pub fn concurrency(mut self, n: usize) -> Self {
        self.settings.concurrency = NonZeroUsize::new(n.max(1));
        self
    }

    /// Stops the job before it costs more than `usd` dollars. Local work costs nothing.
    ///
    /// A running call counts with the mean cost of earlier calls of its function. Once it has run for longer than that,
    /// it counts with its time so far and the time that stopping it takes, five seconds on AWS Lambda. If calls take
    /// much longer than earlier ones, the job can exceed the budget by some seconds of the calls that are running at
    /// that time.
    pub fn budget(mut self, usd: f64) -> Self {
        self.settings.budget_usd = Some(usd);
        self
    }

    /// Limits each call's memory to `mb` megabytes, in place of the annotation's limit.
    pub fn memory(mut self, mb: u32) -> Self {
        self.settings.limits.memory_mb = Some(mb);
        self
    }

    /// Limits each call's duration to `limit`, in place of the annotation's limit: a [`Duration`](std::time::Duration)
    /// or a number of seconds.
    pub fn timeout(mut self, limit: impl Timeout) -> Self {
        self.settings.limits.timeout = Some(limit.into_duration());
        self
    }

    /// Runs each call again up to `retries` times if it panics or returns `Err`, in place of the annotation's number.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.limits.retries = Some(retries);
        self
    }

    /// Sets how long to wait before a call is run again, in place of the annotation's backoff.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.limits.backoff = Some(backoff);
        self
    }

    /// Never runs a call twice; see [`Call::at_most_once`].
    pub fn at_most_once(mut self) -> Self {
        self.settings.limits.at_most_once = true;
        self
    }

    /// Shows no progress bar and no summary.
    pub fn quiet(mut self) -> Self {
        self.settings.quiet = true;
        self
    }

    /// Marks the job as a stage of a computation, in its log.
    #[cfg(feature = "data")]
    pub(crate) fn in_stage(mut self, stage: Stage) -> Self {
        self.settings.stage = Some(stage);
        self
    }

    /// Runs the job on the given executor.
    pub fn on(mut self, executor: &Executor) -> Self {
        self.executor = Some(executor.clone());
        self
    }
}

impl<I, R> Map<I, R> {
    fn feed(self, keep: ResultPolicy) -> Result<Feed<Source<I, R>>> {
        Error::if_forked()?;
        let executor = self.executor.map_or_else(Executor::current, Executor::for_caller)?;
        Ok(Feed::open(executor, self.calls, self.settings, keep))
    }

    /// Returns every task's own outcome, in the order of the items. A failure does not cancel other tasks.
    ///
    /// ```
    /// #[wren::remote]
    /// fn parse(text: &str) -> Result<u32, std::num::ParseIntError> { text.parse() }
    ///
    /// # wren::block_on(async {
    /// let outcomes = wren::map(parse, ["7", "seven"]).try_all().await?;
    /// assert_eq!(outcomes[0], Ok(7));
    /// assert!(matches!(outcomes[1], Err(wren::Error::Returned { .. })));
    /// # Ok::<(), wren::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Only errors of the whole job: settings, the store, the budget.
    pub async fn try_all(self) -> Result<Vec<Result<R>>>
    where
        R: DeserializeOwned,
    {
        TryAll::new(self.feed(ResultPolicy::Nothing)?).await
    }

    /// Returns outcomes as they complete, with the index of their item. Memory is bounded even for an endless iterator
    /// or a slow consumer: items are taken only up to a window ahead of the consumed outcomes, and workers wait while
    /// more than 64 MB of results were not taken.
    ///
    /// ```
    /// use futures_util::StreamExt;
    ///
    /// #[wren::remote]
    /// fn is_prime(n: u64) -> bool { n > 1 && (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0) }
    ///
    /// # wren::block_on(async {
    /// let mut primes = 0;
    /// let mut stream = wren::map(is_prime, 0..).stream();
    /// while let Some((_, outcome)) = stream.next().await {
    ///     primes += u32::from(outcome?);
    ///     if primes == 100 { break; }
    /// }
    /// # Ok::<(), wren::Error>(()) }).unwrap();
    /// ```
    pub fn stream(self) -> MapStream<I, R> {
        MapStream::new(self.feed(ResultPolicy::Nothing))
    }

    /// Leaves results in the store and returns their [`Ref`]s, in the order of the items.
    ///
    /// # Errors
    /// The same errors as awaiting the job.
    pub async fn refs(self) -> Result<Vec<Ref<R>>> {
        Collect::<Source<I, R>, R, Ref<R>>::new(self.feed(ResultPolicy::AsRefs)?).await
    }

    /// Starts the job and returns its handle. All items are taken at once; arguments and results are kept in the store,
    /// so that another process can [`attach`](crate::attach) to the job.
    ///
    /// # Errors
    /// [`Error::Store`](crate::error::Error::Store), and errors of the settings. If an item cannot be encoded, nothing is
    /// started: [`Error::BadArguments`](crate::error::Error::BadArguments).
    pub async fn start(self) -> Result<Job<R>>
    where
        R: DeserializeOwned,
    {
        let executor = self.executor.map_or_else(Executor::current_in_background, Executor::for_caller)?;
        Job::start(executor, self.calls, self.settings).await
    }
}

impl<I, R: DeserializeOwned> IntoFuture for Map<I, R> {
    type Output = Result<Vec<R>>;
    type IntoFuture = MapFuture<I, R>;

    fn into_future(self) -> MapFuture<I, R> {
        MapFuture(match self.feed(ResultPolicy::Nothing) {
            Ok(feed) => Ok(Collect::new(feed)),
            Err(error) => Err(Some(error)),
        })
    }
}

/// The future that runs a [`Map`].
pub struct MapFuture<I, R>(std::result::Result<Collect<Source<I, R>, R, R>, Option<crate::error::Error>>);

impl<I, R> fmt::Debug for MapFuture<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MapFuture")
    }
}

// No field is ever pinned.
impl<I, R> Unpin for MapFuture<I, R> {}

impl<I, R: DeserializeOwned> Future for MapFuture<I, R> {
    type Output = Result<Vec<R>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        match &mut self.0 {
            Ok(collect) => Pin::new(collect).poll(cx),
            Err(error) => match error.take() {
                Some(error) => std::task::Poll::Ready(Err(error)),
                None => std::task::Poll::Pending,
            },
        }
    }
}
