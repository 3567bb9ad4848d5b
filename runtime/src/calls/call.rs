//! One call of a remote function: a lazy future.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;

use crate::attempt::{Decoded, decode_lone_result};
use crate::codec::CodecError;
use crate::error::{Error, Result};
use crate::executor::{Executor, Outcome, OutcomeQueue};
use crate::function::{Args, ArgsEncoder, Backoff, Limits, RemoteFn, Timeout};
use crate::scheduler::JobKey;
use crate::terminal;

/// A call of a remote function that returns an `R`. Calling a remote function by its name creates one.
///
/// Nothing runs until the call is awaited, or passed to [`map`](crate::calls::map) or [`gather`](crate::gather). It is
/// a future like any other: `tokio::join!`, `tokio::spawn` and `select!` work with it. Dropping it cancels the call if
/// it has started.
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
    /// Limits in place of the annotation's. Boxed because most calls have none, and calls are moved by the million.
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

/// The parts of a call that a job takes over.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) function: &'static RemoteFn,
    limits: Option<Box<Limits>>,
    /// The arguments, or why there are none.
    pub(crate) args: std::result::Result<Args, String>,
    /// The executor that the call names.
    executor: Option<Executor>,
}

impl Parts {
    /// Returns the limits of the call: its own, or else those of its function.
    pub(crate) fn limits(&self) -> Limits {
        self.own_limits().unwrap_or_else(|| Limits::of(self.function))
    }

    /// Returns the limits that are set on the call itself.
    #[inline]
    pub(crate) fn own_limits(&self) -> Option<Limits> {
        self.limits.as_deref().copied()
    }

    /// Returns the arguments of the call as a task of a job.
    ///
    /// # Errors
    /// [`Error::BadArguments`] if there are none.
    pub(crate) fn args(self, task: u64) -> Result<Args> {
        let function = self.function.name;
        self.args
            .map_err(|reason| Error::BadArguments { function: function.to_owned(), reason: of_task(&reason, task) })
    }

    /// Rejects a call that names a different executor than its job.
    ///
    /// # Errors
    /// [`Error::Config`] if it does.
    #[inline]
    pub(crate) fn check_place(&self, task: u64, on: &Executor) -> Result<()> {
        match &self.executor {
            Some(executor) if !executor.is(on) => Err(Error::Config(format!(
                "task {task}, a call of `{}`, has its own executor, but a job runs all its calls on one executor: put \
                 `.on(..)` on the map or the gather, not on the call",
                self.function.name
            ))),
            _ => Ok(()),
        }
    }

    /// Rejects a call that must run at most once, for a job that is run again if its program is gone.
    ///
    /// # Errors
    /// [`Error::Config`] if it must.
    pub(crate) fn check_resumable(&self, limits: &Limits, task: u64) -> Result<()> {
        if !limits.at_most_once {
            return Ok(());
        }
        Err(Error::Config(format!(
            "task {task}, a call of `{}`, must run at most once, but a named or started job runs tasks without a \
             result again: await the call, or a map without `.named(..)`",
            self.function.name
        )))
    }
}

/// Adds the task to the reason why it has no arguments.
pub(crate) fn of_task(reason: &str, task: u64) -> String {
    format!("{reason} (task {task})")
}

/// Creates a call. Used by generated code.
#[doc(hidden)]
#[inline]
pub fn call<R>(function: &'static RemoteFn, args: ArgsEncoder) -> Call<R> {
    let args = args.finish().map_err(Box::new);
    Call { function, limits: None, state: State::New { args, executor: None }, result: PhantomData }
}

impl<R> Call<R> {
    /// Limits the call's memory to `mb` megabytes, in place of the annotation's limit.
    pub fn memory(mut self, mb: u32) -> Self {
        self.limits_mut().memory_mb = Some(mb);
        self
    }

    /// Limits the call's duration to `limit`, in place of the annotation's limit: a [`Duration`](std::time::Duration)
    /// or a number of seconds.
    pub fn timeout(mut self, limit: impl Timeout) -> Self {
        self.limits_mut().timeout = Some(limit.into_duration());
        self
    }

    /// Runs the function again up to `retries` times if it panics or returns `Err`.
    pub fn retries(mut self, retries: u32) -> Self {
        self.limits_mut().retries = Some(retries);
        self
    }

    /// Sets how long to wait before the function is run again, in place of the annotation's backoff.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.limits_mut().backoff = Some(backoff);
        self
    }

    /// Never runs the call twice: not if it fails, and not if its worker dies or its machine stops responding. In the
    /// last two cases it ends with [`Error::MayHaveRun`], because it is not known whether it ran. After other errors,
    /// such as [`Error::TimedOut`], it ran in part. `retries` has no effect.
    ///
    /// Use this for effects that must not happen twice, such as a payment. AWS Lambda may deliver a request twice, so
    /// the worker there first puts a mark into the store; a worker that finds the mark does not run the call. A named
    /// or started job rejects such calls, because it is run again if its program is gone.
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
    ///     Err(error) => println!("check whether it was paid: {error}"),
    /// }
    /// # });
    /// ```
    pub fn at_most_once(mut self) -> Self {
        self.limits_mut().at_most_once = true;
        self
    }

    /// Replaces the limits of the call.
    #[cfg(feature = "data")]
    pub(crate) fn limited(mut self, limits: Limits) -> Self {
        self.limits = Some(limits.into());
        self
    }

    fn limits_mut(&mut self) -> &mut Limits {
        self.limits.get_or_insert_with(|| Limits::of(self.function).into())
    }

    /// Runs the call on the given executor. A map or a gather runs all its calls on one executor, and rejects a call
    /// that names another.
    pub fn on(mut self, on: &Executor) -> Self {
        if let State::New { executor, .. } = &mut self.state {
            *executor = Some(on.clone());
        }
        self
    }

    /// Returns the name of the called function.
    pub fn function(&self) -> &'static str {
        self.function.name
    }

    /// Returns a copy of the call, which must not have been awaited yet.
    #[cfg(feature = "data")]
    pub(crate) fn copy(&self) -> Self {
        let state = match &self.state {
            State::New { args, executor } => State::New { args: args.clone(), executor: executor.clone() },
            State::Running { .. } | State::Over => State::Over,
        };
        Self { function: self.function, limits: self.limits.clone(), state, result: PhantomData }
    }

    /// Splits the call into its parts, for a job to take over.
    #[inline]
    pub(crate) fn into_parts(mut self) -> Parts {
        let (args, executor) = match std::mem::replace(&mut self.state, State::Over) {
            State::New { args: Ok(args), executor } => (Ok(args), executor),
            State::New { args: Err(error), executor } => (Err(error.to_string()), executor),
            State::Running { .. } | State::Over => (Err("the call was already awaited".to_owned()), None),
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
            return Poll::Ready(Err(self.bad_arguments(&"the call was already awaited")));
        };
        if first && executor.reactor().is_short(self.function) {
            executor.reactor().watch(|| outcomes.has_outcome());
        }
        let Some(outcome) = outcomes.take_or_register(cx.waker()) else { return Poll::Pending };
        // Shows the call's output before its result.
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
