//! Puts large values into the store.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;

use crate::error::Result;
use crate::executor::Executor;
use crate::store::{self, Ref, put_bytes};

/// Puts a value into the store. Equal values are stored once.
///
/// See [`Ref`] for an example.
pub fn put<T: Serialize + ?Sized>(value: &T) -> Put<T> {
    Put { bytes: store::encode(value), executor: None, value: PhantomData }
}

/// A value to be put into the store, returned by [`put`]. Await it, or first choose the executor whose store it goes to
/// with [`on`](Self::on).
#[must_use = "nothing is stored until this is awaited"]
pub struct Put<T: ?Sized> {
    bytes: Result<Vec<u8>>,
    executor: Option<Executor>,
    value: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> fmt::Debug for Put<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Put")
    }
}

impl<T: ?Sized> Put<T> {
    /// Uses the store of the given executor.
    pub fn on(mut self, executor: &Executor) -> Self {
        self.executor = Some(executor.clone());
        self
    }
}

impl<T: 'static> IntoFuture for Put<T> {
    type Output = Result<Ref<T>>;
    type IntoFuture = store::BoxFuture<'static, Result<Ref<T>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let executor = self.executor.map_or_else(Executor::current, Ok)?;
            let (store, bytes) = (executor.store(), self.bytes?);
            Ok(store::unblock(move || put_bytes(&*store, &bytes)).await??)
        })
    }
}
