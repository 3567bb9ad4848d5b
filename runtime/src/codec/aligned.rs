//! Bytes that arrive in pieces, in memory that is aligned for the numbers that they may represent, so that a `Vec` of
//! these numbers can take over the memory.

use std::ops::Deref;

use bytemuck::Pod;
use bytemuck::allocation::try_cast_vec;

use crate::platform;

/// A buffer of bytes, aligned to one, two, four or eight bytes. See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aligned {
    One(Vec<u8>),
    Two(Vec<u16>),
    Four(Vec<u32>),
    Eight(Vec<u64>),
}

impl Default for Aligned {
    fn default() -> Self {
        Self::One(Vec::new())
    }
}

/// Reserves room for `len` bytes. If there is not enough memory, or if `len` is wrong, the `Vec` grows as bytes arrive.
fn room<T>(len: usize) -> Vec<T> {
    let mut room = Vec::new();
    let _ = room.try_reserve_exact(len.div_ceil(size_of::<T>()));
    platform::prefer_large_pages(&mut room);
    room
}

impl Aligned {
    /// Creates a buffer for `len` bytes of elements that are aligned to `align` bytes.
    pub(crate) fn with_capacity(align: usize, len: usize) -> Self {
        match align {
            2 => Self::Two(room(len)),
            4 => Self::Four(room(len)),
            8 => Self::Eight(room(len)),
            _ => Self::One(room(len)),
        }
    }

    /// Appends bytes. A piece that does not consist of whole, aligned numbers ends the alignment of the buffer.
    pub(crate) fn extend_from_slice(&mut self, piece: &[u8]) {
        fn extended<T: Pod>(numbers: &mut Vec<T>, piece: &[u8]) -> bool {
            let cast = bytemuck::try_cast_slice(piece);
            cast.map(|more| numbers.extend_from_slice(more)).is_ok()
        }
        let is_done = match self {
            Self::One(bytes) => extended(bytes, piece),
            Self::Two(numbers) => extended(numbers, piece),
            Self::Four(numbers) => extended(numbers, piece),
            Self::Eight(numbers) => extended(numbers, piece),
        };
        if !is_done {
            *self = Self::One([self, piece].concat());
        }
    }

    /// Turns the memory itself into a `Vec` of numbers. Returns the buffer unchanged if its alignment or size does not
    /// fit.
    pub(crate) fn into_numbers<T: Pod>(self) -> Result<Vec<T>, Self> {
        match self {
            Self::One(bytes) => try_cast_vec(bytes).map_err(|(_, bytes)| Self::One(bytes)),
            Self::Two(numbers) => try_cast_vec(numbers).map_err(|(_, numbers)| Self::Two(numbers)),
            Self::Four(numbers) => try_cast_vec(numbers).map_err(|(_, numbers)| Self::Four(numbers)),
            Self::Eight(numbers) => try_cast_vec(numbers).map_err(|(_, numbers)| Self::Eight(numbers)),
        }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Two(numbers) => bytemuck::cast_slice(numbers),
            Self::Four(numbers) => bytemuck::cast_slice(numbers),
            Self::Eight(numbers) => bytemuck::cast_slice(numbers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_reuse_the_received_memory() {
        let floats: Vec<f64> = (0..5000).map(f64::from).collect();
        let mut arrived = Aligned::with_capacity(8, floats.len() * 8);
        floats.chunks(1000).for_each(|piece| arrived.extend_from_slice(bytemuck::cast_slice(piece)));
        let at = arrived.as_ptr();
        let taken = arrived.into_numbers::<f64>().unwrap();
        assert_eq!((taken.as_ptr().cast(), &taken), (at, &floats));
        for align in [1, 2, 4, 8] {
            let mut arrived = Aligned::with_capacity(align, 32);
            arrived.extend_from_slice(bytemuck::cast_slice(&floats[..4]));
            let taken = arrived.clone().into_numbers::<f32>();
            assert_eq!(taken.is_ok(), align == 4);
            assert_eq!(taken.map_or_else(|bytes| bytes.len(), |numbers| 4 * numbers.len()), 32);
        }
    }

    #[test]
    fn pieces_of_any_length_are_kept() {
        let bytes: Vec<u8> = (0..=255).collect();
        for align in [1, 2, 4, 8] {
            for step in [1, 3, 8, 64] {
                let mut arrived = Aligned::with_capacity(align, usize::MAX);
                bytes.chunks(step).for_each(|piece| arrived.extend_from_slice(piece));
                assert_eq!(*arrived, *bytes);
            }
        }
    }
}
