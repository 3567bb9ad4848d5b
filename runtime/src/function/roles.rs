//! The requirements for types of arguments and results, and the compiler's messages for types that do not meet them.
//!
//! There is one trait for each role. The compiler reports this trait and its message, and not the bounds of serde behind
//! it (`do_not_recommend`), so that a missing derive is one short error.
//!
//! Some types have a message of their own: generated code finds it by method lookup, as in [`types`](super::types). The
//! inherent methods here come before those of [`Any`](super::types::Any), and require a trait that nothing implements.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::{Arc, Mutex, RwLock, atomic};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ArgsDecoder;
use super::types::{Borrowed, Owned, ResultForm, Type};
use crate::error::Failure;

/// The requirements for an argument: the driver encodes it and the worker decodes it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a remote function",
    label = "it, or a type in it, does not implement serde's `Serialize` and `Deserialize`",
    note = "put `#[derive(serde::Serialize, serde::Deserialize)]` on your own types",
    note = "for a type of another crate, enable that crate's feature for serde, or take a value from which the function \
            can create it"
)]
pub trait Argument<'de>: Serialize + Deserialize<'de> {}

#[diagnostic::do_not_recommend]
impl<'de, T: Serialize + Deserialize<'de>> Argument<'de> for T {}

/// The requirements for an argument that the function borrows: the worker decodes it into a box.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`&{Self}` cannot be an argument of a remote function",
    label = "it, or a type in it, does not implement serde's `Serialize` and `Deserialize`",
    note = "put `#[derive(serde::Serialize, serde::Deserialize)]` on your own types",
    note = "for a type of another crate, enable that crate's feature for serde, or take a value from which the function \
            can create it"
)]
pub trait BorrowedArgument<'de>: Serialize {
    /// Decodes the argument.
    ///
    /// # Errors
    /// [`Failure::BadArguments`].
    fn next(args: &mut ArgsDecoder<'de>, name: &str) -> Result<Box<Self>, Failure>;
}

#[diagnostic::do_not_recommend]
impl<'de, T: ?Sized + Serialize> BorrowedArgument<'de> for T
where
    Box<T>: Deserialize<'de>,
{
    #[inline]
    fn next(args: &mut ArgsDecoder<'de>, name: &str) -> Result<Box<T>, Failure> {
        args.next(name)
    }
}

/// The requirements for a result: the worker encodes it and the driver decodes it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a remote function",
    label = "it, or a type in it, does not implement serde's `Serialize` and `Deserialize`",
    note = "put `#[derive(serde::Serialize, serde::Deserialize)]` on your own types",
    note = "for a type of another crate, enable that crate's feature for serde, or return a value from which the caller \
            can create it"
)]
pub trait Returned: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Returned for T {}

/// The minimum requirement for the error of a remote function.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a remote function",
    label = "this error has no text that a worker can send back",
    note = "add `#[derive(Debug)]` to it; if it implements `std::error::Error`, its message and causes are also sent"
)]
pub trait Reportable: Debug {}

#[diagnostic::do_not_recommend]
impl<E: Debug + ?Sized> Reportable for E {}

/// A type that is not shared between threads. Nothing implements it: only types that are shared require it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a worker gets a copy of `{Self}`, so what it changes there does not change here",
    label = "this type shares a value within one process",
    note = "return the value and combine the results, or keep what many calls change in `wren::kv::Params`",
    note = "if the function only reads the value, take the value itself, or `&T`"
)]
pub trait Unshared<'a> {}

// One line for each type, because the compiler shows the invocation in its error.
macro_rules! shared {
    ([$($generics:tt)*] $shared:ty) => {
        shared!(for [$($generics)*] $shared);
        shared!(for [$($generics)*] Arc<$shared>);
        shared!(for [$($generics)*] Rc<$shared>);
    };
    (for [$($generics:tt)*] $shared:ty) => {
        #[allow(missing_docs)]
        impl<$($generics)*> Type<$shared> {
            pub fn must_not_be_shared<'a>(self) where $shared: Unshared<'a> {}
        }
    };
}

shared!([T] Mutex<T>);
shared!([T] RwLock<T>);
shared!([T] Cell<T>);
shared!([T] RefCell<T>);
shared!([] atomic::AtomicBool);
shared!([] atomic::AtomicU8);
shared!([] atomic::AtomicU16);
shared!([] atomic::AtomicU32);
shared!([] atomic::AtomicU64);
shared!([] atomic::AtomicUsize);
shared!([] atomic::AtomicI8);
shared!([] atomic::AtomicI16);
shared!([] atomic::AtomicI32);
shared!([] atomic::AtomicI64);
shared!([] atomic::AtomicIsize);

/// An array that serde supports.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is too long for a remote function: serde supports arrays of up to 32 elements",
    label = "use a `Vec<T>` or, for an argument, `&[T]`"
)]
pub trait ShortArray<'de>: Serialize + Deserialize<'de> {}

macro_rules! short_arrays {
    ($($len:literal)*) => { $(
        #[diagnostic::do_not_recommend]
        impl<'de, T: Argument<'de>> ShortArray<'de> for [T; $len] {}
    )* };
}
short_arrays!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);

#[allow(missing_docs)]
impl<T, const N: usize> Type<[T; N]> {
    #[inline]
    pub fn owned<'de>(self) -> Owned<'de, [T; N]>
    where
        [T; N]: ShortArray<'de>,
    {
        Owned::new()
    }

    #[inline]
    pub fn borrowed<'de>(self) -> Borrowed<'de, [T; N]>
    where
        [T; N]: ShortArray<'de>,
    {
        Borrowed::new()
    }

    #[inline]
    pub fn result(self) -> ResultForm<[T; N]>
    where
        [T; N]: for<'de> ShortArray<'de>,
    {
        ResultForm::new()
    }
}

/// A type that has a meaning outside of its process. Nothing implements it: only types without one require it.
#[doc(hidden)]
#[allow(missing_docs)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` only exists in the process that made it, so it cannot be sent to a worker or back",
    label = "belongs to one process",
    note = "pass what it is made from, such as the path of a file, the address of a server, or a duration, and create it \
            in the function"
)]
pub trait OutsideProcess<'a>: Sized {
    fn owned() -> Owned<'a, Self>;
    fn borrowed() -> Borrowed<'a, Self>;
    fn result() -> ResultForm<Self>;
}

macro_rules! of_one_process {
    ([$($generics:tt)*] $ty:ty) => {
        #[allow(missing_docs)]
        impl<$($generics)*> Type<$ty> {
            pub fn owned<'a>(self) -> Owned<'a, $ty> where $ty: OutsideProcess<'a> {
                OutsideProcess::owned()
            }

            pub fn borrowed<'a>(self) -> Borrowed<'a, $ty> where $ty: OutsideProcess<'a> {
                OutsideProcess::borrowed()
            }

            pub fn result<'a>(self) -> ResultForm<$ty> where $ty: OutsideProcess<'a> {
                OutsideProcess::result()
            }
        }
    };
}

of_one_process!([] std::fs::File);
of_one_process!([] std::net::TcpListener);
of_one_process!([] std::net::TcpStream);
of_one_process!([] std::net::UdpSocket);
of_one_process!([] std::os::unix::net::UnixStream);
of_one_process!([] std::process::Child);
of_one_process!([] std::time::Instant);
of_one_process!([T] std::sync::mpsc::Receiver<T>);
of_one_process!([T] std::sync::mpsc::Sender<T>);
of_one_process!([T] std::sync::mpsc::SyncSender<T>);
of_one_process!([T] std::thread::JoinHandle<T>);
