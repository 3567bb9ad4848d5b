//! The implementation of serde's serializer, which writes values.

use serde::ser::{self, Serialize};

use super::MAX_DEPTH;
use super::compound::{Elements, Entries, Fields, Rows};
use super::error::{Error, Result};
use super::marks::{self, Kind};
use super::names::{Set, Writing};
use super::put::{self, block_header_len, put_block_header, put_index, put_length, put_number, put_number_of_block};
use super::rows;

/// Writes one message after the bytes that `out` already contains.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// Where the message starts in `out`.
    start: usize,
    pub(super) depth: usize,
    /// The sequence whose elements are being written, while it contains only numbers. A sequence within it ends that.
    pub(super) run: Run,
    /// The table of names, which is created for the first struct or enum.
    pub(super) names: Option<Box<Writing>>,
    /// Whether small numbers keep their kinds: set while the first element of a possible table is written.
    pub(super) exact: bool,
    /// Whether that element contains a sequence. Then it has no fixed shape: in the next element, the sequence may have
    /// another length.
    pub(super) has_sequence: bool,
    /// A set of bits: the lengths of tuples whose elements were not numbers of one kind.
    pub(super) mixed_tuples: u32,
}

/// A sequence that becomes a block of numbers if all its elements are numbers of one kind.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) state: RunState,
    /// Where the sequence starts in `out`.
    at: usize,
    /// The number of elements to expect.
    expected: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RunState {
    /// The value to write is not an element of a sequence, or the sequence contains other values than numbers of one
    /// kind.
    Off,
    /// The value to write is the first element. Nothing of the sequence is written yet.
    First,
    /// All elements so far were numbers of this kind.
    Numbers(Kind),
}

pub(super) const OFF: Run = Run { state: RunState::Off, at: 0, expected: 0 };

impl<'a> Writer<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start, depth: 0, run: OFF, names: None, exact: false, has_sequence: false, mixed_tuples: 0 }
    }

    /// Finishes the message: appends the table of names, if there is one.
    #[inline]
    pub(super) fn finish(self) {
        if let Some(names) = &self.names {
            names.append_to(self.out, self.start);
        }
    }

    /// Prepares for a value that is not a number.
    fn other(&mut self) {
        if self.run.state != RunState::Off {
            self.end_run();
        }
    }

    /// Turns the block into an ordinary sequence: each element so far gets its own mark.
    #[inline(never)]
    fn end_run(&mut self) {
        let Run { state, at, expected } = std::mem::replace(&mut self.run, OFF);
        let wide = put::is_wide(expected);
        let RunState::Numbers(kind) = state else { return put_length(self.out, marks::SEQ, 0, wide) };
        let data = self.out.split_off(at + block_header_len(wide));
        self.out.truncate(at);
        put_length(self.out, marks::SEQ, 0, wide);
        for number in data.chunks_exact(kind.size()) {
            put_number_of_block(self.out, kind, number, self.exact);
        }
    }

    #[inline(always)]
    fn number<const N: usize>(&mut self, kind: Kind, bytes: [u8; N], is_small: bool) {
        if self.run.state == RunState::Numbers(kind) {
            self.out.extend_from_slice(&bytes);
        } else {
            self.other_number(kind, &bytes, is_small && !self.exact);
        }
    }

    /// Writes a number that does not continue a block.
    #[inline(never)]
    fn other_number(&mut self, kind: Kind, bytes: &[u8], is_small: bool) {
        match self.run.state {
            RunState::First => {
                self.run.state = RunState::Numbers(kind);
                put_block_header(self.out, kind, put::is_wide(self.run.expected));
                put::reserve(self.out, bytes.len(), self.run.expected);
                return self.out.extend_from_slice(bytes);
            }
            RunState::Numbers(_) => self.end_run(),
            RunState::Off => {}
        }
        put_number(self.out, kind, bytes, is_small);
    }

    fn wide(&mut self, mark: u8, bytes: [u8; 16]) -> Result<()> {
        self.other();
        self.out.push(mark);
        self.out.extend_from_slice(&bytes);
        Ok(())
    }

    fn deeper(&mut self) -> Result<()> {
        if self.depth == MAX_DEPTH {
            return Err(Error::new(super::TooDeep));
        }
        self.depth += 1;
        Ok(())
    }

    /// Writes a value that is one level deeper.
    #[inline]
    fn nested<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.deeper()?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        Ok(())
    }

    /// Starts a sequence. `len` is the number of elements to expect.
    fn sequence(&mut self, len: Option<usize>, mixed_bit: u32) -> Result<Elements<'_, 'a>> {
        self.other();
        self.deeper()?;
        let (at, expected) = (self.out.len(), len.unwrap_or_default());
        if self.mixed_tuples & mixed_bit == 0 {
            self.run = Run { state: RunState::First, at, expected };
        } else {
            put_length(self.out, marks::SEQ, 0, put::is_wide(expected));
        }
        Ok(Elements { writer: self, at, expected, count: 0, mixed_bit, rows: Rows::No })
    }

    fn tuple(&mut self, len: usize) -> Result<Elements<'_, 'a>> {
        self.sequence(Some(len), if len < 32 { 1 << len } else { 0 })
    }

    fn structure(&mut self, name: &'static str) -> Result<Fields<'_, 'a>> {
        self.other();
        self.deeper()?;
        let at = self.out.len();
        self.out.extend_from_slice(&[marks::STRUCT, 0, 0]);
        let guess = self.names.get_or_insert_default().guess(name);
        Ok(Fields { writer: self, name, at, guess, matched: 0, own: Set::new() })
    }

    /// Starts a variant. `mark` determines whether a value follows.
    fn variant(&mut self, mark: u8, name: &'static str) -> Result<()> {
        self.other();
        let names = self.names.get_or_insert_default();
        let index = match names.guess(name).filter(|guess| matches!(&names.set(*guess)[..], [only] if *only == name)) {
            Some(guess) => guess,
            None => names.index(name, Set::from_slice(&[name]))?,
        };
        put_index(self.out, mark, index);
        Ok(())
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty, $kind:ident, $is_small:expr;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<()> {
            let is_small: fn($type) -> bool = $is_small;
            self.number(Kind::$kind, value.to_le_bytes(), is_small(value));
            Ok(())
        }
    )*};
}

impl<'w, 'a> ser::Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Elements<'w, 'a>;
    type SerializeTuple = Elements<'w, 'a>;
    type SerializeTupleStruct = Elements<'w, 'a>;
    type SerializeTupleVariant = Elements<'w, 'a>;
    type SerializeMap = Entries<'w, 'a>;
    type SerializeStruct = Fields<'w, 'a>;
    type SerializeStructVariant = Fields<'w, 'a>;

    numbers! {
        serialize_u8 u8, U8, |value| value <= 127;
        serialize_i8 i8, I8, |value| value >= 0;
        serialize_u16 u16, U16, |value| value <= 127;
        serialize_i16 i16, I16, |value| (0..=127).contains(&value);
        serialize_u32 u32, U32, |value| value <= 127;
        serialize_i32 i32, I32, |value| (0..=127).contains(&value);
        serialize_u64 u64, U64, |value| value <= 127;
        serialize_i64 i64, I64, |value| (0..=127).contains(&value);
        serialize_f32 f32, F32, |_| false;
        serialize_f64 f64, F64, |_| false;
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<()> {
        if matches!(self.run.state, RunState::First | RunState::Numbers(Kind::Bool)) {
            self.number(Kind::Bool, [u8::from(value)], false);
        } else {
            self.other();
            self.out.push(marks::FALSE + u8::from(value));
        }
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        // A value that fits in 64 bits is written as a `u64`, so that readers of smaller integers can read it.
        if let Ok(value) = u64::try_from(value) {
            self.other();
            return self.serialize_u64(value);
        }
        self.wide(marks::U128, value.to_le_bytes())
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        if let Ok(value) = i64::try_from(value) {
            self.other();
            return self.serialize_i64(value);
        }
        self.wide(marks::I128, value.to_le_bytes())
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.other();
        self.out.push(marks::CHAR);
        self.out.extend_from_slice(&u32::from(value).to_le_bytes());
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        self.other();
        if value.len() <= usize::from(marks::TINY_STR_END - marks::TINY_STR) {
            self.out.push(marks::TINY_STR | value.len() as u8);
        } else {
            put_length(self.out, marks::STR, value.len(), false);
        }
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        self.other();
        put_length(self.out, marks::BYTES, value.len(), false);
        self.out.extend_from_slice(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<()> {
        self.other();
        self.out.push(marks::NONE);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        self.other();
        self.out.push(marks::SOME);
        self.nested(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<()> {
        self.other();
        self.out.push(marks::UNIT);
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<()> {
        self.variant(marks::UNIT_VARIANT, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.variant(marks::VARIANT, variant)?;
        self.nested(value)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Elements<'w, 'a>> {
        self.has_sequence = true;
        let may_have_rows = !self.exact && len.is_some_and(|len| len >= rows::FROM);
        let mut elements = self.sequence(len, 0)?;
        if may_have_rows {
            elements.rows = Rows::First;
        }
        Ok(elements)
    }

    fn serialize_tuple(self, len: usize) -> Result<Elements<'w, 'a>> {
        self.tuple(len)
    }

    #[inline]
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Elements<'w, 'a>> {
        self.tuple(len)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Elements<'w, 'a>> {
        self.variant(marks::VARIANT, variant)?;
        self.tuple(len)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Entries<'w, 'a>> {
        self.other();
        self.deeper()?;
        let (at, wide) = (self.out.len(), put::is_wide(len.unwrap_or_default()));
        put_length(self.out, marks::MAP, 0, wide);
        Ok(Entries { writer: self, at, wide, count: 0 })
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Fields<'w, 'a>> {
        self.structure(name)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Fields<'w, 'a>> {
        self.variant(marks::VARIANT, variant)?;
        self.structure(variant)
    }
}
