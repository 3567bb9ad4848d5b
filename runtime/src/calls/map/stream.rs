//! Outcomes of a job as they complete.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::de::DeserializeOwned;

use super::calls::Source;
use super::collect::{decode_each, drive};
use super::feed::Feed;
use crate::error::{Error, Result};
use crate::executor::Outcome;

/// A stream of `(index, outcome)` in the order of completion; see [`Map::stream`](super::Map::stream).
///
/// It implements the `Stream` trait of `futures`; programs without that crate can use [`next`](Self::next). Dropping it
/// cancels the calls that have not completed.
#[must_use = "streams are lazy: they run while they are polled"]
pub struct MapStream<I, R> {
    state: State<Source<I, R>>,
    ready: VecDeque<(u64, Result<R>)>,
}

enum State<I> {
    Running(Box<Feed<I>>),
    Broken(Error),
    Over,
}

impl<I, R> fmt::Debug for MapStream<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapStream({} ready)", self.ready.len())
    }
}

// No field is ever pinned.
impl<I, R> Unpin for MapStream<I, R> {}

impl<I, R> MapStream<I, R> {
    pub(super) fn new(feed: Result<Feed<Source<I, R>>>) -> Self {
        let state = match feed {
            Ok(feed) => State::Running(Box::new(feed)),
            Err(error) => State::Broken(error),
        };
        Self { state, ready: VecDeque::new() }
    }
}

impl<I, R: DeserializeOwned> MapStream<I, R> {
    /// Returns the next outcome, or `None` after the last.
    pub async fn next(&mut self) -> Option<(u64, Result<R>)> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<I, R: DeserializeOwned> Stream for MapStream<I, R> {
    type Item = (u64, Result<R>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { state, ready } = &mut *self;
        if let Some(next) = ready.pop_front() {
            return Poll::Ready(Some(next));
        }
        let feed = match std::mem::replace(state, State::Over) {
            State::Over => return Poll::Ready(None),
            State::Broken(error) => return Poll::Ready(Some((0, Err(error)))),
            State::Running(feed) => {
                *state = State::Running(feed);
                let State::Running(feed) = state else { return Poll::Ready(None) };
                feed
            }
        };
        let consume = |feed: &mut Feed<Source<I, R>>, outcome: Outcome| {
            let mut broken = None;
            match outcome {
                Outcome::Done { tasks, new, results, attempt } => {
                    decode_each(feed, &tasks, &new, results, attempt, |task, value| ready.push_back((task, value)));
                }
                Outcome::Failed { task, .. } => ready.push_back((task, Err(feed.error_of(outcome)))),
                outcome => broken = Some(feed.error_of(outcome)),
            }
            match broken {
                Some(error) => Some(Err(error)),
                None => ready.pop_front().map(|next| Ok(Some(next))),
            }
        };
        let next = std::task::ready!(drive(feed, cx, consume, |feed| {
            feed.end("done");
            Ok(Ok(None))
        }));
        match next.and_then(|inner| inner) {
            Ok(Some(next)) => Poll::Ready(Some(next)),
            Ok(None) => {
                *state = State::Over;
                Poll::Ready(None)
            }
            Err(error) => {
                let at = feed.taken();
                *state = State::Over;
                Poll::Ready(Some((at, Err(error))))
            }
        }
    }
}
