//! Reads variants that have a value.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Visitor};

use super::error::{Error, Result};
use super::read::Reader;

/// A variant whose name was read, before its value.
pub(super) struct Variant<'r, 'de> {
    pub(super) reader: &'r mut Reader<'de>,
    pub(super) name: &'de str,
}

impl<'r, 'de> de::EnumAccess<'de> for Variant<'r, 'de> {
    type Error = Error;
    type Variant = Value<'r, 'de>;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Value<'r, 'de>)> {
        let variant = seed.deserialize(BorrowedStrDeserializer::<Error>::new(self.name))?;
        Ok((variant, Value(self.reader)))
    }
}

/// A variant that was written as a map of its name and its value.
pub(super) struct MapVariant<'r, 'de> {
    pub(super) reader: &'r mut Reader<'de>,
}

impl<'r, 'de> de::EnumAccess<'de> for MapVariant<'r, 'de> {
    type Error = Error;
    type Variant = Value<'r, 'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Value<'r, 'de>)> {
        Ok((seed.deserialize(&mut *self.reader)?, Value(self.reader)))
    }
}

/// A variant's value.
pub(super) struct Value<'r, 'de>(&'r mut Reader<'de>);

impl<'de> de::VariantAccess<'de> for Value<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        de::Deserialize::deserialize(self.0)
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.0)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.0.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.0.deserialize_struct("", fields, visitor)
    }
}

/// A variant with a value, as a map of one entry.
pub(super) struct LoneEntry<'r, 'de> {
    pub(super) reader: &'r mut Reader<'de>,
    pub(super) name: Option<&'de str>,
}

impl<'de> de::MapAccess<'de> for LoneEntry<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.name.take().map(|name| seed.deserialize(BorrowedStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(usize::from(self.name.is_some()))
    }
}
