//! JSON, parsed and not parsed.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

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

proptest! {
    #[test]
    fn json_round_trips(value in json()) {
        comes_back(&value);
    }
}

#[test]
fn unparsed_json_round_trips() {
    let raw = RawValue::from_string("{\"a\": [1, 2.50]}".to_owned()).unwrap();
    let got: Vec<Box<RawValue>> = decode(&encode(&[&raw, &raw]).unwrap()).unwrap();
    assert_eq!(got[1].get(), raw.get());
}
