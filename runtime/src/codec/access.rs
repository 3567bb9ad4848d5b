//! The types that visitors read from: the elements of a sequence, the entries of a map, the value of a variant. There
//! is only one type of each for all kinds of messages, because a visitor's code is compiled again for each type.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Unexpected, Visitor};

use super::error::{Error, Result};
use super::item::Arrays;
use super::read::Reader;

/// The elements of a sequence, or the fields of a struct.
pub(super) struct Elements<'r, 'de> {
    pub(super) reader: &'r mut Reader<'de>,
    pub(super) left: usize,
    /// Whether the elements are in a table, where their marks are separate from their numbers.
    pub(super) is_table: bool,
    pub(super) arrays: Option<Arrays<'de>>,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if self.is_table {
            self.reader.next_of_table();
            if let Some(arrays) = &mut self.arrays {
                self.reader.next_array = arrays.next();
            }
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The entries of a map.
pub(super) struct Entries<'r, 'de> {
    pub(super) reader: &'r mut Reader<'de>,
    pub(super) left: usize,
    pub(super) keys: Keys<'de>,
}

/// The source of the keys of a map.
#[derive(Clone, Copy)]
pub(super) enum Keys<'de> {
    /// Each key is written before its value.
    Written,
    /// The keys are the names of a set in the table of names: the index of the set, and its number of names.
    Set(u32, usize),
    /// There is one key: the name of a variant.
    One(&'de str),
}

impl<'de> de::MapAccess<'de> for Entries<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        let name = match self.keys {
            Keys::Written => None,
            keys => self.reader.next_key(keys, self.left)?,
        };
        self.left -= 1;
        match name {
            None => seed.deserialize(&mut *self.reader).map(Some),
            Some(name) => seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some),
        }
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(&mut *self.reader)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant: its name, if that is already read, and its value, if it has one.
pub(super) struct Variant<'r, 'de> {
    reader: &'r mut Reader<'de>,
    name: Option<&'de str>,
    has_value: bool,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        let variant = match self.name {
            Some(name) => seed.deserialize(BorrowedStrDeserializer::<Error>::new(name))?,
            None => seed.deserialize(&mut *self.reader)?,
        };
        Ok((variant, self))
    }
}

impl<'r, 'de> Variant<'r, 'de> {
    pub(super) fn unit(reader: &'r mut Reader<'de>, name: &'de str) -> Self {
        Self { reader, name: Some(name), has_value: false }
    }

    /// Creates a variant with a value. If `name` is `None`, the name is read first.
    pub(super) fn with_value(reader: &'r mut Reader<'de>, name: Option<&'de str>) -> Self {
        Self { reader, name, has_value: true }
    }

    fn value(self, wanted: &str) -> Result<&'r mut Reader<'de>> {
        if self.has_value {
            return Ok(self.reader);
        }
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &wanted))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        if self.has_value { de::Deserialize::deserialize(self.reader) } else { Ok(()) }
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.value("newtype variant")?)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.value("tuple variant")?.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.value("struct variant")?.deserialize_struct("", fields, visitor)
    }
}
