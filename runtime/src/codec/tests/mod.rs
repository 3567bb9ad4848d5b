//! Every value that serde_json returns unchanged is also returned unchanged here, and so are more values.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::ser::SerializeSeq;
use serde::{Deserializer, Serializer};
use serde_json::value::RawValue;

use super::*;

#[track_caller]
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let bytes = encode(value).unwrap();
    match decode::<T>(&bytes) {
        Ok(got) => assert_eq!(got, *value, "{bytes:02x?}"),
        Err(error) => panic!("{error}, of {value:?}: {bytes:02x?}"),
    }
    // Skipping a value must end where the value ends.
    decode::<serde::de::IgnoredAny>(&bytes).unwrap();
    assert!(bytes.is_empty() || decode::<serde::de::IgnoredAny>(&bytes[..bytes.len() - 1]).is_err());
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Marker;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

/// Bytes in serde's own representation of bytes, as `serde_bytes` writes them.
#[derive(Debug, Clone, PartialEq)]
struct RealBytes(Vec<u8>);

impl Serialize for RealBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for RealBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl<'de> serde::de::Visitor<'de> for BytesVisitor {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut bytes: A) -> Result<Vec<u8>, A::Error> {
                std::iter::from_fn(|| bytes.next_element().transpose()).collect()
            }
        }
        deserializer.deserialize_byte_buf(BytesVisitor).map(RealBytes)
    }
}

/// A struct with a field of nearly every type that serde supports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Leaves {
    whole: (u8, i8, u16, i16, u32, i32, u64, i64),
    floats: (f32, f64, bool, char),
    text: String,
    unit: (),
    marker: Marker,
    meters: Vec<Meters>,
    maybe: Option<u16>,
    maybe_unit: Option<()>,
    maybe_marker: Option<Marker>,
    maybe_maybe: Option<Option<Option<u8>>>,
    bytes: Vec<u8>,
    real_bytes: RealBytes,
    flags: Vec<bool>,
    pairs: Vec<(u32, f32)>,
    quads: Vec<[u8; 4]>,
    ip: IpAddr,
    socket: SocketAddr,
    time: Duration,
    set: BTreeSet<u8>,
    by_number: BTreeMap<i16, Option<bool>>,
    by_pair: BTreeMap<(u8, bool), String>,
    by_char: BTreeMap<char, ()>,
    by_kind: BTreeMap<Key, Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<String>,
    #[serde(rename = "type", default, alias = "kind")]
    renamed: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Key {
    Red,
    Blue,
}

fn leaves() -> impl Strategy<Value = Leaves> {
    let numbers = any::<((u8, i8, u16, i16, u32, i32, u64, i64), (u8, bool, char), Option<u16>)>();
    let floats = (prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::INFINITE, prop::num::f64::NORMAL);
    let options = any::<(Option<()>, Option<bool>, Option<Option<Option<u8>>>, Option<String>)>();
    let few = 0..5_usize;
    let lists = (
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(any::<u8>(), few.clone()),
        prop::collection::vec(any::<bool>(), few.clone()),
        prop::collection::vec((any::<u32>(), prop::num::f32::NORMAL), few.clone()),
        prop::collection::vec(any::<[u8; 4]>(), few.clone()),
        prop::collection::vec(prop::num::f64::NORMAL, few.clone()),
    );
    let maps = (
        prop::collection::btree_set(any::<u8>(), few.clone()),
        prop::collection::btree_map(any::<i16>(), any::<Option<bool>>(), few.clone()),
        prop::collection::btree_map(any::<(u8, bool)>(), ".{0,9}", few.clone()),
        prop::collection::btree_map(any::<char>(), Just(()), few.clone()),
        prop::collection::btree_map(prop_oneof![Just(Key::Red), Just(Key::Blue)], any::<Vec<u16>>(), few),
    );
    let addresses = any::<(IpAddr, std::net::Ipv4Addr, u16, Duration)>();
    (numbers, floats, ".{0,40}", options, lists, maps, addresses).prop_map(
        |(numbers, floats, text, options, lists, maps, addresses)| Leaves {
            whole: numbers.0,
            floats: (floats.0, floats.1, numbers.1.1, numbers.1.2),
            text,
            unit: (),
            marker: Marker,
            meters: lists.5.into_iter().map(Meters).collect(),
            maybe: numbers.2,
            maybe_unit: options.0,
            maybe_marker: options.1.map(|_| Marker),
            maybe_maybe: options.2,
            bytes: lists.0,
            real_bytes: RealBytes(lists.1),
            flags: lists.2,
            pairs: lists.3,
            quads: lists.4,
            ip: addresses.0,
            socket: (addresses.1, addresses.2).into(),
            time: addresses.3,
            set: maps.0,
            by_number: maps.1,
            by_pair: maps.2,
            by_char: maps.3,
            by_kind: maps.4,
            left_out: options.3,
            renamed: numbers.0.5,
        },
    )
}

/// Enums in all of serde's representations. Each contains all the others.
macro_rules! nodes {
    ($($name:ident $(#[$repr:meta])*: $($tuple:ident)?;)*) => {$(
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$repr])*
        enum $name {
            // Must be first: without a tag, the other variants would also accept its fields.
            Flat(Box<Flat>),
            Leaves(Box<Leaves>),
            Struct { node: Box<Node>, wide: u64, list: Vec<Node> },
            $($tuple(Box<Node>, f64, Option<Box<Node>>),)?
            Empty,
        }
    )*};
}

nodes! {
    External: Tuple;
    Internal #[serde(tag = "t")]:;
    Adjacent #[serde(tag = "t", content = "c")]: Tuple;
    Untagged #[serde(untagged)]: Tuple;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    leaves: Leaves,
    #[serde(flatten)]
    rest: BTreeMap<String, Vec<Node>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Node {
    External(External),
    Internal(Internal),
    Adjacent(Adjacent),
    Untagged(Untagged),
    Keyed(BTreeMap<u16, Option<Node>>),
    None,
}

fn nodes() -> impl Strategy<Value = Node> {
    let leaf = leaves().prop_map(|leaves| Node::External(External::Leaves(Box::new(leaves))));
    let leaf = prop_oneof![leaf, Just(Node::None)];
    leaf.prop_recursive(4, 12, 3, |inner| {
        let parts = (inner.clone(), prop::collection::vec(inner.clone(), 0..3), leaves(), any::<u64>());
        let parts = (parts, prop::option::of(inner), prop::num::f64::NORMAL, "x[a-z]{0,3}", 0..24_u8);
        parts.prop_map(|((node, list, leaves, wide), maybe, float, name, which)| {
            let node = Box::new(node);
            macro_rules! make {
                ($type:ident, $tuple:expr) => {
                    Node::$type(match which % 5 {
                        0 => $type::Leaves(Box::new(leaves)),
                        1 => $type::Struct { node, wide, list },
                        2 => $tuple,
                        3 => {
                            let rest = [(name, list)].into();
                            $type::Flat(Box::new(Flat { id: wide as u32, leaves, rest }))
                        }
                        _ => $type::Empty,
                    })
                };
            }
            match which / 5 {
                0 => make!(External, External::Tuple(node, float, maybe.map(Box::new))),
                1 => make!(Internal, Internal::Empty),
                2 => make!(Adjacent, Adjacent::Tuple(node, float, maybe.map(Box::new))),
                3 => make!(Untagged, Untagged::Tuple(node, float, maybe.map(Box::new))),
                _ => Node::Keyed([(wide as u16, maybe), (0, Some(*node))].into()),
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn enums_of_all_representations_in_each_other_come_back(node in nodes()) {
        comes_back(&node);
        comes_back(&Some(vec![(node.clone(), Some(node))]));
    }

    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_as_all(&bytes);
    }

    #[test]
    fn changed_messages_give_a_value_or_an_error(
        node in nodes(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&node).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_as_all(&bytes);
    }
}

fn read_as_all(bytes: &[u8]) {
    let _ = decode::<Node>(bytes);
    let _ = decode::<Leaves>(bytes);
    let _ = decode::<Untagged>(bytes);
    let _ = decode::<Flat>(bytes);
    let _ = decode::<serde_json::Value>(bytes);
    let _ = decode::<HashMap<String, Vec<u64>>>(bytes);
    let _ = decode::<(&str, &[u8])>(bytes);
    let _ = decode::<serde::de::IgnoredAny>(bytes);
    let _ = decode::<Box<RawValue>>(bytes);
    let _ = decode::<Vec<Inner>>(bytes);
    let _ = decode::<Vec<Row>>(bytes);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 200, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::btree_map(".{0,20}", inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Elements that may have one shape or different shapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Row {
    Sample(Sample),
    Pair(u8, f32),
    Deep((bool, Meters), [[i16; 2]; 3]),
    Text(String),
    Numbers(Vec<u64>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sample {
    x: f32,
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<i8>,
    inner: Inner,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
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
    fn tables_come_back_also_where_a_row_is_of_another_shape(all in rows()) {
        comes_back(&all);
        comes_back(&vec![all; 20]);
    }

    #[test]
    fn plain_tables_come_back(
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

    #[test]
    fn json_comes_back(value in json()) {
        comes_back(&value);
    }

    #[test]
    fn numbers_come_back(value in any::<(u128, i128, Vec<i64>, Vec<u16>, Vec<Option<u8>>, Vec<char>, [i8; 7])>()) {
        comes_back(&value);
    }

    #[test]
    fn a_sequence_may_stop_to_be_one_of_numbers_anywhere(
        before in prop::collection::vec(any::<u16>(), 0..400), text in ".{0,3}", after in any::<Vec<i8>>(),
    ) {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(untagged)]
        enum Cell { Small(i8), Number(u64), Text(String) }
        let before = before.into_iter().map(|n| Cell::Number(u64::from(n) + 200));
        let after = after.into_iter().map(Cell::Small);
        comes_back(&before.chain([Cell::Text(text)]).chain(after).collect::<Vec<_>>());
    }

    #[test]
    fn floats_keep_their_bits(bits: u64, more: Vec<u32>) {
        let value = (f64::from_bits(bits), more.iter().map(|bits| f32::from_bits(*bits)).collect::<Vec<_>>());
        let got: (f64, Vec<f32>) = decode(&encode(&value).unwrap()).unwrap();
        prop_assert_eq!(got.0.to_bits(), bits);
        prop_assert_eq!(got.1.iter().map(|float| float.to_bits()).collect::<Vec<_>>(), more);
    }
}

#[test]
fn bytes_and_texts_are_told_apart_in_untagged_types() {
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
fn none_is_told_apart_from_some_that_holds_nothing() {
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
fn a_visitor_of_the_users_own_sees_what_json_would_show_it() {
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
fn json_that_was_not_parsed_comes_back() {
    let raw = RawValue::from_string("{\"a\": [1, 2.50]}".to_owned()).unwrap();
    let got: Vec<Box<RawValue>> = decode(&encode(&[&raw, &raw]).unwrap()).unwrap();
    assert_eq!(got[1].get(), raw.get());
}

#[test]
fn what_serde_cannot_read_ahead_is_refused_by_name_and_reason() {
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

#[test]
fn names_of_fields_stand_once() {
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
fn tens_of_thousands_of_sets_of_fields_come_back() {
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

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Expr {
    Leaf,
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Maybe(Option<Box<Expr>>),
    List { all: Vec<Expr> },
}

type Wrap = fn(Box<Expr>) -> Expr;

fn nested(depth: usize, wrap: Wrap) -> Expr {
    (0..depth).fold(Expr::Leaf, |expr, _| wrap(Box::new(expr)))
}

/// Runs `call` on a stack as small as that of the threads of tokio and of the standard library.
fn on_a_small_stack<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(2 << 20).spawn(call).unwrap().join().unwrap()
}

#[test]
fn what_can_be_written_can_be_read_and_deeper_is_an_error() {
    on_a_small_stack(|| {
        let wraps: [(Wrap, usize); 4] = [
            (Expr::Not, 256),
            (|expr| Expr::And(Box::new(Expr::Leaf), expr), 256),
            (|expr| Expr::Maybe(Some(expr)), 128),
            (|expr| Expr::List { all: vec![*expr] }, 128),
        ];
        for (wrap, most) in wraps {
            comes_back(&nested(most, wrap));
            let error = encode(&nested(most + 1, wrap)).unwrap_err().to_string();
            assert!(error.contains("nested more than 256 levels deep"), "{error}");
        }
        let deep = nested(20_000, Expr::Not);
        assert!(encode(&deep).is_err());
        // Dropping it would overflow this stack.
        std::mem::forget(deep);
    });
}

#[test]
fn a_deep_untagged_type_can_be_read() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Loose {
        Number(i64),
        Text(String),
        List(Vec<Loose>),
    }
    on_a_small_stack(|| {
        let value = (0..250).fold(Loose::Number(1), |inner, _| Loose::List(vec![inner, Loose::Text("x".into())]));
        comes_back(&value);
    });
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    for mark in [marks::SOME, marks::SEQ, marks::MAP] {
        let bytes: Vec<u8> = [mark, 1].repeat(1 << 20);
        assert!(decode::<serde_json::Value>(&bytes).is_err());
        assert!(decode::<serde::de::IgnoredAny>(&bytes).is_err());
    }
}

#[test]
fn a_length_that_lies_is_an_error() {
    let lengths = [marks::WIDE_SEQ, marks::WIDE_MAP, marks::WIDE_BYTES, marks::WIDE_STR, marks::LONG_BLOCK + 8];
    for marker in lengths {
        for fill in [0x7f, 0xff] {
            let bytes = [&[marker, 0, 0, 0, 0, 0, 0, 0][..], &[fill; 8]].concat();
            assert!(decode::<Vec<u64>>(&bytes).is_err());
            assert!(decode::<HashMap<u64, u64>>(&bytes).is_err());
            assert!(decode::<Vec<u8>>(&bytes).is_err());
            assert!(decode::<String>(&bytes).is_err());
        }
    }
}

#[test]
fn a_length_that_lies_when_it_is_written_does_no_harm() {
    struct Lies<T>(Vec<T>, usize);
    impl<T: Serialize> Serialize for Lies<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut elements = serializer.serialize_seq(Some(self.1))?;
            self.0.iter().try_for_each(|element| elements.serialize_element(element))?;
            elements.end()
        }
    }
    for claimed in [0, 1, 16, 255, 256, usize::MAX] {
        for len in [0, 1, 16, 255, 300] {
            let numbers: Vec<u32> = (0..len).collect();
            let pairs: Vec<(u8, f64)> = (0..len).map(|i| (i as u8, 0.5)).collect();
            let texts: Vec<String> = (0..len).map(|i| i.to_string()).collect();
            assert_eq!(decode::<Vec<u32>>(&encode(&Lies(numbers.clone(), claimed)).unwrap()).unwrap(), numbers);
            assert_eq!(decode::<Vec<(u8, f64)>>(&encode(&Lies(pairs.clone(), claimed)).unwrap()).unwrap(), pairs);
            assert_eq!(decode::<Vec<String>>(&encode(&Lies(texts.clone(), claimed)).unwrap()).unwrap(), texts);
        }
    }
}

#[test]
fn tables_take_little_more_than_their_numbers() {
    let samples: Vec<Inner> = (0..1000).map(|i| Inner { flag: i % 2 == 0, wide: (i, [7; 3]) }).collect();
    let len = encode(&samples).unwrap().len();
    assert!(len < 1000 * 12 + 100, "{len}");
    assert_eq!(encode(&vec![(1_u32, 2.0_f32); 1000]).unwrap().len(), 1 + 8 + 1 + 4 + 8000);
}

#[test]
fn small_values_take_few_bytes() {
    assert_eq!(encode(&5_u64).unwrap(), [5]);
    assert_eq!(encode(&5_i8).unwrap(), [5]);
    assert_eq!(encode("wren").unwrap().len(), 5);
    assert_eq!(encode(&()).unwrap().len(), 1);
    assert_eq!(encode(&vec![200_u8; 100]).unwrap().len(), 102);
    assert_eq!(encode(&vec![0.5_f64; 1000]).unwrap().len(), 8016);
}

#[test]
fn equal_values_have_equal_encodings() {
    // `MapReduce` compares keys by their encodings.
    let value = ((1_u8, 2.5_f32), vec![(1_u8, 2.5_f32)], Key::Red, Some("x"));
    assert_eq!(encode(&value).unwrap(), encode(&value.clone()).unwrap());
}
