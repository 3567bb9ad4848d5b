//! The sources of a job's calls: an iterator or a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::RemoteCall;
use crate::calls::Call;

/// A source of calls with results of one type.
pub(crate) trait Calls {
    /// The result of each call.
    type Result;

    /// Returns the next call, `None` after the last, or pending if the next call is not available yet.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Call<Self::Result>>>;

    /// Returns bounds on the number of calls, like `Iterator::size_hint`.
    fn size_hint(&self) -> (usize, Option<usize>);
}

/// An iterator or a stream of calls, and its functions.
///
/// With the functions, its type needs no bounds. So if the compiler refuses the arguments of `wren::map`, it does not
/// also report, wherever the [`Map`](super::Map) is used, that it is not a future.
pub(crate) struct Source<I, R> {
    calls: I,
    poll_next: fn(&mut I, &mut Context<'_>) -> Poll<Option<Call<R>>>,
    size_hint: fn(&I) -> (usize, Option<usize>),
}

impl<I, R> Source<I, R> {
    pub(super) fn iterator<C: RemoteCall<Output = R>>(calls: I) -> Self
    where
        I: Iterator<Item = C>,
    {
        Self {
            calls,
            poll_next: |calls, _| Poll::Ready(calls.next().map(RemoteCall::into_call)),
            size_hint: Iterator::size_hint,
        }
    }

    pub(super) fn stream<S, F, C: RemoteCall<Output = R>>(items: S, call: F) -> Source<StreamCalls<S, F>, R>
    where
        S: Stream,
        F: FnMut(S::Item) -> C,
    {
        Source {
            calls: StreamCalls { items: Box::pin(items), call },
            poll_next: |calls, cx| {
                let item = std::task::ready!(calls.items.as_mut().poll_next(cx));
                Poll::Ready(item.map(|item| (calls.call)(item).into_call()))
            },
            size_hint: |calls| calls.items.size_hint(),
        }
    }
}

impl<I, R> Calls for Source<I, R> {
    type Result = R;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Call<R>>> {
        (self.poll_next)(&mut self.calls, cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.size_hint)(&self.calls)
    }
}

/// Calls for the items of a stream; see [`map_stream`](crate::map_stream).
pub struct StreamCalls<S, F> {
    items: Pin<Box<S>>,
    call: F,
}

impl<S, F> fmt::Debug for StreamCalls<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamCalls")
    }
}
