//! Reads values: serde's deserializer.

use std::any::type_name;

use serde::de::{self, Visitor};

use super::access::{Arrays, Block, Elements, Entries, Keys, Variant};
use super::error::{Error, Result};
use super::marks::{self, Kind};
use super::names::Reading;
use super::numbers::{BlockHeader, Dims};
use super::rows;
use super::{MAX_DEPTH, TooDeep};

/// The mark that a `bool` of a block is taken to have; others are `FALSE` and `TRUE`.
const BOOL_IN_BLOCK: u8 = marks::NUMBER + Kind::Bool as u8;

/// What `serde_json::value::RawValue` asks for: a newtype by name, which it then reads as a struct.
const RAW_JSON: &str = "$serde_json::private::RawValue";

/// Reads one message.
pub(super) struct Reader<'de> {
    message: &'de [u8],
    rest: &'de [u8],
    depth: usize,
    /// The marks of what is being read, where they stand apart: of one element of a block or of rows. `rest` then has the
    /// numbers alone.
    pub(super) apart: Option<&'de [u8]>,
    /// The array of a block of arrays that is to be read next, where the mark that stands apart is `ARRAY`.
    pub(super) next_array: Option<Block<'de>>,
    /// Read when the first struct or enum is met.
    names: Option<Box<Reading<'de>>>,
}

impl<'de> Reader<'de> {
    #[inline]
    pub(super) fn new(message: &'de [u8]) -> Self {
        Self { message, rest: message, depth: 0, apart: None, next_array: None, names: None }
    }

    /// Checks that the message ends here.
    #[inline]
    pub(super) fn finish(self) -> Result<()> {
        let left = match &self.names {
            None => self.rest.len(),
            Some(names) => names.at.wrapping_sub(self.message.len() - self.rest.len()),
        };
        if left == 0 {
            return Ok(());
        }
        Err(Error::new("its end is not where it should be"))
    }

    #[inline]
    fn byte(&mut self) -> Result<u8> {
        let (byte, rest) = self.rest.split_first().ok_or_else(Error::cut_short)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(Error::cut_short)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Where marks, lengths and indices are read.
    #[inline]
    fn heads(&mut self) -> &mut &'de [u8] {
        self.apart.as_mut().unwrap_or(&mut self.rest)
    }

    #[inline]
    fn head<const N: usize>(&mut self) -> Result<[u8; N]> {
        let heads = self.heads();
        let (bytes, rest) = heads.split_first_chunk().ok_or_else(Error::cut_short)?;
        *heads = rest;
        Ok(*bytes)
    }

    #[inline]
    fn bytes(&mut self, len: usize) -> Result<&'de [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(Error::cut_short)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A length behind its mark.
    #[inline]
    fn length(&mut self, mark: u8, narrow: u8) -> Result<usize> {
        if mark == narrow {
            return self.head().map(|[len]| usize::from(len));
        }
        usize::try_from(u64::from_le_bytes(self.head()?)).map_err(|_| Error::cut_short())
    }

    /// How many values follow. Each takes a byte at least.
    #[inline]
    fn count(&mut self, mark: u8, narrow: u8) -> Result<usize> {
        let count = self.length(mark, narrow)?;
        if count > self.heads().len() {
            return Err(Error::cut_short());
        }
        Ok(count)
    }

    #[inline]
    fn text(&mut self, len: usize) -> Result<&'de str> {
        std::str::from_utf8(self.bytes(len)?).map_err(|_| Error::new("a string in it is no UTF-8"))
    }

    /// A string behind its mark; `None` of what is no string.
    #[inline]
    fn string(&mut self, mark: u8) -> Result<Option<&'de str>> {
        let len = match mark {
            marks::TINY_STR..=marks::TINY_STR_END => usize::from(mark - marks::TINY_STR),
            marks::STR | marks::WIDE_STR => self.length(mark, marks::STR)?,
            _ => return Ok(None),
        };
        self.text(len).map(Some)
    }

    fn read_names(&mut self) -> Result<()> {
        if self.names.is_none() {
            self.names = Some(Box::new(Reading::of(self.message)?));
        }
        Ok(())
    }

    /// An index into the table of names.
    #[inline]
    fn index(&mut self, mark: u8, narrow: u8) -> Result<u32> {
        self.read_names()?;
        if mark == narrow {
            return self.head().map(|bytes| u32::from(u16::from_le_bytes(bytes)));
        }
        self.head().map(u32::from_le_bytes)
    }

    /// The table of names, which [`index`](Self::index) has read.
    #[inline]
    fn names(&mut self) -> Result<&mut Reading<'de>> {
        self.names.as_deref_mut().ok_or_else(|| Error::new("it has no table of field names"))
    }

    /// A name of a set of fields.
    pub(super) fn field_name(&mut self, set: u32, at: usize) -> Result<&'de str> {
        self.names()?.set(set)?.get(at).copied().ok_or_else(|| Error::new("it has fewer names than fields"))
    }

    fn variant_name(&mut self, mark: u8, narrow: u8) -> Result<&'de str> {
        let index = self.index(mark, narrow)?;
        self.field_name(index, 0)
    }

    /// Reads what is one level deeper.
    #[inline]
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return Err(too_deep());
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn block(&mut self, mark: u8) -> Result<Block<'de>> {
        let (kind, dims, count) = match Kind::of_mark(mark, marks::SHORT_BLOCK) {
            Some(kind) => (kind, Dims::default(), usize::from(self.byte()?)),
            None => {
                let header = self.message.get(self.message.len() - self.rest.len() - 1..).and_then(BlockHeader::parse);
                let header = header.ok_or_else(|| Error::new("a block of numbers in it is damaged"))?;
                self.bytes(BlockHeader::LEN - 1)?;
                (header.kind, header.dims, header.count)
            }
        };
        let size = BlockHeader { kind, dims, count }.data_len().ok_or_else(Error::cut_short)?;
        Ok(Block { kind, dims, data: self.bytes(size)? })
    }

    /// Reads a sequence of any form, behind its mark.
    fn sequence<V: Visitor<'de>>(&mut self, mark: u8, visitor: V) -> Result<V::Value> {
        match mark {
            marks::SEQ | marks::WIDE_SEQ => {
                let left = self.count(mark, marks::SEQ)?;
                self.elements(left, visitor)
            }
            marks::BYTES | marks::WIDE_BYTES => {
                let len = self.length(mark, marks::BYTES)?;
                let data = self.bytes(len)?;
                self.visit_block(Block { kind: Kind::U8, dims: Dims::default(), data }, visitor)
            }
            marks::ARRAY => {
                let array = self.next_array.take().ok_or_else(|| Error::new("a mark in it means nothing"))?;
                self.visit_block(array, visitor)
            }
            marks::ROWS => {
                let (marks, numbers, count) = self.rows()?;
                self.elements_apart(marks, numbers, count, None, visitor)
            }
            _ => {
                let block = self.block(mark)?;
                self.visit_block(block, visitor)
            }
        }
    }

    fn elements<V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value> {
        self.visit_elements(left, None, None, visitor)
    }

    /// Reads elements that all have the same marks, of which `numbers` has the numbers.
    fn elements_apart<V: Visitor<'de>>(
        &mut self,
        marks: &'de [u8],
        numbers: &'de [u8],
        left: usize,
        arrays: Option<Arrays<'de>>,
        visitor: V,
    ) -> Result<V::Value> {
        let before = (std::mem::replace(&mut self.rest, numbers), self.apart);
        let value = self.visit_elements(left, Some(marks), arrays, visitor);
        (self.rest, self.apart) = before;
        value
    }

    fn visit_elements<V: Visitor<'de>>(
        &mut self,
        left: usize,
        marks: Option<&'de [u8]>,
        arrays: Option<Arrays<'de>>,
        visitor: V,
    ) -> Result<V::Value> {
        self.nested(|reader| {
            let mut elements = Elements { reader, left, marks, arrays };
            let value = visitor.visit_seq(&mut elements)?;
            all_read(elements.left).map(|()| value)
        })
    }

    /// Reads the head of rows: the marks of an element, the numbers of all, and how many elements.
    fn rows(&mut self) -> Result<(&'de [u8], &'de [u8], usize)> {
        let count = usize::try_from(u64::from_le_bytes(self.head()?)).map_err(|_| Error::cut_short())?;
        let [marks] = self.head()?;
        let marks = self.bytes(marks.into())?;
        if marks.contains(&marks::STRUCT) {
            self.read_names()?;
        }
        let names = self.names.as_deref();
        let len = rows::row_len(marks, |set| names.and_then(|names| Some(names.set(set.into()).ok()?.len())))
            .ok_or_else(|| Error::new("the shape of a sequence in it is damaged"))?;
        Ok((marks, self.bytes(count.checked_mul(len).ok_or_else(Error::cut_short)?)?, count))
    }

    fn visit_block<V: Visitor<'de>>(&mut self, block: Block<'de>, visitor: V) -> Result<V::Value> {
        let arrays = block.arrays();
        // Numbers are read one by one, as values whose mark is known.
        let (marks, count) = match &arrays {
            Some((arrays, ..)) => (marks::ARRAY_MARKS, arrays.len()),
            None => (block.kind.marks(), block.data.len() / block.kind.size()),
        };
        self.elements_apart(marks, block.data, count, arrays, visitor)
    }

    fn entries<V: Visitor<'de>>(&mut self, left: usize, keys: Keys<'de>, visitor: V) -> Result<V::Value> {
        let mut entries = Entries { reader: self, left, keys };
        let value = visitor.visit_map(&mut entries)?;
        all_read(entries.left).map(|()| value)
    }

    /// Reads a struct as a map of its fields' names.
    fn named_fields<V: Visitor<'de>>(&mut self, set: u32, visitor: V) -> Result<V::Value> {
        let len = self.names()?.set(set)?.len();
        self.nested(|reader| reader.entries(len, Keys::Set(set, len), visitor))
    }

    /// Reads a value into what takes any, as serde_json would show it.
    fn any<V: Visitor<'de>>(&mut self, mark: u8, visitor: V) -> Result<V::Value> {
        if let Some(kind) = Kind::of_mark(mark, marks::NUMBER) {
            return self.any_number(kind, visitor);
        }
        if let Some(text) = self.string(mark)? {
            return visitor.visit_borrowed_str(text);
        }
        match mark {
            0..=marks::SMALL => visitor.visit_u64(u64::from(mark)),
            marks::UNIT => visitor.visit_unit(),
            marks::NONE => visitor.visit_none(),
            marks::SOME => self.some(visitor),
            marks::FALSE => visitor.visit_bool(false),
            marks::TRUE => visitor.visit_bool(true),
            marks::CHAR => {
                let value = self.char()?;
                if is_buffer::<V>() {
                    visitor.visit_str(value.encode_utf8(&mut [0; 4]))
                } else {
                    visitor.visit_char(value)
                }
            }
            // What asks serde's buffer for a sequence or a string must see a sequence, as in JSON.
            marks::BYTES | marks::WIDE_BYTES if !is_buffer::<V>() => {
                let len = self.length(mark, marks::BYTES)?;
                visitor.visit_borrowed_bytes(self.bytes(len)?)
            }
            marks::MAP | marks::WIDE_MAP => {
                let left = self.count(mark, marks::MAP)?;
                self.nested(|reader| reader.entries(left, Keys::Written, visitor))
            }
            marks::STRUCT | marks::WIDE_STRUCT => {
                let set = self.index(mark, marks::STRUCT)?;
                self.named_fields(set, visitor)
            }
            marks::UNIT_VARIANT | marks::WIDE_UNIT_VARIANT => {
                visitor.visit_borrowed_str(self.variant_name(mark, marks::UNIT_VARIANT)?)
            }
            marks::VARIANT | marks::WIDE_VARIANT => {
                let name = self.variant_name(mark, marks::VARIANT)?;
                self.nested_variant(|reader| reader.entries(1, Keys::One(name), visitor))
            }
            marks::U128 | marks::I128 if is_buffer::<V>() => Err(Error::wide_in_buffer()),
            marks::U128 => visitor.visit_u128(u128::from_le_bytes(self.array()?)),
            marks::I128 => visitor.visit_i128(i128::from_le_bytes(self.array()?)),
            _ => self.sequence(mark, visitor),
        }
    }

    /// A number behind its mark, or of a block: whole ones as JSON would have them.
    fn any_number<V: Visitor<'de>>(&mut self, kind: Kind, visitor: V) -> Result<V::Value> {
        let signed = |value: i64, visitor: V| match u64::try_from(value) {
            Ok(value) => visitor.visit_u64(value),
            Err(_) => visitor.visit_i64(value),
        };
        match kind {
            Kind::Bool => visitor.visit_bool(self.bool()?),
            Kind::U8 => visitor.visit_u64(self.byte()?.into()),
            Kind::U16 => visitor.visit_u64(u16::from_le_bytes(self.array()?).into()),
            Kind::U32 => visitor.visit_u64(u32::from_le_bytes(self.array()?).into()),
            Kind::U64 => visitor.visit_u64(u64::from_le_bytes(self.array()?)),
            Kind::I8 => signed(i8::from_le_bytes(self.array()?).into(), visitor),
            Kind::I16 => signed(i16::from_le_bytes(self.array()?).into(), visitor),
            Kind::I32 => signed(i32::from_le_bytes(self.array()?).into(), visitor),
            Kind::I64 => signed(i64::from_le_bytes(self.array()?), visitor),
            Kind::F32 => visitor.visit_f32(f32::from_le_bytes(self.array()?)),
            Kind::F64 => visitor.visit_f64(f64::from_le_bytes(self.array()?)),
        }
    }

    #[inline]
    fn bool(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(not_a_bool(other)),
        }
    }

    fn char(&mut self) -> Result<char> {
        let code = u32::from_le_bytes(self.array()?);
        char::from_u32(code).ok_or_else(|| Error::new(format_args!("a `char` in it is {code:#x}")))
    }

    /// `Some(x)` is `x` to a visitor that takes anything, as in JSON; but `Some(None)` and `Some(())` are not `None`.
    fn some<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        let within = self.rest.iter().position(|mark| *mark != marks::SOME).ok_or_else(Error::cut_short)?;
        if !matches!(self.rest[within], marks::UNIT | marks::NONE) {
            self.rest = &self.rest[within..];
            let [mark] = self.head()?;
            return self.any(mark, visitor);
        }
        self.nested(|reader| visitor.visit_some(reader))
    }

    /// A variant's value is one level, of its own or by what it is.
    fn nested_variant<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let counts_itself = self.rest.first().is_some_and(
            |mark| matches!(*mark, marks::SEQ..=marks::WIDE_STRUCT | marks::ROWS | marks::SHORT_BLOCK..=u8::MAX),
        );
        if counts_itself { read(self) } else { self.nested(read) }
    }

    /// Takes the next of the marks that stand apart, if it is this one.
    #[inline(always)]
    fn is_next_apart(&mut self, mark: u8) -> bool {
        match self.apart {
            Some([next, rest @ ..]) if *next == mark => {
                self.apart = Some(rest);
                true
            }
            _ => false,
        }
    }

    /// The next mark; `Some` is passed by.
    #[inline]
    fn mark(&mut self) -> Result<u8> {
        loop {
            let [mark] = self.head()?;
            if mark != marks::SOME {
                return Ok(mark);
            }
        }
    }

    /// Passes by a value, without recursion.
    fn skip(&mut self) -> Result<()> {
        let mut left = 1_u64;
        while left > 0 {
            left -= 1;
            let [mark] = self.head()?;
            let (len, within) = self.extent(mark)?;
            self.bytes(len)?;
            left = left.checked_add(within).ok_or_else(Error::cut_short)?;
        }
        Ok(())
    }

    /// How long a value is behind its mark, without the values in it, and how many those are.
    fn extent(&mut self, mark: u8) -> Result<(usize, u64)> {
        if let Some(kind) = Kind::of_mark(mark, marks::NUMBER) {
            return Ok((kind.size(), 0));
        }
        Ok(match mark {
            0..=marks::SMALL | marks::UNIT | marks::NONE | marks::FALSE | marks::TRUE => (0, 0),
            marks::TINY_STR..=marks::TINY_STR_END => (usize::from(mark - marks::TINY_STR), 0),
            marks::SOME => (0, 1),
            marks::CHAR => (4, 0),
            marks::STR | marks::WIDE_STR => (self.length(mark, marks::STR)?, 0),
            marks::BYTES | marks::WIDE_BYTES => (self.length(mark, marks::BYTES)?, 0),
            marks::SEQ | marks::WIDE_SEQ => (0, self.count(mark, marks::SEQ)? as u64),
            marks::MAP | marks::WIDE_MAP => (0, 2 * self.count(mark, marks::MAP)? as u64),
            marks::STRUCT | marks::WIDE_STRUCT => {
                let set = self.index(mark, marks::STRUCT)?;
                (0, self.names()?.set(set)?.len() as u64)
            }
            marks::UNIT_VARIANT | marks::WIDE_UNIT_VARIANT => {
                self.index(mark, marks::UNIT_VARIANT)?;
                (0, 0)
            }
            marks::VARIANT | marks::WIDE_VARIANT => {
                self.index(mark, marks::VARIANT)?;
                (0, 1)
            }
            marks::U128 | marks::I128 => (16, 0),
            marks::ROWS => {
                self.rows()?;
                (0, 0)
            }
            marks::ARRAY => {
                self.next_array = None;
                (0, 0)
            }
            _ => {
                self.block(mark)?;
                (0, 0)
            }
        })
    }
}

/// Whether a visitor fills the buffer of serde's derived code for untagged and internally tagged enums and flattened
/// fields. Serde has no stable way to ask. Where the name of its type changes, bytes and characters in such types are
/// refused or read as other formats without the distinction would, and the tests of this folder fail.
fn is_buffer<V>() -> bool {
    let name = type_name::<V>();
    name.starts_with("serde") && name.contains("::content::")
}

#[inline]
fn all_read(left: usize) -> Result<()> {
    if left == 0 { Ok(()) } else { Err(too_many(left)) }
}

#[cold]
fn too_many(left: usize) -> Error {
    Error::new(format_args!("it has {left} elements more than its type takes"))
}

#[cold]
fn not_a_bool(byte: u8) -> Error {
    Error::new(format_args!("a `bool` in it is {byte}"))
}

#[cold]
fn too_deep() -> Error {
    Error::new(TooDeep)
}

/// Numbers of one type. A whole one may also have been written as a small one.
macro_rules! numbers {
    ($($method:ident $type:ty, $kind:ident, $visit:ident $(, $small:ident)?;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            const MARK: u8 = marks::NUMBER + Kind::$kind as u8;
            if self.is_next_apart(MARK) {
                return visitor.$visit(<$type>::from_le_bytes(self.array()?));
            }
            match self.mark()? {
                MARK => visitor.$visit(<$type>::from_le_bytes(self.array()?)),
                $($small @ 0..=marks::SMALL => visitor.$visit($small as $type),)?
                mark => self.any(mark, visitor),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let [mark] = self.head()?;
        self.any(mark, visitor)
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.is_next_apart(BOOL_IN_BLOCK) {
            return visitor.visit_bool(self.bool()?);
        }
        match self.mark()? {
            marks::FALSE => visitor.visit_bool(false),
            marks::TRUE => visitor.visit_bool(true),
            BOOL_IN_BLOCK => visitor.visit_bool(self.bool()?),
            mark => self.any(mark, visitor),
        }
    }

    numbers! {
        deserialize_u8 u8, U8, visit_u8, small;
        deserialize_i8 i8, I8, visit_i8, small;
        deserialize_u16 u16, U16, visit_u16, small;
        deserialize_i16 i16, I16, visit_i16, small;
        deserialize_u32 u32, U32, visit_u32, small;
        deserialize_i32 i32, I32, visit_i32, small;
        deserialize_u64 u64, U64, visit_u64, small;
        deserialize_i64 i64, I64, visit_i64, small;
        deserialize_f32 f32, F32, visit_f32;
        deserialize_f64 f64, F64, visit_f64;
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mark = self.mark()?;
        self.any(mark, visitor)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mark = self.mark()?;
        match self.string(mark)? {
            Some(text) => visitor.visit_borrowed_str(text),
            None => self.any(mark, visitor),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mark = self.mark()?;
        match mark {
            marks::BYTES | marks::WIDE_BYTES => {
                let len = self.length(mark, marks::BYTES)?;
                visitor.visit_borrowed_bytes(self.bytes(len)?)
            }
            marks::SHORT_BLOCK..=u8::MAX => {
                let block = self.block(mark)?;
                if block.kind == Kind::U8 && block.arrays().is_none() {
                    return visitor.visit_borrowed_bytes(block.data);
                }
                self.visit_block(block, visitor)
            }
            _ => self.any(mark, visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.heads().first() {
            Some(&marks::SOME) => {
                self.head::<1>()?;
                self.nested(|reader| visitor.visit_some(reader))
            }
            Some(&marks::NONE) => {
                self.head::<1>()?;
                visitor.visit_none()
            }
            // As a value that was written without `Some`, by code of the user's own.
            Some(&marks::UNIT) => {
                self.head::<1>()?;
                visitor.visit_unit()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.mark()? {
            marks::UNIT | marks::NONE => visitor.visit_unit(),
            mark => self.any(mark, visitor),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name == RAW_JSON {
            return self.deserialize_any(visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mark = self.mark()?;
        match mark {
            marks::BYTES..=marks::WIDE_SEQ | marks::ROWS | marks::SHORT_BLOCK..=u8::MAX => self.sequence(mark, visitor),
            _ => self.any(mark, visitor),
        }
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mark = self.mark()?;
        self.any(mark, visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let mark = self.mark()?;
        if !matches!(mark, marks::STRUCT | marks::WIDE_STRUCT) {
            return self.any(mark, visitor);
        }
        let set = self.index(mark, marks::STRUCT)?;
        if self.names()?.is_by_position(set, fields, type_name::<V>()) {
            return self.elements(fields.len(), visitor);
        }
        self.named_fields(set, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let mark = self.mark()?;
        match mark {
            marks::UNIT_VARIANT | marks::WIDE_UNIT_VARIANT => {
                let name = self.variant_name(mark, marks::UNIT_VARIANT)?;
                visitor.visit_enum(Variant::unit(self, name))
            }
            marks::VARIANT | marks::WIDE_VARIANT => {
                let name = self.variant_name(mark, marks::VARIANT)?;
                self.nested_variant(|reader| visitor.visit_enum(Variant::with_value(reader, Some(name))))
            }
            // As code of the user's own may write an enum: as JSON has it.
            marks::MAP => {
                if self.count(mark, marks::MAP)? != 1 {
                    return Err(Error::new("an enum in it is a map of other than one entry"));
                }
                self.nested(|reader| visitor.visit_enum(Variant::with_value(reader, None)))
            }
            marks::STRUCT | marks::WIDE_STRUCT => {
                let set = self.index(mark, marks::STRUCT)?;
                let &[name] = self.names()?.set(set)? else {
                    return Err(Error::new("an enum in it is a struct of other than one field"));
                };
                self.nested(|reader| visitor.visit_enum(Variant::with_value(reader, Some(name))))
            }
            _ => match self.string(mark)? {
                Some(name) => visitor.visit_enum(Variant::unit(self, name)),
                None => self.any(mark, visitor),
            },
        }
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.skip()?;
        visitor.visit_unit()
    }
}
