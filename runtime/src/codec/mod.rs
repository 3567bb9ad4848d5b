//! The wire format of values: one that says what it holds, as JSON does, at the speed of memory.
//!
//! Whatever serde can say arrives as it was, or is refused with an error. A reader can ask for any value and learns what
//! it is, so that untagged and internally tagged enums, flattened fields and `serde_json::Value` decode as from JSON.
//! What makes it fast: sequences of numbers are blocks, names of fields stand once in a message, and a derived struct
//! whose fields are those of the message is read without names. The book has the table of its bytes, and `marks.rs`.
//!
//! Types that ask are told that the format is for people to read, and so write an address as a string: what serde reads
//! ahead into its buffer, it takes for such a format's.

mod access;
mod aligned;
mod compound;
pub(crate) mod envelope;
mod error;
mod item;
mod marks;
mod names;
mod numbers;
mod put;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod visit;
mod write;

use std::any::type_name;
use std::fmt;

use serde::{Deserialize, Serialize};

use read::Reader;
use write::Writer;

pub(crate) use aligned::Aligned;
pub use numbers::Number;
pub(crate) use numbers::{is_start_of, owned, parts_of, read as read_numbers};

/// How deep values may be nested: what a debug build decodes on a thread's 2 MiB of stack.
const MAX_DEPTH: usize = 256;

/// Why a value that is nested deeper is neither written nor read.
struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is nested more than {MAX_DEPTH} levels deep")
    }
}

/// A value that could not be encoded or decoded: which type, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecError {
    type_name: &'static str,
    doing: &'static str,
    reason: String,
}

impl CodecError {
    pub(crate) fn new(type_name: &'static str, doing: &'static str, reason: impl fmt::Display) -> Self {
        Self { type_name, doing, reason: reason.to_string() }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} a value of type `{}`: {}", self.doing, self.type_name, self.reason)
    }
}

impl std::error::Error for CodecError {}

/// Encodes a value into a new buffer.
///
/// ```
/// let bytes = wren::codec::encode(&("seed", 7u64)).unwrap();
/// let (name, seed): (String, u64) = wren::codec::decode(&bytes).unwrap();
/// assert_eq!((name.as_str(), seed), ("seed", 7));
/// ```
///
/// # Errors
/// Where the type's `Serialize` fails, or the value is nested more than 256 levels deep.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Appends the encoding of `value` to `out`. On an error, `out` may hold a part of it.
#[inline]
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut writer = Writer::new(out);
    value.serialize(&mut writer).map_err(|e| CodecError::new(type_name::<T>(), "encode", e))?;
    writer.finish();
    Ok(())
}

/// Decodes the value that `bytes` are. `&str` and `&[u8]` borrow from `bytes`.
///
/// Bytes from anywhere give a value or an error, never a panic, and allocate no more than a
/// small constant times their own length.
///
/// # Errors
/// Where `bytes` are no value of that type, or more than one.
#[inline]
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CodecError> {
    let mut reader = Reader::new(bytes);
    let value = T::deserialize(&mut reader).and_then(|value| reader.finish().map(|()| value));
    value.map_err(|e| CodecError::new(type_name::<T>(), "decode", e))
}

/// For fields of bytes: written in one copy, and read from a slice; serde's own way for `Vec<u8>` goes byte by byte.
pub(crate) mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
    }
}
