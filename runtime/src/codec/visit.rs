//! The implementation of serde's deserializer, which passes values to visitors. This code is compiled again for each
//! type that is read, so code that does not need a visitor is in `read.rs` and `item.rs`.

use std::any::type_name;

use serde::de::{self, Expected, Unexpected, Visitor};

use super::access::{Elements, Entries, Variant};
use super::error::{Error, Result};
use super::item::{Item, Map, Sequence};
use super::marks::{self, Kind};
use super::read::Reader;

/// The mark of a `bool` in a block or table. Elsewhere, the marks are `FALSE` and `TRUE`.
const BOOL_IN_BLOCK: u8 = marks::NUMBER + Kind::Bool as u8;

/// The name of the newtype that `serde_json::value::RawValue` asks for and then reads as a struct.
const RAW_JSON: &str = "$serde_json::private::RawValue";

impl<'de> Reader<'de> {
    #[inline]
    fn sequence<V: Visitor<'de>>(&mut self, sequence: Sequence<'de>, visitor: V) -> Result<V::Value> {
        let Sequence { left, table, arrays } = sequence;
        let is_table = table.is_some();
        self.deeper(1)?;
        let before = self.enter(table);
        let mut elements = Elements { reader: self, left, is_table, arrays };
        let value = visitor.visit_seq(&mut elements)?;
        let left = elements.left;
        self.leave(before);
        self.shallower(1, left).map(|()| value)
    }

    fn map<V: Visitor<'de>>(&mut self, map: Map<'de>, visitor: V) -> Result<V::Value> {
        let Map { left, keys, levels } = map;
        self.deeper(levels)?;
        let mut entries = Entries { reader: self, left, keys };
        let value = visitor.visit_map(&mut entries)?;
        let left = entries.left;
        self.shallower(levels, left).map(|()| value)
    }

    fn some<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        self.deeper(1)?;
        let value = visitor.visit_some(&mut *self)?;
        self.shallower(1, 0).map(|()| value)
    }

    /// Passes a value after its mark to a visitor of sequences.
    fn any_sequence<V: Visitor<'de>>(&mut self, mark: u8, visitor: V) -> Result<V::Value> {
        match mark {
            marks::BYTES..=marks::WIDE_SEQ | marks::ROWS | marks::SHORT_BLOCK..=u8::MAX => {
                let sequence = self.sequence_head(mark)?;
                self.sequence(sequence, visitor)
            }
            _ => Err(self.item(mark)?.refused(&visitor)),
        }
    }

    /// Passes a value after its mark to a visitor of maps and sequences.
    fn any_struct<V: Visitor<'de>>(&mut self, mark: u8, visitor: V) -> Result<V::Value> {
        match self.item(mark)? {
            Item::Map(map) => self.map(map, visitor),
            Item::Sequence(sequence) => self.sequence(sequence, visitor),
            other => Err(other.refused(&visitor)),
        }
    }
}

impl Item<'_> {
    /// Returns the error for a value that the visitor does not accept.
    #[cold]
    fn refused(&self, expected: &dyn Expected) -> Error {
        let found = match *self {
            Self::Unit => Unexpected::Unit,
            Self::None | Self::Some => Unexpected::Option,
            Self::Bool(value) => Unexpected::Bool(value),
            Self::Unsigned(value) => Unexpected::Unsigned(value),
            Self::Signed(value) => Unexpected::Signed(value),
            Self::F32(value) => Unexpected::Float(value.into()),
            Self::F64(value) => Unexpected::Float(value),
            Self::U128(_) | Self::I128(_) => Unexpected::Other("128-bit integer"),
            Self::Char(value) => Unexpected::Char(value),
            Self::Str(text) => Unexpected::Str(text),
            Self::Bytes(bytes) => Unexpected::Bytes(bytes),
            Self::Sequence(_) => Unexpected::Seq,
            Self::Map(_) => Unexpected::Map,
        };
        de::Error::invalid_type(found, expected)
    }
}

/// Passes a value to a visitor of numbers.
fn give_number<'de, V: Visitor<'de>>(item: Item<'de>, visitor: V) -> Result<V::Value> {
    match item {
        Item::Unsigned(value) => visitor.visit_u64(value),
        Item::Signed(value) => visitor.visit_i64(value),
        Item::F32(value) => visitor.visit_f32(value),
        Item::F64(value) => visitor.visit_f64(value),
        Item::U128(value) => visitor.visit_u128(value),
        Item::I128(value) => visitor.visit_i128(value),
        other => Err(other.refused(&visitor)),
    }
}

/// Passes a value to a visitor of strings.
fn give_text<'de, V: Visitor<'de>>(item: Item<'de>, visitor: V) -> Result<V::Value> {
    match item {
        Item::Str(text) => visitor.visit_borrowed_str(text),
        Item::Char(value) => visitor.visit_char(value),
        other => Err(other.refused(&visitor)),
    }
}

/// Whether a visitor fills the buffer into which serde's derived code reads untagged and internally tagged enums and
/// flattened fields. Serde has no stable way to ask, so this looks at the name of the visitor's type. If serde changes
/// that name, bytes and characters in such types are rejected or are read as in formats without this distinction, and
/// the tests of this folder fail.
fn is_buffer<V>() -> bool {
    let name = type_name::<V>();
    name.starts_with("serde") && name.contains("::content::")
}

/// Methods for numbers of one type. An integer may also have been written as a small one.
macro_rules! numbers {
    ($($method:ident $type:ty, $kind:ident, $visit:ident $(, $small:ident)?;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            const MARK: u8 = marks::NUMBER + Kind::$kind as u8;
            #[inline(never)]
            fn marked<'de, V: Visitor<'de>>(reader: &mut Reader<'de>, visitor: V) -> Result<V::Value> {
                match reader.mark()? {
                    MARK => visitor.$visit(<$type>::from_le_bytes(reader.array()?)),
                    $($small @ 0..=marks::SMALL => visitor.$visit($small as $type),)?
                    mark => give_number(reader.item(mark)?, visitor),
                }
            }
            if self.take_apart(MARK) {
                return visitor.$visit(<$type>::from_le_bytes(self.array()?));
            }
            marked(self, visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mark = self.any_mark()?;
        match self.item(mark)? {
            Item::Unit => visitor.visit_unit(),
            Item::None => visitor.visit_none(),
            Item::Some => self.some(visitor),
            Item::Bool(value) => visitor.visit_bool(value),
            Item::Unsigned(value) => visitor.visit_u64(value),
            Item::Signed(value) => visitor.visit_i64(value),
            Item::F32(value) => visitor.visit_f32(value),
            Item::F64(value) => visitor.visit_f64(value),
            Item::U128(_) | Item::I128(_) if is_buffer::<V>() => Err(Error::wide_in_buffer()),
            Item::U128(value) => visitor.visit_u128(value),
            Item::I128(value) => visitor.visit_i128(value),
            Item::Char(value) if is_buffer::<V>() => visitor.visit_str(value.encode_utf8(&mut [0; 4])),
            Item::Char(value) => visitor.visit_char(value),
            Item::Str(text) => visitor.visit_borrowed_str(text),
            // A type that asks serde's buffer for a sequence or a string must find a sequence, as in JSON.
            Item::Bytes(bytes) if is_buffer::<V>() => self.sequence(Sequence::of_bytes(bytes), visitor),
            Item::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Item::Sequence(sequence) => self.sequence(sequence, visitor),
            Item::Map(map) => self.map(map, visitor),
        }
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.take_apart(BOOL_IN_BLOCK) {
            return visitor.visit_bool(self.bool()?);
        }
        match self.next_item()? {
            Item::Bool(value) => visitor.visit_bool(value),
            other => Err(other.refused(&visitor)),
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
        give_number(self.next_item()?, visitor)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_u128(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        give_text(self.next_item()?, visitor)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mark = self.mark()?;
        match self.string(mark)? {
            Some(text) => visitor.visit_borrowed_str(text),
            None => give_text(self.item(mark)?, visitor),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mark = self.mark()?;
        match self.bytes_or_item(mark)? {
            Item::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Item::Str(text) => visitor.visit_borrowed_str(text),
            Item::Sequence(sequence) => self.sequence(sequence, visitor),
            other => Err(other.refused(&visitor)),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.take_mark(marks::SOME) {
            return self.some(visitor);
        }
        if self.take_mark(marks::NONE) {
            return visitor.visit_none();
        }
        // The value may have been written without `Some`, by a `Serialize` that the user wrote.
        if self.take_mark(marks::UNIT) { visitor.visit_unit() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.next_item()? {
            Item::Unit | Item::None => visitor.visit_unit(),
            other => Err(other.refused(&visitor)),
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
        self.any_sequence(mark, visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        match self.take_tuple_apart() {
            Some(len) => self.sequence(Sequence::of_values(len), visitor),
            None => self.deserialize_seq(visitor),
        }
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.next_item()? {
            Item::Map(map) => self.map(map, visitor),
            other => Err(other.refused(&visitor)),
        }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let set = match self.take_struct_apart() {
            Some(set) => set,
            None => match self.struct_head()? {
                Ok(set) => set,
                Err(mark) => return self.any_struct(mark, visitor),
            },
        };
        if self.names()?.is_by_position(set, fields, type_name::<V>()) {
            return self.sequence(Sequence::of_values(fields.len()), visitor);
        }
        let map = self.map_of_set(set)?;
        self.map(map, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.next_item()? {
            Item::Str(name) => visitor.visit_enum(Variant::unit(self, name)),
            // A `Serialize` that the user wrote may write an enum as JSON does.
            Item::Map(Map { left: 1, keys, levels }) => {
                let name = self.next_key(keys, 1)?;
                self.deeper(levels)?;
                let value = visitor.visit_enum(Variant::with_value(&mut *self, name))?;
                self.shallower(levels, 0).map(|()| value)
            }
            Item::Map(_) => Err(Error::new("an enum that is written as a map must have exactly one entry")),
            other => Err(other.refused(&visitor)),
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
