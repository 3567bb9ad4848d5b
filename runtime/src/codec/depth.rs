//! How deep a value is nested, before it is decoded: the decoder itself does not count the variants of enums.

/// Whether the first value of some MessagePack has at most so many levels of sequences and maps within each other. What is
/// cut short or is no MessagePack is for the decoder to refuse.
///
/// The scan goes from marker to marker, by the table "Formats" of MessagePack's specification.
pub(super) fn is_within(most: usize, bytes: &[u8]) -> bool {
    // How many values are left on each level.
    let mut left: Vec<u64> = Vec::new();
    let mut rest = bytes;
    loop {
        let Some((len, within)) = value(rest) else { return true };
        let Some(next) = rest.get(len..) else { return true };
        rest = next;
        if within > 0 {
            left.push(within);
            if left.len() > most {
                return false;
            }
            continue;
        }
        // That was the last of its level, and perhaps of those around it.
        loop {
            match left.last_mut() {
                None => return true,
                Some(more @ 2..) => {
                    *more -= 1;
                    break;
                }
                Some(_) => drop(left.pop()),
            }
        }
    }
}

/// The length of the value at the start, without those within it, and how many are within it.
fn value(bytes: &[u8]) -> Option<(usize, u64)> {
    let marker = *bytes.first()?;
    let number = |size: usize| {
        let digits = bytes.get(1..1 + size)?;
        Some(digits.iter().fold(0_u64, |number, digit| number << 8 | u64::from(*digit)))
    };
    let long = |size: usize, extra: usize| {
        let len = usize::try_from(number(size)?).ok()?;
        Some((len.checked_add(1 + size + extra)?, 0))
    };
    Some(match marker {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (1, 0),
        0x80..=0x8f => (1, 2 * u64::from(marker & 0x0f)),
        0x90..=0x9f => (1, u64::from(marker & 0x0f)),
        0xa0..=0xbf => (1 + usize::from(marker & 0x1f), 0),
        0xc1 => return None,
        0xc4 | 0xd9 => return long(1, 0),
        0xc5 | 0xda => return long(2, 0),
        0xc6 | 0xdb => return long(4, 0),
        0xc7 => return long(1, 1),
        0xc8 => return long(2, 1),
        0xc9 => return long(4, 1),
        0xcc | 0xd0 => (2, 0),
        0xcd | 0xd1 => (3, 0),
        0xca | 0xce | 0xd2 => (5, 0),
        0xcb | 0xcf | 0xd3 => (9, 0),
        0xd4..=0xd8 => (2 + (1 << (marker - 0xd4)), 0),
        0xdc => (3, number(2)?),
        0xdd => (5, number(4)?),
        0xde => (3, 2 * number(2)?),
        0xdf => (5, 2 * number(4)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    enum Expr {
        Leaf,
        Not(Box<Expr>),
    }

    fn nots(depth: usize) -> Expr {
        (0..depth).fold(Expr::Leaf, |e, _| Expr::Not(Box::new(e)))
    }

    #[test]
    fn variants_of_enums_count_as_levels() {
        for (depth, fits) in [(0, true), (200, true), (256, true), (257, false), (5_000, false)] {
            let bytes = codec::encode(&nots(depth)).unwrap();
            assert_eq!(is_within(256, &bytes), fits, "{depth}");
        }
        let deep = codec::encode(&nots(5_000)).unwrap();
        // A stack that decoding it would overflow.
        let decoded =
            std::thread::Builder::new().stack_size(2 << 20).spawn(move || codec::decode::<Expr>(&deep).map(drop));
        let error = decoded.unwrap().join().unwrap().unwrap_err().to_string();
        assert!(error.contains("nested more than 256 levels deep"), "{error}");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            ".{0,300}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(6, 200, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(serde_json::Value::from),
                prop::collection::btree_map(".{0,20}", inner, 0..20)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn depth_of(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(all) if !all.is_empty() => 1 + all.iter().map(depth_of).max().unwrap_or(0),
            serde_json::Value::Object(all) if !all.is_empty() => 1 + all.values().map(depth_of).max().unwrap_or(0),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn the_depth_is_that_of_the_value(value in json()) {
            let bytes = codec::encode(&value).unwrap();
            let depth = depth_of(&value);
            prop_assert!(is_within(depth, &bytes));
            prop_assert!(depth == 0 || !is_within(depth - 1, &bytes));
        }

        #[test]
        fn anything_is_scanned_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            is_within(256, &bytes);
        }
    }
}
