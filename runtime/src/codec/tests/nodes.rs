//! Values of nearly every type, in enums of all representations, and bytes that are no values.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::tables::{Inner, Row};
use super::*;

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
    fn nested_enums_of_all_representations_round_trip(node in nodes()) {
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
