//! Tables: sequences of structs, tuples and arrays of numbers that all have one shape.
//!
//! A table contains the marks of one element, and after them the numbers of all elements without marks. The first
//! element is written like any value, and its marks are extracted. From then on [`RowWriter`] writes the elements; it
//! supports only numbers, tuples and structs. If an element has another shape, each element gets its own marks.

use serde::ser::{self, Serialize};

use super::marks::{self, Kind};
use super::names::Writing;

/// The maximum size of an element in bytes.
pub(super) const ROW: usize = 256;

/// The minimum number of elements of a table.
pub(super) const FROM: usize = 16;

/// The parts of an element in order, and their sizes.
///
/// `first` and `second` are not adjacent. Otherwise both would be compared with one load, and a processor that has just
/// written two halves must wait for both before it can load them as one value.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Signature {
    /// After the highest bit that is set: four bits for the kind of a number, twelve for a tuple or struct with its
    /// length.
    first: u64,
    /// The size of its numbers in bytes.
    len: usize,
    /// The parts that do not fit in `first`, in the same format.
    second: u64,
    /// The number of names of fields.
    names: usize,
    parts: usize,
}

const TUPLE: u64 = 0xd;
const STRUCT: u64 = 0xe;

impl Signature {
    const NEW: Self = Self { first: 1, len: 0, second: 1, names: 0, parts: 0 };

    /// From this value on, `first` or `second` has no room for another part of any kind.
    const FULL: u64 = 1 << (u64::BITS - 12);

    /// Whether there is room for another part, so that no part is shifted out.
    fn has_room(self) -> bool {
        self.second < Self::FULL
    }

    #[inline(always)]
    fn append(&mut self, bits: u64, width: u32) {
        let to = if self.first < Self::FULL { &mut self.first } else { &mut self.second };
        *to = *to << width | bits;
        self.parts += 1;
    }

    #[inline(always)]
    fn number(&mut self, kind: Kind) {
        self.append(kind as u64, 4);
        self.len += kind.size();
    }

    #[inline(always)]
    fn group(&mut self, code: u64, len: u8) {
        self.append(code << 8 | u64::from(len), 12);
    }
}

/// The shape of all elements of a sequence.
pub(super) struct Shape {
    /// The marks of an element, without its numbers.
    pub(super) marks: Vec<u8>,
    signature: Signature,
    /// The names of the fields of its structs, in order.
    names: Vec<&'static str>,
}

impl Shape {
    /// Returns the size of an element's numbers in bytes.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.signature.len
    }

    /// Returns the shape and the numbers of a value in which all numbers were written with their kinds; `None` if the
    /// value cannot be an element of a table.
    pub(super) fn of(value: &[u8], table: Option<&Writing>) -> Option<(Self, Vec<u8>)> {
        let (mut marks, mut names, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        let mut signature = Signature::NEW;
        let (mut rest, mut left) = (value, 1_usize);
        while left > 0 {
            left -= 1;
            let (mark, behind) = rest.split_first()?;
            rest = behind;
            let mut take = |len: usize| {
                let (taken, behind) = rest.split_at_checked(len)?;
                rest = behind;
                Some(taken)
            };
            match *mark {
                mark @ (marks::FALSE | marks::TRUE) => {
                    marks.push(marks::NUMBER + Kind::Bool as u8);
                    numbers.push(mark - marks::FALSE);
                    signature.number(Kind::Bool);
                }
                marks::SEQ => {
                    let len = take(1)?[0];
                    marks.extend_from_slice(&[marks::SEQ, len]);
                    signature.group(TUPLE, len);
                    left += usize::from(len);
                }
                marks::STRUCT => {
                    let index = take(2)?;
                    let set = table?.set(u16::from_le_bytes([index[0], index[1]]).into());
                    marks.extend_from_slice(&[marks::STRUCT, index[0], index[1]]);
                    names.extend_from_slice(set);
                    signature.group(STRUCT, u8::try_from(set.len()).ok()?);
                    left += set.len();
                }
                mark => match Kind::of_mark(mark, marks::NUMBER) {
                    Some(kind) => {
                        marks.push(mark);
                        numbers.extend_from_slice(take(kind.size())?);
                        signature.number(kind);
                    }
                    None => {
                        let (kind, len) = (Kind::of_mark(mark, marks::SHORT_BLOCK)?, take(1)?[0]);
                        marks.extend_from_slice(&[marks::SEQ, len]);
                        signature.group(TUPLE, len);
                        numbers.extend_from_slice(take(usize::from(len) * kind.size())?);
                        for _ in 0..len {
                            marks.push(marks::NUMBER + kind as u8);
                            signature.number(kind);
                        }
                    }
                },
            }
            if !signature.has_room() || numbers.len() > ROW || left > ROW {
                return None;
            }
        }
        signature.names = names.len();
        let has_numbers = !numbers.is_empty() && marks.len() < 256;
        has_numbers.then_some((Self { marks, signature, names }, numbers))
    }

    /// Writes an element's numbers; returns `false` if it has another shape.
    #[inline(always)]
    pub(super) fn write<T: Serialize + ?Sized>(&mut self, value: &T, row: &mut [u8; ROW]) -> bool {
        let writer = RowWriter { row, names: &mut self.names, signature: Signature::NEW };
        matches!(value.serialize(writer), Ok(signature) if signature == self.signature)
    }

    /// Passes the numbers of an element, and the marks of its tuples and structs, to `give` in order.
    pub(super) fn parts<'s>(&'s self, mut row: &'s [u8], mut give: impl FnMut(Part<'s>)) {
        let mut rest = &self.marks[..];
        while let Some(mark) = rest.first() {
            let kind = Kind::of_mark(*mark, marks::NUMBER);
            let len = match kind {
                Some(_) => 1,
                None if *mark == marks::SEQ => 2,
                None => 3,
            };
            let (head, behind) = rest.split_at(len.min(rest.len()));
            rest = behind;
            give(match kind {
                Some(kind) => {
                    let (number, behind) = row.split_at(kind.size().min(row.len()));
                    row = behind;
                    Part::Number(kind, number)
                }
                None => Part::Group(head),
            });
        }
    }
}

/// A part of an element.
pub(super) enum Part<'s> {
    Number(Kind, &'s [u8]),
    /// The mark of a tuple or a struct, with its length or its names.
    Group(&'s [u8]),
}

/// Returns the size of the numbers of an element with these marks, in bytes; `None` if the marks are not a valid shape.
pub(super) fn row_len(marks: &[u8], set_len: impl Fn(u16) -> Option<usize>) -> Option<usize> {
    let (mut rest, mut left, mut len) = (marks, 1_usize, 0_usize);
    while left > 0 {
        left -= 1;
        let (mark, behind) = rest.split_first()?;
        rest = behind;
        match *mark {
            marks::SEQ => {
                let (count, behind) = rest.split_first()?;
                left += usize::from(*count);
                rest = behind;
            }
            marks::STRUCT => {
                let (index, behind) = rest.split_first_chunk()?;
                left = left.checked_add(set_len(u16::from_le_bytes(*index))?)?;
                rest = behind;
            }
            mark => len += Kind::of_mark(mark, marks::NUMBER)?.size(),
        }
    }
    (rest.is_empty() && len > 0).then_some(len)
}

/// Writes the numbers of one element. It is passed by value, so that it does not need to be in memory.
struct RowWriter<'r> {
    row: &'r mut [u8; ROW],
    /// The names that the fields of structs must have.
    names: &'r mut [&'static str],
    /// The signature of the parts that are written so far.
    signature: Signature,
}

impl RowWriter<'_> {
    #[inline(always)]
    fn number<const N: usize>(mut self, kind: Kind, bytes: [u8; N]) -> Result<Signature, NotARow> {
        let at = self.signature.len;
        self.row.get_mut(at..at + N).ok_or(NotARow)?.copy_from_slice(&bytes);
        self.signature.number(kind);
        Ok(self.signature)
    }

    #[inline(always)]
    fn group(mut self, code: u64, len: usize) -> Result<Self, NotARow> {
        self.signature.group(code, u8::try_from(len).map_err(|_| NotARow)?);
        Ok(self)
    }

    #[inline(always)]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotARow> {
        let Self { row, names, signature } = self;
        *signature = value.serialize(RowWriter { row, names, signature: *signature })?;
        Ok(())
    }

    #[inline(always)]
    fn name(&mut self, name: &'static str) -> Result<(), NotARow> {
        let expected = self.names.get_mut(self.signature.names).ok_or(NotARow)?;
        self.signature.names += 1;
        if std::ptr::eq(*expected, name) { Ok(()) } else { learn_name(expected, name) }
    }
}

/// Compares names by their text, and keeps the new address, because the next comparison is by address. Code that was
/// compiled twice has two copies of each name.
#[cold]
fn learn_name(expected: &mut &'static str, name: &'static str) -> Result<(), NotARow> {
    if *expected != name {
        return Err(NotARow);
    }
    *expected = name;
    Ok(())
}

/// The error for an element of another shape.
#[derive(Debug)]
struct NotARow;

impl std::fmt::Display for NotARow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it has another shape")
    }
}

impl std::error::Error for NotARow {}

impl ser::Error for NotARow {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        // The reason is reported when the element is written again, as an ordinary value.
        NotARow
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty, $kind:ident;)*) => {$(
        #[inline(always)]
        fn $method(self, value: $type) -> Result<Signature, NotARow> {
            self.number(Kind::$kind, value.to_le_bytes())
        }
    )*};
}

macro_rules! not_a_row {
    ($($method:ident($($arg:ident: $type:ty),*) -> $ok:ty;)*) => {$(
        fn $method(self $(, $arg: $type)*) -> Result<$ok, NotARow> {
            $(let _ = $arg;)*
            Err(NotARow)
        }
    )*};
}

type Never = ser::Impossible<Signature, NotARow>;

impl ser::Serializer for RowWriter<'_> {
    type Ok = Signature;
    type Error = NotARow;
    type SerializeSeq = Never;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Self;
    type SerializeStructVariant = Never;

    numbers! {
        serialize_u8 u8, U8;
        serialize_i8 i8, I8;
        serialize_u16 u16, U16;
        serialize_i16 i16, I16;
        serialize_u32 u32, U32;
        serialize_i32 i32, I32;
        serialize_u64 u64, U64;
        serialize_i64 i64, I64;
        serialize_f32 f32, F32;
        serialize_f64 f64, F64;
    }

    #[inline(always)]
    fn serialize_bool(self, value: bool) -> Result<Signature, NotARow> {
        self.number(Kind::Bool, [u8::from(value)])
    }

    not_a_row! {
        serialize_u128(value: u128) -> Signature;
        serialize_i128(value: i128) -> Signature;
        serialize_char(value: char) -> Signature;
        serialize_str(value: &str) -> Signature;
        serialize_bytes(value: &[u8]) -> Signature;
        serialize_none() -> Signature;
        serialize_unit() -> Signature;
        serialize_unit_struct(name: &'static str) -> Signature;
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> Signature;
        serialize_seq(len: Option<usize>) -> Never;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> Never;
        serialize_map(len: Option<usize>) -> Never;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> Never;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _value: &T) -> Result<Signature, NotARow> {
        Err(NotARow)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<Signature, NotARow> {
        Err(NotARow)
    }

    #[inline(always)]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Signature, NotARow> {
        value.serialize(self)
    }

    #[inline(always)]
    fn serialize_tuple(self, len: usize) -> Result<Self, NotARow> {
        self.group(TUPLE, len)
    }

    #[inline(always)]
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Self, NotARow> {
        self.serialize_tuple(len)
    }

    #[inline(always)]
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Self, NotARow> {
        self.group(STRUCT, len)
    }
}

macro_rules! tuples {
    ($($trait:ident $method:ident,)*) => {$(
        impl ser::$trait for RowWriter<'_> {
            type Ok = Signature;
            type Error = NotARow;

            #[inline(always)]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotARow> {
                self.part(value)
            }

            #[inline(always)]
            fn end(self) -> Result<Signature, NotARow> {
                Ok(self.signature)
            }
        }
    )*};
}

tuples! {
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
}

impl ser::SerializeStruct for RowWriter<'_> {
    type Ok = Signature;
    type Error = NotARow;

    #[inline(always)]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), NotARow> {
        self.name(name)?;
        self.part(value)
    }

    #[inline(always)]
    fn end(self) -> Result<Signature, NotARow> {
        Ok(self.signature)
    }

    fn skip_field(&mut self, _name: &'static str) -> Result<(), NotARow> {
        Err(NotARow)
    }
}
