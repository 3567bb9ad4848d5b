//! Why a value could not be written or read, without its type.

use std::fmt;

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// What the serializer and the deserializer tell serde. One pointer, since each number that is read is handed on beside
/// the room for it.
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
        Self::new("it is cut short")
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
        // Serde's own words, when a type with one of these asks for a value that was read ahead.
        if matches!(&*reason, "u128 is not supported" | "i128 is not supported") {
            return Self::wide_in_buffer();
        }
        Self::new(reason)
    }
}

impl Error {
    /// Untagged and internally tagged enums and flattened fields are first read into a buffer, and serde's has no
    /// integers of 128 bits.
    pub(super) fn wide_in_buffer() -> Self {
        Self::new(
            "serde cannot read `u128` and `i128` inside an untagged or internally tagged enum, or a flattened field: \
             write it as a string, with `#[serde(with = ..)]`, or tag the enum otherwise",
        )
    }
}
