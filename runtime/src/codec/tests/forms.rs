//! Types that need to know what comes next: untagged enums, options, hand-written visitors.

use super::*;

#[test]
fn untagged_types_distinguish_bytes_and_texts() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum TextFirst {
        Text(String),
        Raw(Vec<u8>),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum RawFirst {
        Raw(Vec<u8>),
        Text(String),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum RealFirst {
        Text(String),
        Letter(char),
        Real(RealBytes),
    }
    for bytes in [vec![], vec![1, 2, 3], b"text".to_vec(), vec![0xff; 300]] {
        comes_back(&vec![TextFirst::Raw(bytes.clone()), TextFirst::Text("abc".into())]);
        comes_back(&vec![RawFirst::Raw(bytes.clone()), RawFirst::Text("abc".into())]);
        comes_back(&vec![RealFirst::Real(RealBytes(bytes)), RealFirst::Text("abc".into())]);
    }
}

#[test]
fn none_is_distinguished_from_some_of_nothing() {
    comes_back(&vec![None, Some(())]);
    comes_back(&vec![Some(Marker), None]);
    comes_back(&[None, Some(None), Some(Some(None)), Some(Some(Some(())))]);
    comes_back(&Ok::<_, u8>(Some(())));
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Loose {
        Twice(Option<Option<u8>>),
    }
    comes_back(&vec![Loose::Twice(None), Loose::Twice(Some(None)), Loose::Twice(Some(Some(3)))]);
}

#[test]
fn custom_visitors_see_what_json_would_show() {
    /// A type whose visitor is written by hand and accepts only maps.
    #[derive(Debug, PartialEq)]
    struct Point {
        x: i64,
        y: i64,
    }
    impl Serialize for Point {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeStruct;
            let mut fields = serializer.serialize_struct("Point", 2)?;
            fields.serialize_field("x", &self.x)?;
            fields.serialize_field("y", &self.y)?;
            fields.end()
        }
    }
    impl<'de> Deserialize<'de> for Point {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct ByName;
            impl<'de> serde::de::Visitor<'de> for ByName {
                type Value = Point;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a point")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Point, A::Error> {
                    let mut point = Point { x: 0, y: 0 };
                    while let Some(name) = map.next_key::<String>()? {
                        *(if name == "x" { &mut point.x } else { &mut point.y }) = map.next_value()?;
                    }
                    Ok(point)
                }
            }
            deserializer.deserialize_struct("Point", &["x", "y"], ByName)
        }
    }
    comes_back(&vec![Point { x: 1, y: -2 }, Point { x: i64::MAX, y: 0 }]);

    /// An optional number whose visitor does not implement `visit_some`.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Loose {
        #[serde(deserialize_with = "number_or_text")]
        value: Option<i32>,
    }
    fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
        struct Either;
        impl serde::de::Visitor<'_> for Either {
            type Value = Option<i32>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or its text")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Option<i32>, E> {
                Ok(Some(number as i32))
            }

            fn visit_unit<E>(self) -> Result<Option<i32>, E> {
                Ok(None)
            }

            fn visit_none<E>(self) -> Result<Option<i32>, E> {
                Ok(None)
            }
        }
        deserializer.deserialize_any(Either)
    }
    comes_back(&vec![Loose { value: Some(7) }, Loose { value: None }, Loose { value: Some(70_000) }]);
}

#[test]
fn unbufferable_values_are_refused_with_name_and_reason() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Wide {
        Amount { amount: u128 },
    }
    for amount in [5, u128::MAX] {
        let error = decode::<Wide>(&encode(&Wide::Amount { amount }).unwrap()).unwrap_err().to_string();
        assert!(error.contains("Wide"), "{error}");
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flattened {
        #[serde(flatten)]
        amount: Amount,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Amount {
        amount: i128,
    }
    for amount in [5, i128::MIN] {
        let value = Flattened { amount: Amount { amount } };
        let error = decode::<Flattened>(&encode(&value).unwrap()).unwrap_err().to_string();
        assert!(error.contains("cannot read `u128` and `i128` inside"), "{error}");
    }
    comes_back(&Amount { amount: i128::MIN });
}
