//! Shows an encoded result as text.

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor};

use crate::codec;

/// Length from which lists and texts are cut, in bytes.
const LONGEST: usize = 1_000;

/// Returns an encoded result as JSON, with `()` for the unit and Rust's notation for numbers and bytes that JSON does
/// not have. Cuts long results. Returns `None` if the result cannot be decoded without its type.
pub(super) fn shown(result: &[u8]) -> Option<String> {
    codec::decode::<Shown>(result).ok().map(|shown| shown.0)
}

struct Shown(String);

impl Shown {
    fn of(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }

    fn text(text: &str) -> Self {
        let cut = text.floor_char_boundary(LONGEST.min(text.len()));
        // A string always serializes.
        let mut shown = serde_json::to_string(&text[..cut]).unwrap_or_default();
        if cut < text.len() {
            let _ = write!(shown, " and {} more bytes", text.len() - cut);
        }
        Self(shown)
    }

    /// Adds an element after a comma.
    fn push(&mut self, element: &str) {
        if self.0.len() > 1 {
            self.0.push_str(", ");
        }
        self.0.push_str(element);
    }

    fn end(mut self, left_out: u64, bracket: char) -> Self {
        if left_out > 0 {
            self.push(&format!("and {left_out} more"));
        }
        self.0.push(bracket);
        self
    }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShownVisitor)
    }
}

struct ShownVisitor;

macro_rules! displayed {
    ($($visit:ident $type:ty),*) => {
        $(fn $visit<E>(self, value: $type) -> Result<Shown, E> {
            Ok(Shown::of(value))
        })*
    };
}

impl<'de> Visitor<'de> for ShownVisitor {
    type Value = Shown;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    displayed!(visit_bool bool, visit_u64 u64, visit_i64 i64, visit_u128 u128, visit_i128 i128);

    // The notation of `Debug` distinguishes `1.0` from `1`.
    fn visit_f32<E>(self, value: f32) -> Result<Shown, E> {
        Ok(Shown::of(format_args!("{value:?}")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shown, E> {
        Ok(Shown::of(format_args!("{value:?}")))
    }

    fn visit_str<E>(self, text: &str) -> Result<Shown, E> {
        Ok(Shown::text(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Shown, E> {
        let mut shown = Shown::of("[");
        let most = LONGEST / 5;
        bytes.iter().take(most).for_each(|byte| shown.push(&byte.to_string()));
        Ok(shown.end(bytes.len().saturating_sub(most) as u64, ']'))
    }

    fn visit_unit<E>(self) -> Result<Shown, E> {
        Ok(Shown::of("()"))
    }

    fn visit_none<E>(self) -> Result<Shown, E> {
        Ok(Shown::of("null"))
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Shown, D::Error> {
        Shown::deserialize(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Shown, D::Error> {
        Shown::deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Shown, A::Error> {
        let mut shown = Shown::of("[");
        while shown.0.len() < LONGEST {
            let Some(element) = elements.next_element::<Shown>()? else { return Ok(shown.end(0, ']')) };
            shown.push(&element.0);
        }
        let mut left_out = 0;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            left_out += 1;
        }
        Ok(shown.end(left_out, ']'))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shown, A::Error> {
        let mut shown = Shown::of("{");
        while shown.0.len() < LONGEST {
            let Some((key, value)) = entries.next_entry::<Shown, Shown>()? else { return Ok(shown.end(0, '}')) };
            shown.push(&format!("{}: {}", key.0, value.0));
        }
        let mut left_out = 0;
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            left_out += 1;
        }
        Ok(shown.end(left_out, '}'))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<Shown, A::Error> {
        let (name, content) = variant.variant::<Shown>()?;
        let content: Shown = content.newtype_variant()?;
        Ok(Shown(format!("{{{}: {}}}", name.0, content.0)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        at: Option<(f64, u8)>,
        kind: Kind,
    }

    #[derive(Serialize)]
    enum Kind {
        Plain,
        Sized { width: u32 },
    }

    fn text<T: Serialize>(value: &T) -> String {
        shown(&codec::encode(value).unwrap()).unwrap()
    }

    #[test]
    fn results_of_any_type_are_shown() {
        assert_eq!((text(&7u64), text(&-1i32), text(&u128::MAX)), ("7".into(), "-1".into(), u128::MAX.to_string()));
        assert_eq!(
            (text(&1.0f64), text(&f64::NAN), text(&()), text(&true)),
            ("1.0".into(), "NaN".into(), "()".into(), "true".into())
        );
        assert_eq!((text(&"a \"b\"\n"), text(&'c')), (r#""a \"b\"\n""#.into(), "\"c\"".into()));
        assert_eq!((text(&vec![1.5f64, 2.0]), text(&vec![1u8, 2])), ("[1.5, 2.0]".into(), "[1, 2]".into()));
        assert_eq!(text(&BTreeMap::from([(1u64, "one")])), r#"{1: "one"}"#);
        let rows = [
            Row { name: "a", at: Some((1.5, 2)), kind: Kind::Plain },
            Row { name: "b", at: None, kind: Kind::Sized { width: 3 } },
        ];
        assert_eq!(
            text(&rows),
            r#"[{"name": "a", "at": [1.5, 2], "kind": "Plain"}, "#.to_owned()
                + r#"{"name": "b", "at": null, "kind": {"Sized": {"width": 3}}}]"#
        );
    }

    #[test]
    fn long_results_are_cut() {
        let numbers = text(&(0..10_000u64).map(|i| i * i).collect::<Vec<_>>());
        assert!(
            numbers.len() < 1_100 && numbers.starts_with("[0, 1, 4, 9,") && numbers.ends_with(" more]"),
            "{numbers}"
        );
        let words = text(&vec!["word"; 1_000]);
        assert!(words.len() < 1_100 && words.ends_with(" more]"), "{words}");
        let long = text(&"ä".repeat(10_000));
        assert!(long.len() < 1_100 && long.ends_with("\" and 19000 more bytes"), "{long}");
        let bytes = text(&vec![200u8; 1 << 20]);
        assert!(bytes.len() < 1_100 && bytes.ends_with(" more]"), "{bytes}");
    }

    #[test]
    fn damaged_results_are_not_shown() {
        assert_eq!(shown(&[]), None);
        let whole = codec::encode(&vec![1u64; 100]).unwrap();
        assert_eq!(shown(&whole[..whole.len() / 2]), None);
    }
}
