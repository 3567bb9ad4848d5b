//! Lengths that are not those of the values that follow.

use std::collections::HashMap;

use serde::ser::SerializeSeq;

use super::*;

#[test]
fn a_wrong_length_is_an_error() {
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
fn a_wrong_length_hint_is_harmless() {
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
