//! One call of a remote function: a lazy future.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::attempt::{Decoded, decode_lone_result};
use crate::codec::CodecError;
use crate::error::{Error, Result};
use crate::executor::{Executor, Outcome, OutcomeQueue};
use crate::function::{Args, ArgsEncoder, Backoff, Limits, RemoteFn};
use crate::scheduler::JobKey;
use crate::terminal;

/// A call of a remote function that gives an `R`: what the function's name, applied to arguments,
/// returns.
///
/// Nothing runs until it is awaited, or handed to [`map`](crate::calls::map) or [`gather`](crate::gather).
/// It is a future like any other: `tokio::join!`, `tokio::spawn` and `select!` work on it. Dropping
/// it cancels what it began.
///
/// ```
/// #[wren::remote(timeout = 60)]
/// fn shout(text: &str) -> String { text.to_uppercase() }
///
/// # wren::block_on(async {
/// let loud = shout("wren").timeout(std::time::Duration::from_secs(5)).await?;
/// assert_eq!(loud, "WREN");
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
#[must_use = "calls are lazy: they run when awaited, or in `wren::map` and `wren::gather`"]
pub struct Call<R> {
    function: &'static RemoteFn,
    /// In place of the annotation's. Most calls have none, and are moved about by the million.
    limits: Option<Box<Limits>>,
    state: State,
    result: PhantomData<fn() -> R>,
}

enum State {
    New { args: Result<Args, Box<CodecError>>, executor: Option<Executor> },
    Running { executor: Executor, job: JobKey, outcomes: Arc<OutcomeQueue> },
    Over,
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({})", self.function.name)
    }
}

/// A call, for a job to take over.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) function: &'static RemoteFn,
    limits: Option<Box<Limits>>,
    /// Or why there are none.
    pub(crate) args: std::result::Result<Args, String>,
    /// Where it was to run.
    executor: Option<Executor>,
}

impl Parts {
    /// What the call may use: what it says itself, or else its function.
    pub(crate) fn limits(&self) -> Limits {
        self.own_limits().unwrap_or_else(|| Limits::of(self.function))
    }

    /// What the call says itself that it may use.
    #[inline]
    pub(crate) fn own_limits(&self) -> Option<Limits> {
        self.limits.as_deref().copied()
    }

    /// The arguments of one task of a job.
    ///
    /// # Errors
    /// [`Error::BadArguments`].
    pub(crate) fn args(self, task: u64) -> Result<Args> {
        let function = self.function.name;
        self.args
            .map_err(|reason| Error::BadArguments { function: function.to_owned(), reason: of_task(&reason, task) })
    }

    /// Refuses a call that was to run on another executor than its job does.
    ///
    /// # Errors
    /// [`Error::Config`].
    #[inline]
    pub(crate) fn check_place(&self, task: u64, on: &Executor) -> Result<()> {
        match &self.executor {
            Some(executor) if !executor.is(on) => Err(Error::Config(format!(
                "task {task}, a call of `{}`, has an executor of its own by `.on(..)`, and a job has one for all its calls: \
                 put `.on(..)` on the map or the gather",
                self.function.name
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses a call that is to run at most once in a job that is run again when its program is gone.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn check_resumable(&self, limits: &Limits, task: u64) -> Result<()> {
        if !limits.at_most_once {
            return Ok(());
        }
        Err(Error::Config(format!(
            "task {task}, a call of `{}`, is to run at most once, and a named or started job runs again what it has no \
             result of: await the call, or a map without `.named(..)`",
            self.function.name
        )))
    }
}

/// Why the arguments of a task are none.
pub(crate) fn of_task(reason: &str, task: u64) -> String {
    format!("{reason} (task {task})")
}

/// Makes a call; generated code uses it.
#[doc(hidden)]
#[inline]
pub fn call<R>(function: &'static RemoteFn, args: ArgsEncoder) -> Call<R> {
    let args = args.finish().map_err(Box::new);
    Call { function, limits: None, state: State::New { args, executor: None }, result: PhantomData }
}

impl<R> Call<R> {
    /// Allows the call `mb` megabytes of memory, in place of the annotation.
    pub fn memory(mut self, mb: u32) -> Self {
        self.limits_mut().memory_mb = Some(mb);
        self
    }

    /// Allows the call `limit` of time, in place of the annotation.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limits_mut().timeout = Some(limit);
        self
    }

    /// Runs the function again up to `retries` times if it panics or returns `Err`.
    pub fn retries(mut self, retries: u32) -> Self {
        self.limits_mut().retries = Some(retries);
        self
    }

    /// Waits so long before the function is run again, in place of the annotation.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.limits_mut().backoff = Some(backoff);
        self
    }

    /// Never runs the call twice: not if it fails, and not if its worker dies or its machine is not heard of any more.
    /// Then it ends with [`Error::MayHaveRun`], for whether it ran is not known. After other errors, such as
    /// [`Error::TimedOut`], it ran in part. `retries` does not count.
    ///
    /// For what must not happen twice, such as a payment. On AWS Lambda, which may deliver a request twice, the worker
    /// first puts a mark into the store, and the second one to come does not run the call. A named or started job,
    /// which is run again when its program is gone, refuses such calls.
    ///
    /// ```
    /// #[wren::remote]
    /// fn pay(order: u64) -> Result<u64, String> { Ok(order) }
    ///
    /// # wren::block_on(async {
    /// match pay(7).at_most_once().await {
    ///     Ok(receipt) => println!("paid: {receipt}"),
    ///     Err(wren::Error::Returned { message, .. }) => println!("not paid: {message}"),
    ///     // It ran in part, or it may have run.
    ///     Err(error) => println!("look up whether it is paid: {error}"),
    /// }
    /// # });
    /// ```
    pub fn at_most_once(mut self) -> Self {
        self.limits_mut().at_most_once = true;
        self
    }

    /// The call under these limits, in place of its own.
    #[cfg(feature = "data")]
    pub(crate) fn limited(mut self, limits: Limits) -> Self {
        self.limits = Some(limits.into());
        self
    }

    fn limits_mut(&mut self) -> &mut Limits {
        self.limits.get_or_insert_with(|| Limits::of(self.function).into())
    }

    /// Runs the call on an executor of one's own. A map or a gather has one for all its calls, and refuses a call that
    /// names another.
    pub fn on(mut self, on: &Executor) -> Self {
        if let State::New { executor, .. } = &mut self.state {
            *executor = Some(on.clone());
        }
        self
    }

    /// The name of the function called.
    pub fn function(&self) -> &'static str {
        self.function.name
    }

    /// The same call once more, where this one was not awaited yet.
    #[cfg(feature = "data")]
    pub(crate) fn copy(&self) -> Self {
        let state = match &self.state {
            State::New { args, executor } => State::New { args: args.clone(), executor: executor.clone() },
            State::Running { .. } | State::Over => State::Over,
        };
        Self { function: self.function, limits: self.limits.clone(), state, result: PhantomData }
    }

    /// What is to be run, for a job to take over.
    #[inline]
    pub(crate) fn into_parts(mut self) -> Parts {
        let (args, executor) = match std::mem::replace(&mut self.state, State::Over) {
            State::New { args: Ok(args), executor } => (Ok(args), executor),
            State::New { args: Err(error), executor } => (Err(error.to_string()), executor),
            State::Running { .. } | State::Over => (Err("the call was awaited before".to_owned()), None),
        };
        Parts { function: self.function, limits: self.limits.take(), args, executor }
    }

    fn bad_arguments(&self, reason: &dyn fmt::Display) -> Error {
        Error::BadArguments { function: self.function.name.to_owned(), reason: reason.to_string() }
    }

    fn begin(&mut self) -> Result<()> {
        if let State::New { executor, .. } = &mut self.state {
            let executor = executor.take().map_or_else(Executor::current, Executor::for_caller)?;
            let call = std::mem::replace(&mut self.state, State::Over);
            let State::New { args, .. } = call else { return Ok(()) };
            let args = args.map_err(|error| self.bad_arguments(&error))?;
            let outcomes = Arc::new(OutcomeQueue::default());
            let limits = self.limits.as_deref().copied().unwrap_or_else(|| Limits::of(self.function));
            let job = executor.reactor().submit_one(self.function, limits, args, outcomes.clone());
            self.state = State::Running { executor, job, outcomes };
        }
        Ok(())
    }
}

impl<R: DeserializeOwned> Future for Call<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R>> {
        if let Err(error) = Error::if_forked() {
            return Poll::Ready(Err(error));
        }
        let first = matches!(self.state, State::New { .. });
        if let Err(error) = self.begin() {
            self.state = State::Over;
            return Poll::Ready(Err(error));
        }
        let State::Running { executor, outcomes, .. } = &self.state else {
            return Poll::Ready(Err(self.bad_arguments(&"the call was awaited before")));
        };
        if first && executor.reactor().is_short(self.function) {
            executor.reactor().watch(|| outcomes.has_outcome());
        }
        let Some(outcome) = outcomes.take_or_register(cx.waker()) else { return Poll::Pending };
        // What the call printed comes before what came of it.
        terminal::settle();
        let result = self.result_of(outcome);
        self.state = State::Over;
        Poll::Ready(result)
    }
}

impl<R: DeserializeOwned> Call<R> {
    fn result_of(&self, outcome: Outcome) -> Result<R> {
        match outcome {
            Outcome::Done { results, attempt, .. } => {
                decode_lone_result(results, &Decoded { function: self.function.name, task: 0, attempt })
            }
            outcome => Err(outcome.into_error(0)),
        }
    }
}

impl<R> Drop for Call<R> {
    fn drop(&mut self) {
        if let State::Running { executor, job, .. } = &self.state {
            executor.reactor().cancel(*job);
        }
    }
}
