//! Floats in keys: equal floats are one key, and so are all NaN. [`OneFloat`] makes them so in any value that serde
//! supports.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Returns the float that represents all floats which are the same key as `x`.
pub(super) fn one_double(x: f64) -> f64 {
    if x.is_nan() {
        f64::NAN
    } else if x == 0.0 {
        0.0
    } else {
        x
    }
}

/// Returns the `f32` that represents all floats which are the same key as `x`.
pub(super) fn one_float(x: f32) -> f32 {
    if x.is_nan() {
        f32::NAN
    } else if x == 0.0 {
        0.0
    } else {
        x
    }
}

/// A value that is serialized with each float replaced by the one that represents the same key.
#[derive(Debug)]
pub(super) struct OneFloat<T>(pub(super) T);

impl<T: Serialize> Serialize for OneFloat<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(OneFloat(serializer))
    }
}

macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method(self $(, $name: $type)*) -> Result<S::Ok, S::Error> {
            self.0.$method($($name),*)
        }
    )*};
}

macro_rules! open {
    ($($method:ident($($name:ident: $type:ty),*) -> $output:ident;)*) => {$(
        fn $method(self $(, $name: $type)*) -> Result<OneFloat<S::$output>, S::Error> {
            self.0.$method($($name),*).map(OneFloat)
        }
    )*};
}

impl<S: Serializer> Serializer for OneFloat<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = OneFloat<S::SerializeSeq>;
    type SerializeTuple = OneFloat<S::SerializeTuple>;
    type SerializeTupleStruct = OneFloat<S::SerializeTupleStruct>;
    type SerializeTupleVariant = OneFloat<S::SerializeTupleVariant>;
    type SerializeMap = OneFloat<S::SerializeMap>;
    type SerializeStruct = OneFloat<S::SerializeStruct>;
    type SerializeStructVariant = OneFloat<S::SerializeStructVariant>;

    fn serialize_f32(self, x: f32) -> Result<S::Ok, S::Error> {
        self.0.serialize_f32(one_float(x))
    }

    fn serialize_f64(self, x: f64) -> Result<S::Ok, S::Error> {
        self.0.serialize_f64(one_double(x))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&OneFloat(value))
    }

    fn serialize_newtype_struct<T>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error>
    where
        T: Serialize + ?Sized,
    {
        self.0.serialize_newtype_struct(name, &OneFloat(value))
    }

    fn serialize_newtype_variant<T>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error>
    where
        T: Serialize + ?Sized,
    {
        self.0.serialize_newtype_variant(name, index, variant, &OneFloat(value))
    }

    forward! {
        serialize_bool(x: bool);
        serialize_i8(x: i8);
        serialize_i16(x: i16);
        serialize_i32(x: i32);
        serialize_i64(x: i64);
        serialize_i128(x: i128);
        serialize_u8(x: u8);
        serialize_u16(x: u16);
        serialize_u32(x: u32);
        serialize_u64(x: u64);
        serialize_u128(x: u128);
        serialize_char(x: char);
        serialize_str(x: &str);
        serialize_bytes(x: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    open! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeStructVariant;
    }

    // Forwarded, so that formats that override serde's defaults do so here, too: sequences of bytes then are shorter.
    fn collect_seq<I>(self, items: I) -> Result<S::Ok, S::Error>
    where
        I: IntoIterator<Item: Serialize>,
    {
        self.0.collect_seq(items.into_iter().map(OneFloat))
    }

    fn collect_map<K, V, I>(self, items: I) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        I: IntoIterator<Item = (K, V)>,
    {
        self.0.collect_map(items.into_iter().map(|(key, value)| (OneFloat(key), OneFloat(value))))
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! elements {
    ($($kind:ident $($method:ident)+;)*) => {$(
        impl<S: $kind> $kind for OneFloat<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            $(fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.0.$method(&OneFloat(value))
            })+

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
    SerializeMap serialize_key serialize_value;
}

macro_rules! fields {
    ($($kind:ident)*) => {$(
        impl<S: $kind> $kind for OneFloat<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T>(&mut self, key: &'static str, value: &T) -> Result<(), S::Error>
            where
                T: Serialize + ?Sized,
            {
                self.0.serialize_field(key, &OneFloat(value))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.0.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }
