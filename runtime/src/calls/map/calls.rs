//! Where the calls of a job come from: an iterator, or a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::calls::Call;

/// Calls, all with results of one type: what [`map`](crate::calls::map), [`gather`](crate::gather) and
/// [`map_stream`](crate::map_stream) make a job of.
pub trait Calls {
    /// What each gives.
    type Result;

    /// The next call, none after the last, or pending where it has not come.
    #[doc(hidden)]
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Call<Self::Result>>>;

    /// How many there are, as `Iterator::size_hint` says it.
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
