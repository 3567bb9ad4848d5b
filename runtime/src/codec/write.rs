//! Writes values: serde's serializer.

use serde::ser::{self, Serialize};

use super::MAX_DEPTH;
use super::error::{Error, Result};
use super::marks::{self, Kind, WIDE};
use super::names::{self, Set, Writing};
use super::numbers::BlockHeader;
use super::rows::{self, Part, Shape};

/// Writes one message behind what `out` already holds.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Where the message begins.
    start: usize,
    depth: usize,
    /// The sequence whose element is being written, as long as it is one of numbers: sequences within it end that.
    run: Run,
    /// Made for the first struct or enum.
    names: Option<Box<Writing>>,
    /// Whether small numbers keep their kinds, and whether a sequence was written, whose length the next may not have: while
    /// the shape of an element is looked for.
    exact: bool,
    has_sequence: bool,
    /// Lengths of tuples that did not hold numbers of one kind, as bits.
    mixed_tuples: u32,
}

/// A sequence that may become a block of numbers: as long as all its elements are of one kind.
#[derive(Clone, Copy)]
struct Run {
    state: RunState,
    /// Where the sequence begins.
    at: usize,
    /// Whether its length takes 8 bytes.
    wide: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RunState {
    /// What is written is no element of a sequence, or of one with values of other kinds.
    Off,
    /// It is the first element, and nothing of the sequence is written yet.
    First,
    /// All elements so far were numbers of this kind.
    Numbers(Kind),
}

const OFF: Run = Run { state: RunState::Off, at: 0, wide: false };

impl<'a> Writer<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start, depth: 0, run: OFF, names: None, exact: false, has_sequence: false, mixed_tuples: 0 }
    }

    /// Ends the message.
    #[inline]
    pub(super) fn finish(self) {
        if let Some(names) = &self.names {
            names.append_to(self.out, self.start);
        }
    }

    /// Begins a value that is no number.
    fn other(&mut self) {
        if self.run.state != RunState::Off {
            self.end_run();
        }
    }

    /// The sequence is no block: its elements so far get marks of their own.
    #[inline(never)]
    fn end_run(&mut self) {
        let Run { state, at, wide } = std::mem::replace(&mut self.run, OFF);
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

    /// A number that does not go on with a block.
    #[inline(never)]
    fn other_number(&mut self, kind: Kind, bytes: &[u8], is_small: bool) {
        match self.run.state {
            RunState::First => {
                self.run.state = RunState::Numbers(kind);
                put_block_header(self.out, kind, self.run.wide);
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

    /// Begins a sequence, of which `len` elements are expected.
    fn sequence(&mut self, len: Option<usize>, mixed_bit: u32) -> Result<Elements<'_, 'a>> {
        self.other();
        self.deeper()?;
        let (at, wide) = (self.out.len(), len.is_some_and(|len| len > 255));
        if self.mixed_tuples & mixed_bit == 0 {
            self.run = Run { state: RunState::First, at, wide };
        } else {
            put_length(self.out, marks::SEQ, 0, wide);
        }
        Ok(Elements { writer: self, at, wide, count: 0, mixed_bit, rows: Rows::No })
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

    /// Begins a variant, which has a value if `mark` says so.
    fn variant(&mut self, mark: u8, name: &'static str) -> Result<()> {
        self.other();
        let names = self.names.get_or_insert_default();
        let index = match names.guess(name).filter(|guess| matches!(&names.set(*guess)[..], [only] if *only == name)) {
            Some(guess) => guess,
            None => names.index(name, Set::from_slice(&[name]))?,
        };
        match u16::try_from(index) {
            Ok(index) => {
                let [low, high] = index.to_le_bytes();
                self.out.extend_from_slice(&[mark, low, high]);
            }
            Err(_) => {
                self.out.push(mark + WIDE);
                self.out.extend_from_slice(&index.to_le_bytes());
            }
        }
        Ok(())
    }
}

fn length_len(wide: bool) -> usize {
    if wide { 9 } else { 2 }
}

fn block_header_len(wide: bool) -> usize {
    if wide { BlockHeader::LEN } else { 2 }
}

fn put_block_header(out: &mut Vec<u8>, kind: Kind, wide: bool) {
    if wide {
        out.extend_from_slice(&BlockHeader::flat(kind, 0).to_bytes());
    } else {
        out.extend_from_slice(&[marks::SHORT_BLOCK + kind as u8, 0]);
    }
}

/// Writes a mark and a length.
fn put_length(out: &mut Vec<u8>, mark: u8, len: usize, wide: bool) {
    match u8::try_from(len) {
        Ok(len) if !wide => out.extend_from_slice(&[mark, len]),
        _ => {
            out.push(mark + WIDE);
            out.extend_from_slice(&(len as u64).to_le_bytes());
        }
    }
}

/// Writes the length of a sequence or map again, now that it is known.
fn set_length(out: &mut Vec<u8>, at: usize, len: usize, wide: bool) {
    match (wide, u8::try_from(len)) {
        (true, _) => out[at + 1..at + 9].copy_from_slice(&(len as u64).to_le_bytes()),
        (false, Ok(len)) => out[at + 1] = len,
        (false, Err(_)) => {
            out[at] += WIDE;
            drop(out.splice(at + 1..at + 2, (len as u64).to_le_bytes()));
        }
    }
}

/// Writes a number with a mark of its own. `is_small` is whether it is a whole one from 0 to 127.
fn put_number(out: &mut Vec<u8>, kind: Kind, bytes: &[u8], is_small: bool) {
    if is_small {
        return out.push(bytes[0]);
    }
    let mut marked = [0; 9];
    marked[0] = marks::NUMBER + kind as u8;
    marked[1..=bytes.len()].copy_from_slice(bytes);
    out.extend_from_slice(&marked[..=bytes.len()]);
}

/// Writes a number of a block with a mark of its own.
fn put_number_of_block(out: &mut Vec<u8>, kind: Kind, bytes: &[u8], exact: bool) {
    let is_whole = !exact && !matches!(kind, Kind::F32 | Kind::F64);
    match bytes {
        [value] if kind == Kind::Bool => out.push(marks::FALSE + value),
        [first, rest @ ..] => {
            let is_small = is_whole && *first <= marks::SMALL && rest.iter().all(|byte| *byte == 0);
            put_number(out, kind, bytes, is_small);
        }
        [] => {}
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
        // What fits into 64 bits is written as what does, and so read by any who read such.
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
        let (at, wide) = (self.out.len(), len.is_some_and(|len| len > 255));
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

/// A sequence or tuple that is being written.
pub(super) struct Elements<'w, 'a> {
    writer: &'w mut Writer<'a>,
    at: usize,
    wide: bool,
    count: usize,
    /// The tuple's length, as a bit; none for a sequence.
    mixed_bit: u32,
    rows: Rows,
}

/// Whether the elements of a sequence are of one shape.
enum Rows {
    No,
    /// There is none yet.
    First,
    /// All were, and their numbers reach to `end`; behind it is room.
    Written {
        shape: Box<Shape>,
        end: usize,
    },
}

impl Elements<'_, '_> {
    /// Writes a part of a tuple: only sequences are looked at for rows.
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.writer)?;
        self.count += 1;
        Ok(())
    }

    #[inline(always)]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        match &mut self.rows {
            Rows::No => {}
            Rows::First => return self.first_element(value),
            Rows::Written { shape, end } => {
                let out = &mut *self.writer.out;
                if out.len() - *end < rows::ROW {
                    make_room_for_rows(out);
                }
                let row = out[*end..].first_chunk_mut();
                if row.is_some_and(|row| shape.write(value, row)) {
                    *end += shape.len;
                    self.count += 1;
                    return Ok(());
                }
                self.end_rows();
            }
        }
        self.part(value)
    }

    /// Writes the first element, and looks for its shape.
    fn first_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.rows = Rows::No;
        (self.writer.exact, self.writer.has_sequence) = (true, false);
        let written = self.part(value);
        self.writer.exact = false;
        written?;
        if self.writer.run.state == RunState::Off && !self.writer.has_sequence {
            self.begin_rows();
        }
        Ok(())
    }

    /// Makes rows of a sequence with its first element, if that has a shape.
    fn begin_rows(&mut self) {
        let out = &mut *self.writer.out;
        let first = out.get(self.at + length_len(self.wide)..).unwrap_or_default();
        let Some((shape, numbers)) = Shape::of(first, self.writer.names.as_deref()) else { return };
        out.truncate(self.at);
        out.push(marks::ROWS);
        out.extend_from_slice(&[0; 8]);
        out.push(shape.marks.len() as u8);
        out.extend_from_slice(&shape.marks);
        out.extend_from_slice(&numbers);
        self.rows = Rows::Written { shape: Box::new(shape), end: out.len() };
    }

    /// An element has another shape: those before it get marks of their own.
    #[inline(never)]
    fn end_rows(&mut self) {
        let Rows::Written { shape, end } = std::mem::replace(&mut self.rows, Rows::No) else { return };
        let out = &mut *self.writer.out;
        out.truncate(end);
        let numbers = out.split_off(end - self.count * shape.len);
        out.truncate(self.at);
        put_length(out, marks::SEQ, 0, self.wide);
        for row in numbers.chunks_exact(shape.len) {
            shape.parts(row, |part| match part {
                Part::Number(kind, bytes) => put_number_of_block(out, kind, bytes, false),
                Part::Group(marks) => out.extend_from_slice(marks),
            });
        }
    }

    fn finish(self) -> Result<()> {
        let Self { writer, at, wide, count, mixed_bit, rows } = self;
        let run = std::mem::replace(&mut writer.run, OFF);
        writer.depth -= 1;
        if let Rows::Written { end, .. } = rows {
            writer.out.truncate(end);
            writer.out[at + 1..at + 9].copy_from_slice(&(count as u64).to_le_bytes());
            return Ok(());
        }
        match run.state {
            RunState::First => put_length(writer.out, marks::SEQ, 0, false),
            RunState::Off => {
                writer.mixed_tuples |= mixed_bit;
                set_length(writer.out, at, count, wide);
            }
            RunState::Numbers(kind) => set_block_length(writer.out, at, kind, count, wide),
        }
        Ok(())
    }
}

/// Room for more elements of rows, for one at least.
#[cold]
fn make_room_for_rows(out: &mut Vec<u8>) {
    out.resize(out.len().saturating_mul(2).max(out.len() + rows::ROW), 0);
}

fn set_block_length(out: &mut Vec<u8>, at: usize, kind: Kind, count: usize, wide: bool) {
    match u8::try_from(count) {
        Ok(count) if !wide => out[at + 1] = count,
        _ => {
            let header = BlockHeader::flat(kind, count).to_bytes();
            drop(out.splice(at..at + block_header_len(wide), header));
        }
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident by $write:ident,)*) => {$(
        impl ser::$trait for Elements<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.$write(value)
            }

            #[inline]
            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element by element,
    SerializeTuple serialize_element by part,
    SerializeTupleStruct serialize_field by part,
    SerializeTupleVariant serialize_field by part,
}

/// A map that is being written.
pub(super) struct Entries<'w, 'a> {
    writer: &'w mut Writer<'a>,
    at: usize,
    wide: bool,
    count: usize,
}

impl ser::SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.count += 1;
        key.serialize(&mut *self.writer)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<()> {
        self.writer.depth -= 1;
        set_length(self.writer.out, self.at, self.count, self.wide);
        Ok(())
    }
}

/// A struct that is being written.
pub(super) struct Fields<'w, 'a> {
    writer: &'w mut Writer<'a>,
    name: &'static str,
    at: usize,
    /// A set of names that it may have, and how many of them it had so far.
    guess: Option<u32>,
    matched: usize,
    /// Its names so far, where it was none that was guessed.
    own: Set,
}

impl Fields<'_, '_> {
    fn name(&mut self, key: &'static str) {
        match self.guess.zip(self.writer.names.as_deref()) {
            Some((guess, names)) if names.name(guess, self.matched).is_some_and(|name| names::is_same(name, key)) => {
                self.matched += 1;
            }
            _ => self.name_own(key),
        }
    }

    #[inline(never)]
    fn name_own(&mut self, key: &'static str) {
        self.give_up_guess();
        self.own.push(key);
    }

    fn give_up_guess(&mut self) {
        if let Some((guess, names)) = self.guess.take().zip(self.writer.names.as_deref()) {
            self.own.extend_from_slice(&names.set(guess)[..self.matched]);
        }
    }

    fn finish(mut self) -> Result<()> {
        self.writer.depth -= 1;
        let is_guessed = |set: u32| self.writer.names.as_deref().is_some_and(|n| n.name(set, self.matched).is_none());
        let index = match self.guess.filter(|set| is_guessed(*set)) {
            Some(guess) => guess,
            None => {
                self.give_up_guess();
                self.writer.names.get_or_insert_default().index(self.name, self.own)?
            }
        };
        match u16::try_from(index) {
            Ok(index) => self.writer.out[self.at + 1..self.at + 3].copy_from_slice(&index.to_le_bytes()),
            Err(_) => {
                self.writer.out[self.at] += WIDE;
                drop(self.writer.out.splice(self.at + 1..self.at + 3, index.to_le_bytes()));
            }
        }
        Ok(())
    }
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Fields<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
                self.name(key);
                value.serialize(&mut *self.writer)
            }

            #[inline]
            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }
