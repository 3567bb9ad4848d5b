//! Turns errors of different kinds into failures; see [`error_failure!`](crate::error_failure).

use std::any::type_name;
use std::error::Error;
use std::fmt::Display;

use serde::Serialize;

use super::Reportable;
use crate::codec;
use crate::error::Failure;

/// The traits by which method lookup finds the kind of an error.
pub mod look_up {
    pub use super::{AsDebug as _, AsDisplay as _, AsError as _, AsOpaque as _, AsSendError as _, AsValue as _};
}

/// Holds an error for method lookup.
#[derive(Debug)]
pub struct Probe<'a, E>(pub &'a E);

/// Maximum number of causes that are reported for an error. The causes of an error that names itself as its cause never
/// end.
const MOST_CAUSES: usize = 64;

/// Maximum size of an error's own value that is sent to the driver, in bytes.
const LARGEST_VALUE: usize = 64 << 10;

pub(crate) fn of_error<E>(error: &dyn Error) -> Failure {
    let causes = std::iter::successors(error.source(), |&e| e.source());
    of_text::<E>(error.to_string(), causes.take(MOST_CAUSES).map(ToString::to_string).collect())
}

fn of_text<E>(message: String, chain: Vec<String>) -> Failure {
    Failure::Returned { message, chain, type_name: type_name::<E>().to_owned(), value: Vec::new(), again: true }
}

/// Returns the failure with the error's own value, and with whether the call may be run again.
pub fn with(mut failure: Failure, of: Vec<u8>, may_run_again: bool) -> Failure {
    if let Failure::Returned { value, again, .. } = &mut failure {
        (*value, *again) = (of, may_run_again);
    }
    failure
}

/// Returns the result of `retry_if` for an error.
pub fn is_worth_it<E>(retry_if: impl FnOnce(&E) -> bool, error: &E) -> bool {
    retry_if(error)
}

/// An error whose value may be returned to the driver. The driver checks whether the value can be decoded: here, the
/// compiler would not distinguish an error that borrows from one that does not.
#[allow(missing_docs)]
pub trait AsValue {
    fn value(&self) -> Vec<u8>;
}
impl<E: Serialize> AsValue for &Probe<'_, E> {
    fn value(&self) -> Vec<u8> {
        // An error that cannot be encoded is reported by its text, like the others.
        codec::encode(self.0).ok().filter(|bytes| bytes.len() <= LARGEST_VALUE).unwrap_or_default()
    }
}
/// An error whose value cannot be returned to the driver.
#[allow(missing_docs)]
pub trait AsOpaque {
    fn value(&self) -> Vec<u8> {
        Vec::new()
    }
}
impl<E> AsOpaque for Probe<'_, E> {}

macro_rules! kind {
    ($trait:ident, $kind:ident, $on:ty $(, $($bound:tt)+)?) => {
        #[allow(missing_docs, missing_debug_implementations)]
        pub struct $kind;
        #[allow(missing_docs)]
        pub trait $trait {
            fn kind(&self) -> $kind {
                $kind
            }
        }
        impl<E $(: $($bound)+)?> $trait for $on {}
    };
}
kind!(AsSendError, SendErrorKind, &&&Probe<'_, E>, Into<Box<dyn Error + Send + Sync>>);
kind!(AsError, ErrorKind, &&Probe<'_, E>, Into<Box<dyn Error>>);
kind!(AsDisplay, DisplayKind, &Probe<'_, E>, Display);
// For any type, so that the compiler names the type of an error that does not implement `Debug`.
kind!(AsDebug, DebugKind, Probe<'_, E>);

#[allow(missing_docs)]
impl SendErrorKind {
    pub fn failure<E: Into<Box<dyn Error + Send + Sync>>>(self, error: E) -> Failure {
        of_error::<E>(&*error.into())
    }
}
#[allow(missing_docs)]
impl ErrorKind {
    pub fn failure<E: Into<Box<dyn Error>>>(self, error: E) -> Failure {
        of_error::<E>(&*error.into())
    }
}
#[allow(missing_docs)]
impl DisplayKind {
    pub fn failure<E: Display>(self, error: E) -> Failure {
        of_text::<E>(error.to_string(), Vec::new())
    }
}
#[allow(missing_docs)]
impl DebugKind {
    pub fn failure<E: Reportable>(self, error: E) -> Failure {
        of_text::<E>(format!("{error:?}"), Vec::new())
    }
}

/// Turns any error value into a failure: with its sources if it implements `Error`, otherwise with the text of its
/// `Display` or `Debug`. Generated code uses this macro.
#[doc(hidden)]
#[macro_export]
macro_rules! error_failure {
    ($error:ident, $again:expr) => {{
        use $crate::__private::errors::look_up::*;
        // This must be evaluated before the error is moved.
        let __wren_again = $again;
        // Method lookup removes one `&` after the other, so it tries these traits in order.
        let __wren_bytes = (&&$crate::__private::errors::Probe(&$error)).value();
        let __wren_kind = (&&&&$crate::__private::errors::Probe(&$error)).kind();
        $crate::__private::errors::with(__wren_kind.failure($error), __wren_bytes, __wren_again)
    }};
}
