//! What the code that `#[wren::remote]` generates asks of types.
//!
//! A macro sees names, and `Vec<u8>` may be a type of the user's own, or `AppResult<T>` a `Result`. So the generated
//! code asks the type: `Type::<T>::NEW.push_owned(..)` is a method of `Type<Vec<u8>>` itself, which comes first in
//! method look-up, or else one of the trait [`Any`], which every type has.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Debug;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Number};
use crate::error::Failure;
use crate::function::ArgsEncoder;
use crate::function::{ArgsDecoder, Output};

/// Stands for the type in method look-up.
#[derive(Debug)]
pub struct Type<T: ?Sized>(PhantomData<fn(&T)>);

impl<T: ?Sized> Type<T> {
    /// The type, named.
    pub const NEW: Self = Self(PhantomData);

    /// The type of a value.
    #[inline]
    pub fn of(_: &T) -> Self {
        Self::NEW
    }
}

impl<T, E> Type<Result<T, E>> {
    /// Whether it is `std::result::Result`, by whatever alias.
    pub const IS_RESULT: bool = true;
}

/// Numbers, bytes among them, travel as they lie in memory, in one copy, where serde would go one by one.
impl<T: Number + Serialize> Type<Vec<T>> {
    /// Encodes an argument.
    #[inline]
    pub fn push_owned(self, _: Owned<'_, Vec<T>>, args: &mut ArgsEncoder, value: &[T]) {
        args.push_numbers(value);
    }

    /// Decodes an argument.
    ///
    /// # Errors
    /// [`Failure::BadArguments`].
    #[inline]
    pub fn next_owned<'a>(self, _: Owned<'a, Vec<T>>, args: &mut ArgsDecoder<'a>, name: &str) -> Result<Vec<T>, Failure>
    where
        T: Deserialize<'a>,
    {
        args.next_numbers(name).map(codec::owned)
    }

    /// Encodes the result.
    ///
    /// # Errors
    /// [`Failure::BadResult`].
    #[inline]
    pub fn write(self, _: Sent<Vec<T>>, output: Output<'_>, value: Vec<T>) -> Result<(), Failure> {
        output.write_numbers(value)
    }
}

/// A slice of numbers is borrowed from the message.
impl<T: Number + Serialize> Type<[T]> {
    /// Encodes an argument.
    #[inline]
    pub fn push_borrowed(self, _: Borrowed<'_, [T]>, args: &mut ArgsEncoder, value: &[T]) {
        args.push_numbers(value);
    }

    /// Decodes an argument, which is copied only where it is not aligned.
    ///
    /// # Errors
    /// [`Failure::BadArguments`].
    #[inline]
    pub fn next_borrowed<'a>(
        self,
        _: Borrowed<'a, [T]>,
        args: &mut ArgsDecoder<'a>,
        name: &str,
    ) -> Result<Cow<'a, [T]>, Failure>
    where
        T: Deserialize<'a>,
    {
        args.next_numbers(name)
    }
}

/// `&str` is borrowed from the message.
impl Type<str> {
    /// Decodes an argument.
    ///
    /// # Errors
    /// [`Failure::BadArguments`].
    #[inline]
    pub fn next_borrowed<'a>(
        self,
        _: Borrowed<'a, str>,
        args: &mut ArgsDecoder<'a>,
        name: &str,
    ) -> Result<&'a str, Failure> {
        args.next(name)
    }
}

/// What every type has that has nothing of its own in [`Type`].
#[allow(missing_docs, clippy::missing_errors_doc)]
pub trait Any<T: ?Sized>: Sized {
    const IS_RESULT: bool = false;

    /// Encodes an argument that the function takes by value.
    #[inline]
    fn push_owned(self, form: Owned<'_, T>, args: &mut ArgsEncoder, value: &T)
    where
        T: Sized,
    {
        (form.push)(args, value);
    }

    /// Decodes an argument that the function takes by value.
    #[inline]
    fn next_owned<'a>(self, form: Owned<'a, T>, args: &mut ArgsDecoder<'a>, name: &str) -> Result<T, Failure>
    where
        T: Sized,
    {
        (form.next)(args, name)
    }

    /// Encodes an argument that the function borrows.
    #[inline]
    fn push_borrowed(self, form: Borrowed<'_, T>, args: &mut ArgsEncoder, value: &T) {
        (form.push)(args, value);
    }

    /// Decodes an argument that the function borrows.
    #[inline]
    fn next_borrowed<'a>(
        self,
        form: Borrowed<'a, T>,
        args: &mut ArgsDecoder<'a>,
        name: &str,
    ) -> Result<Box<T>, Failure> {
        (form.next)(args, name)
    }

    /// Encodes the result.
    #[inline]
    fn write(self, form: Sent<T>, output: Output<'_>, value: T) -> Result<(), Failure>
    where
        T: Sized,
    {
        (form.write)(output, &value)
    }
}

impl<T: ?Sized> Any<T> for Type<T> {}

/// What a call gives of the declared type: of a `Result` what `Ok` holds, of any other type itself.
#[allow(missing_docs)]
pub trait Reply<const IS_RESULT: bool> {
    type Ok;
    type Err;
    fn into_result(self) -> Result<Self::Ok, Self::Err>;
}

impl<T, E> Reply<true> for Result<T, E> {
    type Ok = T;
    type Err = E;

    #[inline]
    fn into_result(self) -> Self {
        self
    }
}

impl<T> Reply<false> for T {
    type Ok = T;
    type Err = Infallible;

    #[inline]
    fn into_result(self) -> Result<T, Infallible> {
        Ok(self)
    }
}

type Push<T> = fn(&mut ArgsEncoder, &T);
type Next<'de, T> = fn(&mut ArgsDecoder<'de>, &str) -> Result<T, Failure>;

/// How an argument travels by serde. The bounds of a type are asked for where one of these is made and nowhere else, so
/// that a mistake is one error.
#[derive(Debug)]
pub struct Owned<'de, T> {
    push: Push<T>,
    next: Next<'de, T>,
}

/// Of a type that can be an argument.
#[inline]
pub fn owned<'de, T: Argument<'de>>() -> Owned<'de, T> {
    Owned { push: |args, value| args.push(value), next: |args, name| args.next(name) }
}

/// How an argument travels that the function borrows.
#[derive(Debug)]
pub struct Borrowed<'de, T: ?Sized> {
    push: Push<T>,
    next: Next<'de, Box<T>>,
}

/// Of a type that can be borrowed by a remote function.
#[inline]
pub fn borrowed<'de, T: ?Sized + Serialize>() -> Borrowed<'de, T>
where
    Box<T>: Argument<'de>,
{
    Borrowed { push: |args, value| args.push(value), next: |args, name| args.next(name) }
}

/// How a result travels.
#[derive(Debug)]
pub struct Sent<T> {
    write: fn(Output<'_>, &T) -> Result<(), Failure>,
}

/// Of a type that can be a result.
#[inline]
pub fn result<T: Returned>() -> Sent<T> {
    Sent { write: |output, value| output.write(value) }
}

/// What an error must be, at least.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a remote function",
    label = "this error has no text that could travel back from a worker",
    note = "put `#[derive(Debug)]` on it; with `std::error::Error`, its message and its causes travel too"
)]
pub trait Told: Debug {}

impl<E: Debug + ?Sized> Told for E {}

/// What an argument must be: it is encoded by the driver and decoded by the worker.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a remote function",
    label = "this type cannot travel to a worker",
    note = "put `#[derive(serde::Serialize, serde::Deserialize)]` on it, or pass something from which it can be made"
)]
pub trait Argument<'de>: Serialize + Deserialize<'de> {}

impl<'de, T: Serialize + Deserialize<'de>> Argument<'de> for T {}

/// What a result must be: it is encoded by the worker and decoded by the driver.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a remote function",
    label = "this type cannot travel back from a worker",
    note = "put `#[derive(serde::Serialize, serde::Deserialize)]` on it, or return something from which it can be made"
)]
pub trait Returned: Serialize + DeserializeOwned {}

impl<T: Serialize + DeserializeOwned> Returned for T {}

/// A `Result`, by whatever alias, where the annotation asks for one.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no `Result`, and `retry_if` looks at the error of one",
    label = "not `std::result::Result`",
    note = "leave out `retry_if`, or return a `Result`"
)]
#[allow(missing_docs)]
pub trait ResultType {
    type Ok;
    type Err;
    fn into_result(self) -> Result<Self::Ok, Self::Err>;
}

impl<T, E> ResultType for std::result::Result<T, E> {
    type Ok = T;
    type Err = E;

    fn into_result(self) -> Result<T, E> {
        self
    }
}
