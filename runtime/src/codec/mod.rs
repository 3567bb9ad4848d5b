//! The wire format of values: self-describing like JSON, but at the speed of memory.
//!
//! Every value that serde can describe either arrives unchanged or is rejected with an error. A reader can ask for any
//! value and learns its type, so untagged and internally tagged enums, flattened fields and `serde_json::Value` decode
//! as they do from JSON. The format is fast because a sequence of numbers is one block, a message contains the names of
//! fields only once, and a derived struct whose fields match those of the message is read without comparing names.
//! `marks.rs` and the book have the table of the format's bytes.
//!
//! The format reports itself as human-readable (serde's default), so types such as `IpAddr` are written as strings.
//! This is necessary because serde reads some values ahead into a buffer, which always counts as human-readable.

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

/// Maximum nesting depth of values: a debug build can decode this depth on a thread's stack of 2 MiB.
const MAX_DEPTH: usize = 256;

/// The reason why a value that is nested deeper is neither written nor read.
struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is nested more than {MAX_DEPTH} levels deep")
    }
}

/// A value could not be encoded or decoded. The error names the type and the reason.
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
/// Fails if the type's `Serialize` fails, or if the value is nested more than 256 levels deep.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Appends the encoding of `value` to `out`. After an error, `out` may contain a part of it.
#[inline]
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut writer = Writer::new(out);
    value.serialize(&mut writer).map_err(|e| CodecError::new(type_name::<T>(), "encode", e))?;
    writer.finish();
    Ok(())
}

/// Decodes a value from `bytes`. `&str` and `&[u8]` borrow from `bytes`.
///
/// Decoding arbitrary bytes returns a value or an error and never panics. It allocates at most a small constant times
/// the length of `bytes`.
///
/// # Errors
/// Fails unless `bytes` are the encoding of exactly one value of that type.
#[inline]
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CodecError> {
    let mut reader = Reader::new(bytes);
    let value = T::deserialize(&mut reader).and_then(|value| reader.finish().map(|()| value));
    value.map_err(|e| CodecError::new(type_name::<T>(), "decode", e))
}

/// Functions for `#[serde(with = ..)]` on fields of bytes: they write the bytes in one copy and read them from a slice.
/// Serde's own implementation for `Vec<u8>` goes byte by byte.
pub(crate) mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
    }
}
