//! Keys: types whose encodings sort like their values.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::floats::{OneFloat, one_double, one_float};
use crate::codec;

/// A type that can be a key of [`MapReduce`](super::MapReduce): its encodings, compared byte by byte, sort like its
/// values.
///
/// Strings, bytes, integers, floats, `bool`, `char`, arrays of bytes, and tuples of these are keys. [`Encoded`] makes
/// a key of any type that serde supports.
///
/// Floats that are equal are one key: `-0.0` is the key `0.0`. All NaN are one key, which comes after all numbers. This
/// also applies to floats in tuples. In [`Encoded`], equal floats and all NaN are one key, too.
///
/// ```
/// use wren::mapreduce::Key;
///
/// let encoded = |n: i32| {
///     let mut bytes = Vec::new();
///     n.encode(&mut bytes);
///     bytes
/// };
/// assert!(encoded(-7) < encoded(0) && encoded(0) < encoded(7));
/// assert_eq!(i32::decode(&encoded(-7)), Some(-7));
///
/// let encoded = |x: f64| {
///     let mut bytes = Vec::new();
///     x.encode(&mut bytes);
///     bytes
/// };
/// assert_eq!(encoded(-0.0), encoded(0.0));
/// assert_eq!(encoded(-f64::NAN), encoded(f64::NAN));
/// assert!(encoded(f64::INFINITY) < encoded(f64::NAN));
/// ```
pub trait Key {
    /// The key as `reduce` sees it: `&str` for strings, `&[u8]` for bytes, and an owned value for other types.
    type View<'a>;

    /// The key as an owned value.
    type Owned;

    /// Appends the encoding to `to`.
    fn encode(&self, to: &mut Vec<u8>);

    /// Returns the encoding, if the key is its own encoding.
    fn as_encoded(&self) -> Option<&[u8]> {
        None
    }

    /// Decodes a key. Returns `None` if `bytes` is not an encoding of one.
    fn decode(bytes: &[u8]) -> Option<Self::View<'_>>;

    /// Decodes a key into an owned value. Returns `None` if `bytes` is not an encoding of one.
    fn decode_owned(bytes: &[u8]) -> Option<Self::Owned>;
}

macro_rules! is_its_own_encoding {
    ($($key:ty, $view:ty, $owned:ty, $as_bytes:expr, $decode:expr;)*) => {$(
        impl Key for $key {
            type View<'a> = &'a $view;
            type Owned = $owned;

            fn encode(&self, to: &mut Vec<u8>) {
                to.extend_from_slice($as_bytes(self));
            }

            fn as_encoded(&self) -> Option<&[u8]> {
                Some($as_bytes(self))
            }

            fn decode(bytes: &[u8]) -> Option<&$view> {
                $decode(bytes)
            }

            fn decode_owned(bytes: &[u8]) -> Option<$owned> {
                $decode(bytes).map(Into::into)
            }
        }
    )*};
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

is_its_own_encoding! {
    str, str, String, str::as_bytes, text;
    String, str, String, String::as_bytes, text;
    [u8], [u8], Vec<u8>, std::convert::identity, Some;
    Vec<u8>, [u8], Vec<u8>, Vec::as_slice, Some;
}

macro_rules! by_value {
    ($($key:ty, $encode:expr, $decode:expr;)*) => {$(
        impl Key for $key {
            type View<'a> = $key;
            type Owned = $key;

            fn encode(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&$encode(*self));
            }

            fn decode(bytes: &[u8]) -> Option<$key> {
                bytes.try_into().ok().and_then($decode)
            }

            fn decode_owned(bytes: &[u8]) -> Option<$key> {
                Self::decode(bytes)
            }
        }
    )*};
}

macro_rules! integers {
    ($($unsigned:ty, $signed:ty;)*) => {
        by_value! {$(
            $unsigned, <$unsigned>::to_be_bytes, |bytes| Some(<$unsigned>::from_be_bytes(bytes));
            // With the sign bit flipped, negative numbers come before the others.
            $signed, |n: $signed| (n ^ <$signed>::MIN).to_be_bytes(),
                |bytes| Some(<$signed>::from_be_bytes(bytes) ^ <$signed>::MIN);
        )*}
    };
}

integers! {
    u8, i8;
    u16, i16;
    u32, i32;
    u64, i64;
    u128, i128;
    usize, isize;
}

by_value! {
    bool, |b| [u8::from(b)], |bytes: [u8; 1]| match bytes { [0] => Some(false), [1] => Some(true), _ => None };
    char, |c: char| u32::from(c).to_be_bytes(), |bytes| char::from_u32(u32::from_be_bytes(bytes));
    // The order of `total_cmp`: all bits of negative numbers are flipped, and only the sign bit of other numbers.
    f32, |x: f32| { let b = one_float(x).to_bits(); (if b >> 31 == 1 { !b } else { b | 1 << 31 }).to_be_bytes() },
        |bytes| { let b = u32::from_be_bytes(bytes); Some(f32::from_bits(if b >> 31 == 1 { b ^ 1 << 31 } else { !b })) };
    f64, |x: f64| { let b = one_double(x).to_bits(); (if b >> 63 == 1 { !b } else { b | 1 << 63 }).to_be_bytes() },
        |bytes| { let b = u64::from_be_bytes(bytes); Some(f64::from_bits(if b >> 63 == 1 { b ^ 1 << 63 } else { !b })) };
    (), |()| [], |_: [u8; 0]| Some(());
}

impl<const N: usize> Key for [u8; N] {
    type View<'a> = [u8; N];
    type Owned = [u8; N];

    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }

    fn as_encoded(&self) -> Option<&[u8]> {
        Some(self)
    }

    fn decode(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }

    fn decode_owned(bytes: &[u8]) -> Option<[u8; N]> {
        Self::decode(bytes)
    }
}

impl<K: Key + ?Sized> Key for &K {
    type View<'a> = K::View<'a>;
    type Owned = K::Owned;

    fn encode(&self, to: &mut Vec<u8>) {
        K::encode(self, to);
    }

    fn as_encoded(&self) -> Option<&[u8]> {
        K::as_encoded(self)
    }

    fn decode(bytes: &[u8]) -> Option<K::View<'_>> {
        K::decode(bytes)
    }

    fn decode_owned(bytes: &[u8]) -> Option<K::Owned> {
        K::decode_owned(bytes)
    }
}

/// Appends an encoding so that another can follow: 0 becomes 0 255, and 0 0 ends it. A shorter encoding then sorts
/// before a longer one that begins with it.
fn encode_part<K: Key + ?Sized>(key: &K, to: &mut Vec<u8>) {
    let start = to.len();
    key.encode(to);
    if to[start..].contains(&0) {
        let part: Vec<u8> = to.drain(start..).collect();
        for byte in part {
            to.push(byte);
            if byte == 0 {
                to.push(255);
            }
        }
    }
    to.extend_from_slice(&[0, 0]);
}

/// Decodes a part that [`encode_part`] appended, and removes it from the start of `bytes`.
fn decode_part<K: Key + ?Sized>(bytes: &mut &[u8]) -> Option<K::Owned> {
    let mut part = Vec::new();
    loop {
        let zero = bytes.iter().position(|byte| *byte == 0)?;
        part.extend_from_slice(&bytes[..zero]);
        let after = *bytes.get(zero + 1)?;
        *bytes = &bytes[zero + 2..];
        match after {
            0 => return K::decode_owned(&part),
            _ => part.push(0),
        }
    }
}

macro_rules! tuples {
    ($(($($part:ident . $at:tt),+; $last:ident . $end:tt);)*) => {$(
        impl<$($part: Key,)+ $last: Key> Key for ($($part,)+ $last) {
            type View<'a> = ($($part::Owned,)+ $last::Owned);
            type Owned = ($($part::Owned,)+ $last::Owned);

            fn encode(&self, to: &mut Vec<u8>) {
                $(encode_part(&self.$at, to);)+
                self.$end.encode(to);
            }

            fn decode(bytes: &[u8]) -> Option<Self::Owned> {
                let mut rest = bytes;
                Some(($(decode_part::<$part>(&mut rest)?,)+ $last::decode_owned(rest)?))
            }

            fn decode_owned(bytes: &[u8]) -> Option<Self::Owned> {
                Self::decode(bytes)
            }
        }
    )*};
}

tuples! {
    (A.0; B.1);
    (A.0, B.1; C.2);
    (A.0, B.1, C.2; D.3);
}

/// A key of any type that serde can encode. Equal keys must have the same encoding, which equal `HashMap`s, for
/// example, may not have. Keys are ordered by their encodings. Equal floats are one key, see [`Key`]: `reduce` gets
/// `0.0` for `-0.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoded<T>(pub T);

impl<T: Serialize + DeserializeOwned> Key for Encoded<T> {
    type View<'a> = T;
    type Owned = T;

    fn encode(&self, to: &mut Vec<u8>) {
        // If encoding fails, the key cannot be decoded either, which is an error when it is reduced.
        let _ = codec::encode_into(&OneFloat(&self.0), to);
    }

    fn decode(bytes: &[u8]) -> Option<T> {
        codec::decode(bytes).ok()
    }

    fn decode_owned(bytes: &[u8]) -> Option<T> {
        codec::decode(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded<K: Key + ?Sized>(key: &K) -> Vec<u8> {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        bytes
    }

    /// Compares like `total_cmp`, except that floats which are one key are equal.
    fn doubles(a: &f64, b: &f64) -> std::cmp::Ordering {
        one_double(*a).total_cmp(&one_double(*b))
    }

    fn floats(a: &f32, b: &f32) -> std::cmp::Ordering {
        one_float(*a).total_cmp(&one_float(*b))
    }

    macro_rules! sorts_as_it_does {
        ($($name:ident: $key:ty, $order:expr;)*) => {proptest! {$(
            #[test]
            fn $name(a: $key, b: $key) {
                prop_assert_eq!(encoded(&a).cmp(&encoded(&b)), $order(&a, &b));
                prop_assert!($order(&<$key>::decode_owned(&encoded(&a)).unwrap(), &a).is_eq());
            }
        )*}};
    }

    sorts_as_it_does! {
        strings: String, Ord::cmp;
        signed: i64, Ord::cmp;
        small: i8, Ord::cmp;
        unsigned: u128, Ord::cmp;
        characters: char, Ord::cmp;
        double_floats: f64, doubles;
        short_floats: f32, floats;
        arrays: [u8; 3], Ord::cmp;
        pairs: (Vec<u8>, Vec<u8>), Ord::cmp;
        triples: (u8, Vec<u8>, String), Ord::cmp;
    }

    #[test]
    fn zeros_in_parts_sort_and_round_trip() {
        let keys: [(Vec<u8>, u8); 6] =
            [(vec![], 9), (vec![0], 0), (vec![0, 0], 1), (vec![0, 1], 0), (vec![0, 255], 0), (vec![1], 0)];
        for (i, a) in keys.iter().enumerate() {
            assert_eq!(<(Vec<u8>, u8)>::decode(&encoded(a)).as_ref(), Some(a));
            assert!(keys[i + 1..].iter().all(|b| encoded(a) < encoded(b)));
        }
    }

    #[test]
    fn zeros_are_one_key_and_nans_another() {
        let nans = [f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001), f64::from_bits(u64::MAX)];
        for (zero, nan) in nans.map(|nan| (-0.0, nan)).into_iter().chain([(0.0, f64::NAN)]) {
            let double = encoded(&(zero, nan, 1.5));
            assert_eq!(double, encoded(&(0.0, f64::NAN, 1.5)));
            assert_eq!(encoded(&(zero as f32, nan as f32)), encoded(&(0.0f32, f32::NAN)));
            let any = |zero: f64, nan: f64| {
                let map = std::collections::BTreeMap::from([(1, vec![zero, nan])]);
                encoded(&Encoded((
                    Some(zero),
                    [nan],
                    (zero as f32, Some(nan as f32)),
                    map,
                    Some(Kind::Range { from: zero }),
                )))
            };
            assert_eq!(any(zero, nan), any(0.0, f64::NAN));
            let decoded = <(f64, f64, f64)>::decode(&double).unwrap();
            assert!(decoded.0.is_sign_positive() && decoded.1.is_nan() && decoded.2.to_bits() == 1.5f64.to_bits());
        }
        assert!(encoded(&f64::INFINITY) < encoded(&f64::NAN) && encoded(&f32::MAX) < encoded(&f32::NAN));
    }

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    enum Kind {
        Unit,
        One(f64),
        Two(f32, String),
        Range { from: f64 },
    }

    #[test]
    fn serde_encoded_keys_round_trip() {
        let kinds = vec![Kind::Unit, Kind::One(-1.5), Kind::Two(2.5, "é".to_owned()), Kind::Range { from: 1e300 }];
        let key = Encoded((kinds, (i128::MIN, u64::MAX, -1i8), Some('x'), None::<u8>, vec![0u8, 200], [true, false]));
        assert_eq!(encoded(&key), codec::encode(&key.0).unwrap(), "without -0.0 and NaN, nothing is changed");
        assert_eq!(
            Encoded::<(Vec<Kind>, (i128, u64, i8), Option<char>, Option<u8>, Vec<u8>, [bool; 2])>::decode(&encoded(
                &key
            )),
            Some(key.0)
        );
    }

    #[test]
    fn invalid_keys_are_none() {
        assert_eq!(u32::decode(b"abc"), None);
        assert_eq!(bool::decode(&[2]), None);
        assert_eq!(str::decode(&[0xff]), None);
        assert_eq!(<(u8, u8)>::decode(&[1, 0]), None);
        assert_eq!(Encoded::<(u8, String)>::decode(&[0xc1]), None);
    }
}
