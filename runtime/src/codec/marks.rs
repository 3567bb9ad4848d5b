//! Marks: the first byte of each value, which determines the bytes that follow. The book's chapter "The wire format"
//! has the same table.
//!
//! | first byte | value | what follows |
//! | --- | --- | --- |
//! | `00`–`7f` | the integer 0 to 127 | |
//! | `80`–`9f` | a string of 0 to 31 bytes | its UTF-8 |
//! | `a0` `a1` | `()`, `None` | |
//! | `a2` | `Some` | the value |
//! | `a3` | a `char` | 4 bytes |
//! | `a4` `a5` | a string | its length in 1 or 8 bytes, then its UTF-8 |
//! | `a6` `a7` | bytes | their length in 1 or 8 bytes, then the bytes |
//! | `a8` `a9` | a sequence or tuple | the number of values in 1 or 8 bytes, then the values |
//! | `aa` `ab` | a map | the number of entries in 1 or 8 bytes, then each key with its value |
//! | `ac` `ad` | a struct | the index of its field names in 2 or 4 bytes, then the values |
//! | `ae` `af` | a variant without a value | the index of its name in 2 or 4 bytes |
//! | `b0` `b1` | a variant with a value | the index of its name in 2 or 4 bytes, then the value |
//! | `b2` `b3` | `false`, `true` | |
//! | `b4` `b5` | a `u128` or `i128` that does not fit in 64 bits | 16 bytes |
//! | `c1`–`ca` | a number | its bytes; `c0` + [`Kind`] |
//! | `d0`–`da` | a sequence of up to 255 numbers of one [`Kind`] | the number of numbers in 1 byte, then their bytes |
//! | `b6` | a table: a sequence of structs or tuples of numbers, all of one shape | the number of elements in 8 bytes; the number of marks in 1 byte; the marks of one element; the numbers of all elements |
//! | `e0`–`ea` | a sequence of numbers of one [`Kind`] | 15 more bytes of a [header](super::numbers), then their bytes |
//!
//! All numbers are little-endian. Names of fields and variants are stored once, after the value: see
//! [`names`](super::names).

pub(super) const SMALL: u8 = 0x7f;
pub(super) const TINY_STR: u8 = 0x80;
pub(super) const TINY_STR_END: u8 = 0x9f;
pub(super) const UNIT: u8 = 0xa0;
pub(super) const NONE: u8 = 0xa1;
pub(super) const SOME: u8 = 0xa2;
pub(super) const CHAR: u8 = 0xa3;
pub(super) const STR: u8 = 0xa4;
pub(super) const BYTES: u8 = 0xa6;
pub(super) const SEQ: u8 = 0xa8;
pub(super) const MAP: u8 = 0xaa;
pub(super) const STRUCT: u8 = 0xac;
pub(super) const UNIT_VARIANT: u8 = 0xae;
pub(super) const VARIANT: u8 = 0xb0;
pub(super) const FALSE: u8 = 0xb2;
pub(super) const TRUE: u8 = 0xb3;
pub(super) const U128: u8 = 0xb4;
pub(super) const I128: u8 = 0xb5;
pub(super) const ROWS: u8 = 0xb6;
pub(super) const NUMBER: u8 = 0xc0;
pub(super) const SHORT_BLOCK: u8 = 0xd0;
pub(super) const LONG_BLOCK: u8 = 0xe0;

/// The mark of an array in a block of arrays while the block is read. No valid message contains it.
pub(super) const ARRAY: u8 = 0xff;
pub(super) const ARRAY_MARKS: &[u8] = &[ARRAY];

/// The difference between a mark and its wide form, whose length or index has the larger of two widths.
pub(super) const WIDE: u8 = 1;
pub(super) const WIDE_STR: u8 = STR + WIDE;
pub(super) const WIDE_BYTES: u8 = BYTES + WIDE;
pub(super) const WIDE_SEQ: u8 = SEQ + WIDE;
pub(super) const WIDE_MAP: u8 = MAP + WIDE;
pub(super) const WIDE_STRUCT: u8 = STRUCT + WIDE;
pub(super) const WIDE_UNIT_VARIANT: u8 = UNIT_VARIANT + WIDE;
pub(super) const WIDE_VARIANT: u8 = VARIANT + WIDE;

/// The kind of a number. All numbers of a block have the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Bool = 0,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Bool,
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::U64,
        Self::I64,
        Self::F32,
        Self::F64,
    ];

    /// Returns the kind of a mark that is `base` plus a kind.
    pub(super) fn of_mark(mark: u8, base: u8) -> Option<Self> {
        Self::ALL.get(usize::from(mark.checked_sub(base)?)).copied()
    }

    /// Returns the mark of a number of this kind, as a slice.
    pub(super) fn marks(self) -> &'static [u8] {
        const MARKS: [u8; 11] = {
            let mut marks = [0; 11];
            let mut kind = 0;
            while kind < marks.len() {
                marks[kind] = NUMBER + kind as u8;
                kind += 1;
            }
            marks
        };
        &MARKS[self as usize..][..1]
    }

    /// Returns the marks of an array of `len` numbers; `None` if the array is empty or has more than 16 numbers.
    pub(super) fn marks_of_array(self, len: u16) -> Option<&'static [u8]> {
        const LONGEST: usize = 16;
        /// For each kind and each length from 1: the head of such a sequence, then the marks of its numbers.
        const MARKS: [[[u8; 2 + LONGEST]; LONGEST]; 11] = {
            let mut marks = [[[0; 2 + LONGEST]; LONGEST]; 11];
            let mut kind = 0;
            while kind < marks.len() {
                let mut len = 1;
                while len <= LONGEST {
                    let array = &mut marks[kind][len - 1];
                    *array = [NUMBER + kind as u8; 2 + LONGEST];
                    array[0] = SEQ;
                    array[1] = len as u8;
                    len += 1;
                }
                kind += 1;
            }
            marks
        };
        let len = usize::from(len);
        Some(&MARKS[self as usize].get(len.checked_sub(1)?)?[..2 + len])
    }

    /// Returns the size of one number in bytes.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}
