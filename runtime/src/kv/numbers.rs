//! The format of numbers in values: little-endian, one after the other.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A slice of numbers of a type that storage can add to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Numbers<'a> {
    /// 32-bit numbers.
    F32(&'a [f32]),
    /// 64-bit numbers.
    F64(&'a [f64]),
}

impl Numbers<'_> {
    /// Returns the length of the slice.
    pub fn len(&self) -> usize {
        match self {
            Numbers::F32(numbers) => numbers.len(),
            Numbers::F64(numbers) => numbers.len(),
        }
    }

    /// Returns whether the slice is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the size of one number, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Numbers::F32(_) => 4,
            Numbers::F64(_) => 8,
        }
    }

    /// Returns the numbers in the format of a value.
    #[cfg(feature = "redis")]
    pub(super) fn to_bytes(self) -> Vec<u8> {
        match self {
            Numbers::F32(numbers) => Number::to_bytes(numbers),
            Numbers::F64(numbers) => Number::to_bytes(numbers),
        }
    }
}

/// A number type of [`Params`](super::Params) and [`Kv::add`](super::Kv::add): `f32` or `f64`.
pub trait Number: Copy + PartialEq + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + sealed::Sealed {
    /// Name of the type: `f32` or `f64`.
    const NAME: &'static str;

    /// Size of one number, in bytes.
    const SIZE: usize;

    /// Zero.
    const ZERO: Self;

    /// Wraps a slice for an [`Addition`](super::Addition).
    fn numbers(slice: &[Self]) -> Numbers<'_>;

    /// Returns the numbers in the format of a value.
    fn to_bytes(numbers: &[Self]) -> Vec<u8>;

    /// Appends the numbers in a value, or in a part of one. Bytes at the end that are not a whole number are ignored.
    fn extend_from_bytes(numbers: &mut Vec<Self>, bytes: &[u8]);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

macro_rules! number {
    ($type:ident, $variant:ident, $size:literal) => {
        impl Number for $type {
            const NAME: &'static str = stringify!($type);
            const SIZE: usize = $size;
            const ZERO: Self = 0.0;

            fn numbers(slice: &[Self]) -> Numbers<'_> {
                Numbers::$variant(slice)
            }

            fn to_bytes(numbers: &[Self]) -> Vec<u8> {
                numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
            }

            fn extend_from_bytes(numbers: &mut Vec<Self>, bytes: &[u8]) {
                let (whole, _) = bytes.as_chunks::<$size>();
                numbers.extend(whole.iter().map(|&bytes| Self::from_le_bytes(bytes)));
            }
        }
    };
}
number!(f32, F32, 4);
number!(f64, F64, 8);

/// Adds to the numbers of a value. The caller has checked that the value contains all of them.
#[cfg(feature = "kv")]
pub(super) fn add_to(value: &mut [u8], addition: &super::Addition<'_>) {
    use super::Place;

    fn add<const N: usize, T: Copy + std::ops::Add<Output = T>>(
        value: &mut [u8],
        place: Place<'_>,
        delta: &[T],
        from: fn([u8; N]) -> T,
        to: fn(T) -> [u8; N],
    ) {
        let (numbers, _) = value.as_chunks_mut::<N>();
        let add_one = |number: &mut [u8; N], delta: T| *number = to(from(*number) + delta);
        match place {
            Place::From(start) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                for (number, &delta) in numbers.iter_mut().skip(start).zip(delta) {
                    add_one(number, delta);
                }
            }
            Place::At(indices) => {
                for (&index, &delta) in indices.iter().zip(delta) {
                    add_one(&mut numbers[index as usize], delta);
                }
            }
        }
    }
    match addition.delta {
        Numbers::F32(delta) => add(value, addition.place, delta, f32::from_le_bytes, f32::to_le_bytes),
        Numbers::F64(delta) => add(value, addition.place, delta, f64::from_le_bytes, f64::to_le_bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_round_trip(numbers in prop::collection::vec(any::<f32>(), 0..50), wide in any::<f64>()) {
            let mut back = Vec::new();
            f32::extend_from_bytes(&mut back, &f32::to_bytes(&numbers));
            prop_assert!(numbers.iter().map(|n| n.to_bits()).eq(back.iter().map(|n| n.to_bits())));
            let mut back = Vec::new();
            f64::extend_from_bytes(&mut back, &f64::to_bytes(&[wide]));
            prop_assert_eq!(back[0].to_bits(), wide.to_bits());
        }
    }
}
