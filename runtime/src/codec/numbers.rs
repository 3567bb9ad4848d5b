//! Sequences of numbers, or of arrays of numbers, which are written and read with the layout that they have in memory.
//!
//! A long block of numbers starts with a header of 16 bytes: its mark, a zero, the lengths of up to three nested arrays
//! as `u16` (a `Vec<[[f32; 3]; 2]>` has 2, 3 and 0), and the number of its elements as `u64`. So the numbers are
//! aligned if the message is.

use std::borrow::Cow;

use bytemuck::{CheckedBitPattern, NoUninit, Pod};

use super::marks::{self, Kind};
use crate::platform;

const _: () = assert!(
    cfg!(target_endian = "little"),
    "values are written with their layout in memory, which must be little-endian"
);

/// Lengths of the nested arrays that are a block's elements, outermost first; 0 if there are no more.
pub(super) type Dims = [u16; 3];

/// The header of a long block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) kind: Kind,
    pub(super) dims: Dims,
    pub(super) count: usize,
}

impl BlockHeader {
    pub(super) const LEN: usize = 16;

    /// Returns the header of numbers that are not in arrays.
    pub(super) fn flat(kind: Kind, count: usize) -> Self {
        Self { kind, dims: [0; 3], count }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = marks::LONG_BLOCK + self.kind as u8;
        for (to, dim) in bytes[2..8].chunks_exact_mut(2).zip(self.dims) {
            to.copy_from_slice(&dim.to_le_bytes());
        }
        bytes[8..].copy_from_slice(&(self.count as u64).to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [mark, 0, a, b, c, d, e, f, count @ ..] = bytes.first_chunk::<{ Self::LEN }>()? else { return None };
        let kind = Kind::of_mark(*mark, marks::LONG_BLOCK)?;
        let dims = [[*a, *b], [*c, *d], [*e, *f]].map(u16::from_le_bytes);
        let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
        Some(Self { kind, dims, count })
    }

    /// Returns the size of all its numbers in bytes; `None` if that overflows.
    pub(super) fn data_len(&self) -> Option<usize> {
        let dims = self.dims.iter().take_while(|dim| **dim > 0);
        dims.map(|dim| usize::from(*dim)).try_fold(self.count, usize::checked_mul)?.checked_mul(self.kind.size())
    }
}

/// A number, or an array of numbers, that is written with its layout in memory.
#[doc(hidden)]
pub trait Number: CheckedBitPattern + NoUninit + Send + Sync {
    /// The kind of the number and the lengths of the arrays; `None` if the header of a block cannot represent them.
    #[doc(hidden)]
    const FORM: Form;

    /// Returns bytes as numbers; `None` if they are not aligned, or if a byte is not a valid number. Only `bool` looks
    /// at each byte: a loop, which programs without optimization run slowly.
    #[doc(hidden)]
    fn cast(bytes: &[u8]) -> Option<&[Self]>;
}

/// See [`Number::FORM`].
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form(Option<(Kind, Dims)>);

macro_rules! cast {
    (Bool, $bytes:ident) => {
        bytemuck::checked::try_cast_slice($bytes).ok()
    };
    ($kind:ident, $bytes:ident) => {
        bytemuck::try_cast_slice($bytes).ok()
    };
}

macro_rules! number {
    ($($type:ty: $kind:ident,)*) => {$(
        impl Number for $type {
            const FORM: Form = Form(Some((Kind::$kind, [0; 3])));

            fn cast(bytes: &[u8]) -> Option<&[Self]> {
                cast!($kind, bytes)
            }
        }
    )*};
}

number! {
    bool: Bool, u8: U8, i8: I8, u16: U16, i16: I16, u32: U32, i32: I32, u64: U64, i64: I64, f32: F32, f64: F64,
}

impl<T: Number + Pod, const N: usize> Number for [T; N] {
    const FORM: Form = match T::FORM {
        Form(Some((kind, [a, b, 0]))) if N > 0 && N <= u16::MAX as usize => Form(Some((kind, [N as u16, a, b]))),
        _ => Form(None),
    };

    fn cast(bytes: &[u8]) -> Option<&[Self]> {
        bytemuck::try_cast_slice(bytes).ok()
    }
}

/// Returns the start of a block and its numbers as bytes; `None` if the numbers cannot be a block.
pub(crate) fn parts_of<T: Number>(numbers: &[T]) -> Option<(Start, &[u8])> {
    let (kind, dims) = T::FORM.0?;
    let mut start = Start::new();
    match u8::try_from(numbers.len()) {
        Ok(count) if dims[0] == 0 => start.extend_from_slice(&[marks::SHORT_BLOCK + kind as u8, count]),
        _ => start.extend_from_slice(&BlockHeader { kind, dims, count: numbers.len() }.to_bytes()),
    }
    Some((start, bytemuck::cast_slice(numbers)))
}

/// The start of a block: the bytes before its numbers.
pub(crate) type Start = smallvec::SmallVec<[u8; BlockHeader::LEN]>;

/// Returns the numbers of a message that is a block of numbers, borrowed if they are aligned; `None` for any other
/// message. `start` is either the whole message or only the start of the block; then `apart` contains the numbers.
pub(crate) fn read<'de, T: Number>(start: &'de [u8], apart: &'de [u8]) -> Option<Cow<'de, [T]>> {
    let (kind, dims) = T::FORM.0?;
    let (count, data) = match start {
        [mark, count, data @ ..] if dims[0] == 0 && *mark == marks::SHORT_BLOCK + kind as u8 => {
            (usize::from(*count), data)
        }
        _ => {
            let header = BlockHeader::parse(start)?;
            ((header.kind, header.dims) == (kind, dims)).then_some((header.count, &start[BlockHeader::LEN..]))?
        }
    };
    let data = if data.is_empty() { apart } else { data };
    if Some(data.len()) != count.checked_mul(size_of::<T>()) {
        return None;
    }
    match T::cast(data) {
        Some(numbers) => Some(Cow::Borrowed(numbers)),
        // A byte is not a valid `bool`, or the numbers are not aligned.
        None => {
            data.chunks_exact(size_of::<T>()).map(|one| bytemuck::checked::try_pod_read_unaligned(one).ok()).collect()
        }
    }
}

/// Returns numbers that were read as a `Vec`.
pub(crate) fn owned<T: Number>(numbers: Cow<'_, [T]>) -> Vec<T> {
    match numbers {
        Cow::Owned(numbers) => numbers,
        Cow::Borrowed(numbers) => {
            let mut copy = Vec::with_capacity(numbers.len());
            platform::prefer_large_pages(&mut copy);
            copy.extend_from_slice(numbers);
            copy
        }
    }
}

/// Whether `start` is the header of a long block with numbers of type `T` that take `len` bytes.
pub(crate) fn is_start_of<T: Number>(start: &[u8], len: usize) -> bool {
    let is_form = |header: BlockHeader| T::FORM.0 == Some((header.kind, header.dims)) && header.data_len() == Some(len);
    start.len() == BlockHeader::LEN && BlockHeader::parse(start).is_some_and(is_form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn written<T: Number>(numbers: &[T]) -> Vec<u8> {
        let (start, data) = parts_of(numbers).unwrap();
        [&start, data].concat()
    }

    #[test]
    fn raw_numbers_match_serdes_output() {
        for len in [0_usize, 1, 3, 255, 256, 1000] {
            let floats: Vec<f64> = (0..len).map(|i| i as f64 / 3.0).collect();
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let flags: Vec<bool> = (0..len).map(|i| i % 3 == 0).collect();
            if len > 0 {
                assert_eq!(written(&floats), codec::encode(&floats).unwrap());
                assert_eq!(written(&bytes), codec::encode(&bytes).unwrap());
                assert_eq!(written(&flags), codec::encode(&flags).unwrap());
            }
            assert_eq!(codec::decode::<Vec<f64>>(&written(&floats)).unwrap(), floats);
            assert_eq!(codec::decode::<Vec<bool>>(&written(&flags)).unwrap(), flags);
            for message in [written(&floats), codec::encode(&floats).unwrap()] {
                if len > 0 {
                    assert_eq!(*read::<f64>(&message, &[]).unwrap(), floats);
                }
            }
        }
    }

    #[test]
    fn arrays_are_read_by_serde_and_in_place() {
        let points: Vec<[f32; 3]> = (0..500).map(|i| [i as f32, -1.5, f32::NAN.min(i as f32)]).collect();
        let message = written(&points);
        assert_eq!(codec::decode::<Vec<[f32; 3]>>(&message).unwrap(), points);
        assert_eq!(*read::<[f32; 3]>(&message, &[]).unwrap(), points);
        assert!(read::<f32>(&message, &[]).is_none() && read::<[f32; 2]>(&message, &[]).is_none());

        let deep = [[[[1_i16, 2], [3, 4], [5, -6]]; 2]; 3];
        assert_eq!(codec::decode::<Vec<[[[i16; 2]; 3]; 2]>>(&written(&deep)).unwrap(), deep);
        let with_options: Vec<Option<(f32, f32, f32)>> = codec::decode(&message).unwrap();
        assert_eq!(with_options[7], Some((7.0, -1.5, 7.0)));
        assert!(
            parts_of(&[[[[[0_u8; 2]; 2]; 2]; 2]]).is_none(),
            "a header has room for three nested arrays, not for four"
        );
        assert!(parts_of(&[[0.0_f64; 0]; 7]).is_none());
    }

    #[test]
    fn aligned_numbers_are_borrowed() {
        let message = written(&vec![2.5_f64; 300]);
        let mut aligned = vec![0_u64; message.len() / 8];
        bytemuck::cast_slice_mut(&mut aligned).copy_from_slice(&message);
        let aligned: &[u8] = bytemuck::cast_slice(&aligned);
        assert!(matches!(read::<f64>(aligned, &[]), Some(Cow::Borrowed(_))));
        let moved = [&[0], aligned].concat();
        assert_eq!(*read::<f64>(&moved[1..], &[]).unwrap(), [2.5; 300]);
    }

    #[test]
    fn malformed_blocks_are_not_read() {
        let mut message = written(&[true; 300]);
        assert!(read::<bool>(&message[..message.len() - 1], &[]).is_none());
        assert!(read::<u8>(&message, &[]).is_none());
        message[200] = 2;
        assert!(read::<bool>(&message, &[]).is_none());
        assert!(codec::decode::<Vec<bool>>(&message).is_err());
        let mut endless = written(&[[1_u64; 9]; 300]);
        endless[8..16].fill(0xff);
        assert!(read::<[u64; 9]>(&endless, &[]).is_none());
        assert!(codec::decode::<Vec<[u64; 9]>>(&endless).is_err());
    }
}
