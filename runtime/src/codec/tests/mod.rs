//! Every value that serde_json returns unchanged is also returned unchanged here, and so are more values.

mod bytes;
mod depth;
mod forms;
mod json;
mod lengths;
mod nodes;
mod numbers;
mod tables;

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserializer, Serializer};

use super::*;

#[track_caller]
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let bytes = encode(value).unwrap();
    match decode::<T>(&bytes) {
        Ok(got) => assert_eq!(got, *value, "{bytes:02x?}"),
        Err(error) => panic!("{error}, of {value:?}: {bytes:02x?}"),
    }
    // Skipping a value must end where the value ends.
    decode::<serde::de::IgnoredAny>(&bytes).unwrap();
    assert!(bytes.is_empty() || decode::<serde::de::IgnoredAny>(&bytes[..bytes.len() - 1]).is_err());
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Marker;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

/// Bytes in serde's own representation of bytes, as `serde_bytes` writes them.
#[derive(Debug, Clone, PartialEq)]
struct RealBytes(Vec<u8>);

impl Serialize for RealBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for RealBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl<'de> serde::de::Visitor<'de> for BytesVisitor {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut bytes: A) -> Result<Vec<u8>, A::Error> {
                std::iter::from_fn(|| bytes.next_element().transpose()).collect()
            }
        }
        deserializer.deserialize_byte_buf(BytesVisitor).map(RealBytes)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Key {
    Red,
    Blue,
}
