//! The reason why a value could not be written or read, without its type.

use std::fmt;

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of the serializer and the deserializer. It has the size of one pointer, because every number that is read
/// is returned in a `Result` with room for the error.
#[derive(Debug)]
pub(super) struct Error(Box<Reason>);

#[derive(Debug)]
struct Reason(String);

impl Error {
    pub(super) fn new(reason: impl fmt::Display) -> Self {
        Self(Box::new(Reason(reason.to_string())))
    }

    #[cold]
    pub(super) fn cut_short() -> Self {
        Self::new("the data is truncated")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.0)
    }
}

impl std::error::Error for Error {}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::new(reason)
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        let reason = reason.to_string();
        // Serde's own message if a type with one of these integers asks for a value that was read ahead.
        if matches!(&*reason, "u128 is not supported" | "i128 is not supported") {
            return Self::wide_in_buffer();
        }
        Self::new(reason)
    }
}

impl Error {
    /// Returns the error for an integer of 128 bits that would be read ahead. Serde first reads untagged and internally
    /// tagged enums and flattened fields into a buffer, which cannot hold such integers.
    pub(super) fn wide_in_buffer() -> Self {
        Self::new(
            "serde cannot read `u128` and `i128` inside an untagged or internally tagged enum, or inside a flattened \
             field; write the value as a string with `#[serde(with = ..)]`, or choose another representation for the \
             enum",
        )
    }
}
