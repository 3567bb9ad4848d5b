//! The bytes of encoded values: few, and the same for equal values.

use super::*;

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
