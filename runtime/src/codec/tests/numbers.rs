//! Numbers, alone and in sequences.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn numbers_round_trip(value in any::<(u128, i128, Vec<i64>, Vec<u16>, Vec<Option<u8>>, Vec<char>, [i8; 7])>()) {
        comes_back(&value);
    }

    #[test]
    fn sequences_may_stop_being_numeric_anywhere(
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
