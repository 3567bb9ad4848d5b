//! The wire format of values: MessagePack with named fields.
//!
//! Named fields cost a few bytes and decode every type that serde can describe:
//! `serde_json::Value`, untagged, flattened and internally tagged enums, which
//! positional formats cannot. Sequences of bytes are written as one `bin`. As in JSON, `Some(None)` and
//! `None` are one, and map keys may be of any type.

mod depth;

use std::any::type_name;
use std::fmt;

use rmp_serde::config::BytesMode;
use serde::{Deserialize, Serialize};

/// How deep values may be nested: what a debug build decodes on a thread's 2 MiB of stack.
const MAX_DEPTH: usize = 256;

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
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Appends the encoding of `value` to `out`. On an error, `out` may hold a part of it.
#[inline]
pub fn encode_into<T: Serialize + ?Sized, W: std::io::Write>(value: &T, out: &mut W) -> Result<(), CodecError> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map().with_bytes(BytesMode::ForceIterables);
    value.serialize(&mut serializer).map_err(|e| CodecError::new(type_name::<T>(), "encode", e))
}

/// Decodes the value at the start of `bytes`. `&str` and `&[u8]` borrow from `bytes`.
///
/// Bytes from anywhere give a value or an error, never a panic, and allocate no more than a
/// small constant times their own length. Bytes after the value are not looked at: whoever
/// stores values keeps their lengths.
#[inline]
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CodecError> {
    if bytes.len() > 2 * MAX_DEPTH && !depth::is_within(MAX_DEPTH, bytes) {
        let reason = format!("it is nested more than {MAX_DEPTH} levels deep");
        return Err(CodecError::new(type_name::<T>(), "decode", reason));
    }
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut deserializer).map_err(|e| CodecError::new(type_name::<T>(), "decode", e))
}

/// What MessagePack puts before many bytes: `bin 32` and their number.
pub(crate) fn long_bytes_header(len: u32) -> [u8; 5] {
    let [a, b, c, d] = len.to_be_bytes();
    [0xc6, a, b, c, d]
}

/// A slice written as one `bin`, in one copy: serde's own way for `[u8]` goes byte by byte.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// For fields of bytes in what [`decode`] reads: written as one `bin`, and read from a slice.
pub(crate) mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Nested {
        name: String,
        values: Vec<f64>,
        bytes: Vec<u8>,
        kind: Kind,
        children: Vec<Nested>,
        #[serde(flatten)]
        extra: BTreeMap<String, u32>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "t")]
    enum Kind {
        Unit,
        Struct { x: Option<i64>, wide: u64 },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Loose {
        Number(i64),
        Text(String),
        List(Vec<Loose>),
    }

    type Tuple = (u8, i8, u128, i128, Option<Option<bool>>, char, (f32, String));

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Unit),
            (any::<Option<i64>>(), any::<u64>()).prop_map(|(x, wide)| Kind::Struct { x, wide })
        ]
    }

    fn nested() -> impl Strategy<Value = Nested> {
        let node = |children: BoxedStrategy<Vec<Nested>>| {
            let values = prop::collection::vec(prop::num::f64::NORMAL, 0..8);
            let extra = prop::collection::btree_map("x[a-z]{1,4}", any::<u32>(), 0..3);
            let bytes = prop::collection::vec(any::<u8>(), 0..300);
            ("[a-z]*", values, bytes, kind(), children, extra)
                .prop_map(|(name, values, bytes, kind, children, extra)| Nested {
                    name,
                    values,
                    bytes,
                    kind,
                    children,
                    extra,
                })
                .boxed()
        };
        node(Just(vec![]).boxed())
            .prop_recursive(3, 24, 4, move |inner| node(prop::collection::vec(inner, 0..4).boxed()))
    }

    fn loose() -> impl Strategy<Value = Loose> {
        let leaf = prop_oneof![any::<i64>().prop_map(Loose::Number), ".*".prop_map(Loose::Text)];
        leaf.prop_recursive(4, 32, 5, |inner| prop::collection::vec(inner, 0..5).prop_map(Loose::List))
    }

    proptest! {
        #[test]
        fn nested_types_round_trip(value in nested()) {
            prop_assert_eq!(decode::<Nested>(&encode(&value).unwrap()).unwrap(), value);
        }

        #[test]
        fn untagged_types_round_trip(value in loose()) {
            prop_assert_eq!(decode::<Loose>(&encode(&value).unwrap()).unwrap(), value);
        }

        #[test]
        fn tuples_options_and_wide_integers_round_trip(
            value in any::<Tuple>()
        ) {
            prop_assume!(!value.6.0.is_nan());
            // Some(None) and None are one in MessagePack, as in JSON.
            let mut want = value.clone();
            if want.4 == Some(None) { want.4 = None; }
            let got: Tuple = decode(&encode(&value).unwrap()).unwrap();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Nested>(&bytes);
            let _ = decode::<Loose>(&bytes);
            let _ = decode::<serde_json::Value>(&bytes);
            let _ = decode::<HashMap<String, Vec<u64>>>(&bytes);
            let _ = decode::<(&str, &[u8])>(&bytes);
        }
    }

    #[test]
    fn json_values_round_trip() {
        let value = serde_json::json!({"a": [1, -2, 3.5, null, true], "b": {"c": "text"}});
        assert_eq!(decode::<serde_json::Value>(&encode(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn a_length_that_lies_allocates_little() {
        // Arrays and maps that claim 2^32 - 1 elements, in five bytes.
        for marker in [0xdd, 0xdf, 0xc6, 0xdb] {
            let bytes = [marker, 0xff, 0xff, 0xff, 0xff];
            assert!(decode::<Vec<u64>>(&bytes).is_err());
            assert!(decode::<HashMap<u64, u64>>(&bytes).is_err());
            assert!(decode::<Vec<u8>>(&bytes).is_err());
            assert!(decode::<String>(&bytes).is_err());
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let bytes = vec![0x91; 1 << 20];
        assert!(decode::<serde_json::Value>(&bytes).is_err());
    }

    #[test]
    fn bytes_cost_their_own_length() {
        let bytes = vec![200u8; 1000];
        assert_eq!(encode(&bytes).unwrap().len(), 1003);
        assert_eq!(encode(&bytes).unwrap(), encode(&Bytes(&bytes)).unwrap());
        assert_eq!(decode::<&[u8]>(&encode(&bytes).unwrap()).unwrap(), &bytes[..]);
    }
}
