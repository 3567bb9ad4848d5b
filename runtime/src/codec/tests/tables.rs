//! Sequences of structs and tuples, whose elements have one shape or several.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Elements that may have one shape or different shapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Row {
    Sample(Sample),
    Pair(u8, f32),
    Deep((bool, Meters), [[i16; 2]; 3]),
    Text(String),
    Numbers(Vec<u64>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    x: f32,
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<i8>,
    inner: Inner,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Inner {
    flag: bool,
    wide: (u64, [u8; 3]),
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let sample = |extra| {
        (prop::num::f32::NORMAL, any::<(u32, bool, u64, [u8; 3])>()).prop_map(move |(x, (id, flag, wide, bytes))| {
            Row::Sample(Sample { x, id, extra, inner: Inner { flag, wide: (wide, bytes) } })
        })
    };
    let plain = prop_oneof![
        sample(None).boxed(),
        (any::<u8>(), prop::num::f32::NORMAL).prop_map(|(a, b)| Row::Pair(a, b)).boxed(),
        any::<((bool, i16), [[i16; 2]; 3])>()
            .prop_map(|((flag, meters), deep)| Row::Deep((flag, Meters(meters.into())), deep))
            .boxed(),
    ];
    let other = prop_oneof![
        Just(Row::Text("text".into())),
        prop::collection::vec(200..900_u64, 3).prop_map(Row::Numbers),
        sample(Some(3)),
        Just(Row::Pair(7, 0.5)),
    ];
    let many = plain.prop_flat_map(|first| (Just(first), 0..60_usize));
    (many, prop::collection::vec((other, any::<prop::sample::Index>()), 0..3)).prop_map(|((first, count), others)| {
        let mut all = vec![first; count];
        for (other, at) in others {
            all.insert(at.index(all.len() + 1), other);
        }
        all
    })
}

proptest! {
    #[test]
    fn tables_with_irregular_rows_round_trip(all in rows()) {
        comes_back(&all);
        comes_back(&vec![all; 20]);
    }

    #[test]
    fn plain_tables_round_trip(
        pairs in prop::collection::vec(any::<(u32, i8, bool)>(), 0..300),
        arrays in prop::collection::vec(any::<[u8; 4]>(), 0..40),
        keyed in prop::collection::vec((any::<u16>(), prop::num::f64::NORMAL), 0..40),
    ) {
        comes_back(&pairs);
        comes_back(&arrays);
        comes_back(&keyed.iter().copied().collect::<HashMap<u16, f64>>());
        let samples: Vec<Inner> = pairs.iter().map(|(n, _, flag)| Inner { flag: *flag, wide: ((*n).into(), [1, 2, 3]) }).collect();
        comes_back(&samples);
        // Decoded as another type, a table has the same numbers.
        let json: serde_json::Value = decode(&encode(&samples).unwrap()).unwrap();
        prop_assert_eq!(json, serde_json::to_value(&samples).unwrap());
    }
}

#[test]
fn field_names_appear_once() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        temperature_of_the_water: f32,
        depth_below_the_surface: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        remark: Option<String>,
    }
    let sample = |i: u16| Sample {
        temperature_of_the_water: 4.5,
        depth_below_the_surface: 300 + i,
        remark: i.is_multiple_of(3).then(|| "cold".to_owned()),
    };
    let samples: Vec<_> = (0..1000).map(sample).collect();
    comes_back(&samples);
    let len = encode(&samples).unwrap().len();
    assert!(len < 1000 * (3 + 5 + 3) + 334 * 6 + 200, "{len}");
}

#[test]
fn tens_of_thousands_of_field_sets_round_trip() {
    macro_rules! many {
        ($($field:ident)*) => {
            #[derive(Debug, PartialEq, Serialize, Deserialize)]
            struct Many {
                $(#[serde(skip_serializing_if = "Option::is_none")] $field: Option<u8>,)*
                children: Vec<Many>,
            }
            fn many(bits: u32, children: Vec<Many>) -> Many {
                let mut bits = bits;
                let mut next = || { bits >>= 1; (bits & 1 == 1).then_some(bits as u8) };
                Many { $($field: next(),)* children }
            }
        };
    }
    many!(a b c d e f g h i j k l m n o p q);
    // The outer struct's index is assigned last, and is greater than 65,535.
    comes_back(&many(0b11, (0..70_000).map(|i| many(i << 1, vec![])).collect()));
}

#[test]
fn tables_take_little_more_than_their_numbers() {
    let samples: Vec<Inner> = (0..1000).map(|i| Inner { flag: i % 2 == 0, wide: (i, [7; 3]) }).collect();
    let len = encode(&samples).unwrap().len();
    assert!(len < 1000 * 12 + 100, "{len}");
    assert_eq!(encode(&vec![(1_u32, 2.0_f32); 1000]).unwrap().len(), 1 + 8 + 1 + 4 + 8000);
}
