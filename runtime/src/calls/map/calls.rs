//! The sources of a job's calls: an iterator or a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::calls::Call;

/// A source of calls with results of one type. [`map`](crate::calls::map), [`gather`](crate::gather) and
/// [`map_stream`](crate::map_stream) turn it into a job.
pub trait Calls {
    /// The result of each call.
    type Result;

    /// Returns the next call, `None` after the last, or pending if the next call is not available yet.
    #[doc(hidden)]
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Call<Self::Result>>>;

    /// Returns bounds on the number of calls, like `Iterator::size_hint`.
    #[doc(hidden)]
    fn size_hint(&self) -> (usize, Option<usize>);
}

impl<I: Iterator<Item = Call<R>>, R> Calls for I {
    type Result = R;

    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Call<R>>> {
        Poll::Ready(self.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        Iterator::size_hint(self)
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

impl<S, F> StreamCalls<S, F> {
    pub(super) fn new(items: S, call: F) -> Self {
        Self { items: Box::pin(items), call }
    }
}

impl<S: Stream, F: FnMut(S::Item) -> Call<R>, R> Calls for StreamCalls<S, F> {
    type Result = R;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Call<R>>> {
        let item = std::task::ready!(self.items.as_mut().poll_next(cx));
        Poll::Ready(item.map(&mut self.call))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}
