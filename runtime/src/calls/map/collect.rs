//! Futures of all results of a job: [`Collect`] stops at the first failure, [`TryAll`] does not.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::Calls;
use super::feed::Feed;
use crate::attempt::{Decoded, Results, decode_lone_result, decode_result};
use crate::error::{Error, Result};
use crate::executor::Outcome;
use crate::function::framed::Pieces;
use crate::terminal;

/// Results by index; `None` if a result has not arrived.
struct Slots<T>(Vec<Option<T>>);

impl<T> Slots<T> {
    fn set(&mut self, index: u64, value: T) {
        let index = index as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(value);
    }

    fn into_vec(self) -> Result<Vec<T>> {
        let count = self.0.len();
        let values: Vec<T> = self.0.into_iter().flatten().collect();
        if values.len() < count {
            return Err(Error::Job(format!("{} results are missing; this is a bug in wren", count - values.len())));
        }
        Ok(values)
    }
}

/// Results that are shorter than this, in bytes, are decoded in less time than it takes to measure it.
const WORTH_TIMING: usize = 1 << 10;

/// Decodes the results of the tasks in `new`, which are among `tasks`.
pub(super) fn decode_each<I, T: DeserializeOwned>(
    feed: &Feed<I>,
    tasks: &Range<u64>,
    new: &[Range<u64>],
    results: Results,
    attempt: u32,
    give: impl FnMut(u64, Result<T>),
) {
    let started = (results.size() >= WORTH_TIMING).then(Instant::now);
    decode(feed, tasks, new, results, attempt, give);
    if let Some(started) = started {
        feed.decoded_for(started.elapsed());
    }
}

#[inline]
fn decode<I, T: DeserializeOwned>(
    feed: &Feed<I>,
    tasks: &Range<u64>,
    new: &[Range<u64>],
    results: Results,
    attempt: u32,
    mut give: impl FnMut(u64, Result<T>),
) {
    // Most jobs have one function, which is looked up once.
    let (mut function, mut until) = ("", 0);
    let mut of = |task: u64| {
        if task >= until {
            (function, until) = feed.function_of(task);
        }
        Decoded { function, task, attempt }
    };
    if tasks.end - tasks.start == 1 {
        return give(tasks.start, decode_lone_result(results, &of(tasks.start)));
    }
    let whole = new == std::slice::from_ref(tasks);
    for (task, bytes) in tasks.clone().zip(Pieces(&results.into_packed())) {
        if whole || new.iter().any(|range| range.contains(&task)) {
            give(task, decode_result(bytes, &of(task)));
        }
    }
}

/// Approximate maximum duration of one poll. After it, the other tasks of the caller's async runtime get their turn.
const IN_ONE_GO: Duration = Duration::from_millis(20);

/// Polls a job until it is finished, and passes each outcome to `consume`, which may end it by returning a value.
pub(super) fn drive<I: Calls<Result = R>, R, T>(
    feed: &mut Feed<I>,
    cx: &mut Context<'_>,
    mut consume: impl FnMut(&mut Feed<I>, Outcome) -> Option<T>,
    over: impl FnOnce(&mut Feed<I>) -> Result<T>,
) -> Poll<Result<T>> {
    match std::task::ready!(feed.poll_open(cx)) {
        Ok(()) => {}
        Err(error) => return Poll::Ready(Err(error)),
    }
    let started = Instant::now();
    let executor = feed.executor().clone();
    let _place = Feed::<I>::suppress_reactor(&executor);
    loop {
        let more = match feed.fill(cx) {
            Ok(more) => more,
            Err(error) => {
                feed.end("failed");
                return Poll::Ready(Err(error));
            }
        };
        let mut any = false;
        if feed.has_outcome() {
            // Shows the output of the tasks before their outcomes.
            terminal::settle();
        }
        while let Some(outcome) = feed.take() {
            any = true;
            if let Some(value) = consume(feed, outcome) {
                return Poll::Ready(Ok(value));
            }
        }
        if feed.is_over() {
            return Poll::Ready(over(feed));
        }
        if started.elapsed() > IN_ONE_GO {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !any && !more && !feed.watch() && !feed.is_ready_or_register(cx.waker()) {
            return Poll::Pending;
        }
    }
}

/// The results of all tasks as `T`s, or the first failure.
pub(super) struct Collect<I: Calls<Result = R>, R, T> {
    feed: Feed<I>,
    slots: Slots<T>,
    call: PhantomData<fn() -> R>,
}

impl<I: Calls<Result = R>, R, T> Collect<I, R, T> {
    pub(super) fn new(feed: Feed<I>) -> Self {
        Self { feed, slots: Slots(Vec::new()), call: PhantomData }
    }
}

// No field is ever pinned.
impl<I: Calls<Result = R>, R, T> Unpin for Collect<I, R, T> {}

impl<I: Calls<Result = R>, R, T: DeserializeOwned> Future for Collect<I, R, T> {
    type Output = Result<Vec<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { feed, slots, .. } = &mut *self;
        let mut failed = None;
        let consume = |feed: &mut Feed<I>, outcome: Outcome| {
            match outcome {
                Outcome::Done { tasks, new, results, attempt } => {
                    decode_each(feed, &tasks, &new, results, attempt, |task, value| match value {
                        Ok(value) => slots.set(task, value),
                        Err(error) => failed = failed.take().or(Some(error)),
                    })
                }
                outcome => failed = failed.take().or(Some(feed.error_of(outcome))),
            }
            failed.take().map(|error| Err(first_failure(feed, error)))
        };
        let ended = std::task::ready!(drive(feed, cx, consume, |feed| {
            feed.end("done");
            Ok(Ok(()))
        }));
        ended??;
        let slots = std::mem::replace(slots, Slots(Vec::new()));
        Poll::Ready(slots.into_vec())
    }
}

/// Ends a job after its first failure: cancels the rest, and adds the number of other failures to the error.
fn first_failure<I>(feed: &mut Feed<I>, mut error: Error) -> Error {
    let mut others = 0;
    while let Some(outcome) = feed.take() {
        others += u64::from(matches!(outcome, Outcome::Failed { .. }));
    }
    if let Some(attempt) = error.attempt_mut() {
        attempt.other_failures = others;
    }
    feed.end("failed");
    error
}

/// Each task's own outcome.
pub(super) struct TryAll<I: Calls<Result = R>, R> {
    feed: Feed<I>,
    slots: Slots<Result<R>>,
}

impl<I: Calls<Result = R>, R> TryAll<I, R> {
    pub(super) fn new(feed: Feed<I>) -> Self {
        Self { feed, slots: Slots(Vec::new()) }
    }
}

// No field is ever pinned.
impl<I: Calls<Result = R>, R> Unpin for TryAll<I, R> {}

impl<I: Calls<Result = R>, R: DeserializeOwned> Future for TryAll<I, R> {
    type Output = Result<Vec<Result<R>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { feed, slots } = &mut *self;
        let mut failed = false;
        let consume = |feed: &mut Feed<I>, outcome: Outcome| match outcome {
            Outcome::Done { tasks, new, results, attempt } => {
                decode_each(feed, &tasks, &new, results, attempt, |task, value| slots.set(task, value));
                None
            }
            Outcome::Failed { task, .. } => {
                failed = true;
                slots.set(task, Err(feed.error_of(outcome)));
                None
            }
            outcome => Some(Err(first_failure(feed, feed.error_of(outcome)))),
        };
        let ended = std::task::ready!(drive(feed, cx, consume, |feed| {
            feed.end("done");
            Ok(Ok(()))
        }));
        ended??;
        let slots = std::mem::replace(slots, Slots(Vec::new()));
        Poll::Ready(slots.into_vec())
    }
}
