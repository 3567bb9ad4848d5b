//! The test suite for key-value storage.

use std::sync::Arc;

use crate::kv::{Addition, KeyValue, KvError, KvResult, MAX_KEY, Numbers, Place};

/// Checks that a storage keeps every promise of [`KeyValue`], with several threads at once. For tests of storages;
/// takes some seconds. To test with several processes, use [`stress`].
///
/// All keys have a random prefix, so the storage need not be empty.
///
/// # Panics
/// If the storage breaks a promise; the message names the promise.
pub fn kv(kv: Arc<dyn KeyValue>) {
    let root = format!("conformance-{:016x}", crate::platform::random());
    let suite = Suite { kv, root };
    suite.values_round_trip();
    suite.missing_keys_are_none();
    suite.ranges_are_clipped();
    suite.bulk_calls_work();
    suite.comparisons_decide();
    suite.counters_count();
    suite.numbers_are_added_to();
    suite.keys_are_listed_in_byte_order();
    suite.bad_keys_are_refused();
    suite.racing_threads_lose_nothing();
    for key in suite.kv.keys(&suite.root).expect("keys succeeds") {
        suite.kv.delete(&key).expect("delete succeeds");
    }
    assert_eq!(suite.kv.keys(&suite.root), Ok(Vec::new()), "all keys are deleted");
}

/// Length of the vectors that [`stress`] adds to.
const WIDTH: usize = 300;

/// Runs one participant of a race: `rounds` increments, compare-and-sets, additions and claims on keys under `root`.
/// Any number of threads and processes may call it at once; [`check_stress`] then checks the sums.
///
/// # Panics
/// If an operation fails.
pub fn stress(kv: &dyn KeyValue, root: &str, rounds: u64) {
    let key = |name: &str| format!("{root}/{name}");
    let wide = vec![1.0f64; WIDTH];
    for numbers in ["f32", "f64"] {
        let zeros = vec![0; WIDTH * if numbers == "f32" { 4 } else { 8 }];
        kv.set_if_absent(&key(numbers), &zeros).expect("set_if_absent succeeds");
    }
    for round in 0..rounds {
        kv.increment(&key("counter"), 3).expect("increment succeeds");
        loop {
            let old = kv.get(&key("compared")).expect("get succeeds");
            let count = old.as_deref().map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")));
            let new = (count + 1).to_le_bytes();
            if kv.compare_and_set(&key("compared"), old.as_deref(), Some(&new)).expect("compare_and_set succeeds") {
                break;
            }
        }
        let (first, last) = (0, WIDTH as u32 - 1);
        let sparse = Addition { key: &key("f32"), place: Place::At(&[first, last]), delta: Numbers::F32(&[1.0, 2.0]) };
        let dense = Addition { key: &key("f64"), place: Place::From(0), delta: Numbers::F64(&wide) };
        kv.add(&[sparse, dense]).expect("add succeeds");
        if kv.set_if_absent(&key(&format!("claim/{round}")), b"mine").expect("set_if_absent succeeds") {
            kv.increment(&key("claimed"), 1).expect("increment succeeds");
        }
    }
}

/// Checks the values that `participants` calls of [`stress`] stored, and removes them.
///
/// # Panics
/// If a sum is wrong.
pub fn check_stress(kv: &dyn KeyValue, root: &str, participants: u64, rounds: u64) {
    let key = |name: &str| format!("{root}/{name}");
    let value = |name: &str| kv.get(&key(name)).expect("get succeeds").expect("there is a value");
    let total = participants * rounds;
    assert_eq!(kv.increment(&key("counter"), 0), Ok(3 * total as i64), "increments are atomic");
    assert_eq!(value("compared"), total.to_le_bytes(), "compare_and_set is atomic");
    assert_eq!(kv.increment(&key("claimed"), 0), Ok(rounds as i64), "exactly one of the racing set_if_absent wins");
    let mut want = [0.0f32; WIDTH];
    (want[0], want[WIDTH - 1]) = (total as f32, 2.0 * total as f32);
    assert_eq!(value("f32"), Numbers::F32(&want).le_bytes(), "additions at indices are atomic");
    assert_eq!(value("f64"), Numbers::F64(&[total as f64; WIDTH]).le_bytes(), "additions to a range are atomic");
    for key in kv.keys(root).expect("keys succeeds") {
        kv.delete(&key).expect("delete succeeds");
    }
}

impl Numbers<'_> {
    fn le_bytes(self) -> Vec<u8> {
        match self {
            Numbers::F32(numbers) => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Numbers::F64(numbers) => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        }
    }
}

struct Suite {
    kv: Arc<dyn KeyValue>,
    root: String,
}

impl Suite {
    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    fn set(&self, name: &str, value: &[u8]) {
        self.kv.set(&self.key(name), value).expect("set succeeds");
    }

    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.kv.get(&self.key(name)).expect("get succeeds")
    }

    fn values_round_trip(&self) {
        let long: Vec<u8> = (0..9u32 << 20).map(|i| (i ^ (i >> 11)) as u8).collect();
        for value in [&b""[..], b"x", b"\0\r\n\xff", &long[..4096], &long] {
            self.set("value", value);
            assert!(self.get("value").as_deref() == Some(value), "a value of {} bytes comes back", value.len());
        }
        let longest = self.key(&"k".repeat(MAX_KEY - self.root.len() - 1));
        assert_eq!(self.kv.set(&longest, b"1"), Ok(()), "a key of {MAX_KEY} bytes");
        assert_eq!(self.kv.get(&longest), Ok(Some(b"1".to_vec())));
    }

    fn missing_keys_are_none(&self) {
        let key = self.key("missing");
        assert_eq!(self.kv.get(&key), Ok(None), "get of a missing key");
        assert_eq!(self.kv.get_range(&key, 0..9), Ok(None), "get_range of a missing key");
        assert_eq!(self.kv.delete(&key), Ok(()), "delete of a missing key");
        self.set("missing", b"");
        assert_eq!(self.kv.get_range(&key, 0..9), Ok(Some(vec![])), "get_range of an empty value");
        assert_eq!(self.kv.delete(&key), Ok(()));
        assert_eq!(self.kv.get(&key), Ok(None), "get of a deleted key");
    }

    fn ranges_are_clipped(&self) {
        self.set("range", b"0123456789");
        let cases = [(0..3, "012"), (7..10, "789"), (8..99, "89"), (10..12, ""), (50..60, ""), (4..4, ""), (0..0, "")];
        for (range, want) in cases {
            let got = self.kv.get_range(&self.key("range"), range.clone());
            assert_eq!(got, Ok(Some(want.as_bytes().to_vec())), "get_range of {range:?} among 10 bytes");
        }
    }

    fn bulk_calls_work(&self) {
        let keys: Vec<String> = (0..3_000).map(|i| self.key(&format!("many/{i}"))).collect();
        let values: Vec<Vec<u8>> = (0..3_000usize).map(|i| vec![i as u8; i]).collect();
        let pairs: Vec<_> = keys.iter().zip(&values).map(|(key, value)| (key.as_str(), value.as_slice())).collect();
        assert_eq!(self.kv.set_many(&pairs), Ok(()));
        let missing = self.key("many/none");
        let asked: Vec<&str> = keys.iter().map(String::as_str).chain([missing.as_str()]).rev().collect();
        let got = self.kv.get_many(&asked).expect("get_many succeeds");
        let want: Vec<_> = values.into_iter().map(Some).chain([None]).rev().collect();
        assert!(got == want, "get_many returns values in the order of the keys");
        let got = self.kv.get_ranges(&[(&keys[5], 1..3), (&missing, 0..1), (&keys[9], 8..99)]);
        assert_eq!(got, Ok(vec![Some(vec![5, 5]), None, Some(vec![9])]));
        assert_eq!(self.kv.get_many(&[]), Ok(vec![]));
        assert_eq!(self.kv.get_ranges(&[]), Ok(vec![]));
        assert_eq!(self.kv.set_many(&[]), Ok(()));
        assert_eq!(self.kv.add(&[]), Ok(()));
    }

    fn comparisons_decide(&self) {
        let key = self.key("compared");
        let swap = |old: Option<&[u8]>, new: Option<&[u8]>| self.kv.compare_and_set(&key, old, new);
        assert_eq!(swap(Some(b""), Some(b"1")), Ok(false), "a missing value is not an empty value");
        assert_eq!(swap(None, Some(b"")), Ok(true));
        assert_eq!(swap(None, Some(b"1")), Ok(false), "an empty value is not a missing value");
        assert_eq!(swap(Some(b""), Some(b"1")), Ok(true));
        assert_eq!(swap(Some(b"2"), Some(b"3")), Ok(false));
        assert_eq!(self.get("compared"), Some(b"1".to_vec()));
        assert_eq!(swap(Some(b"1"), None), Ok(true));
        assert_eq!(self.get("compared"), None);
        assert_eq!(swap(None, None), Ok(true));
        assert_eq!(self.kv.set_if_absent(&key, b"first"), Ok(true));
        assert_eq!(self.kv.set_if_absent(&key, b"second"), Ok(false));
        assert_eq!(self.get("compared"), Some(b"first".to_vec()));
    }

    fn counters_count(&self) {
        let key = self.key("counter");
        assert_eq!(self.kv.increment(&key, 0), Ok(0), "a counter starts at 0");
        assert_eq!(self.kv.increment(&key, 7), Ok(7));
        assert_eq!(self.kv.increment(&key, -50), Ok(-43));
        assert_eq!(self.get("counter"), Some(b"-43".to_vec()), "a counter is stored as its decimal digits");
        let no_counter = |outcome: KvResult<i64>| matches!(outcome, Err(KvError::NoCounter { .. }));
        self.set("counter", i64::MAX.to_string().as_bytes());
        assert!(no_counter(self.kv.increment(&key, 1)), "a counter that would overflow");
        self.set("counter", i64::MIN.to_string().as_bytes());
        assert!(no_counter(self.kv.increment(&key, -1)), "a counter that would overflow");
        assert_eq!(self.kv.increment(&key, i64::MAX), Ok(-1));
        for bad in [&b""[..], b"x", b" 1", b"+1", b"01", b"1.5", b"9223372036854775808", b"\xff"] {
            self.set("counter", bad);
            assert!(no_counter(self.kv.increment(&key, 1)), "increment of {bad:?}");
            assert_eq!(self.get("counter").as_deref(), Some(bad), "a value that is not a counter stays unchanged");
        }
    }

    fn numbers_are_added_to(&self) {
        let key = &self.key("numbers");
        let add = |place, delta| self.kv.add(&[Addition { key, place, delta }]);
        let out_of_range = |outcome: KvResult<()>| matches!(outcome, Err(KvError::OutOfRange { .. }));
        assert!(out_of_range(add(Place::From(0), Numbers::F32(&[1.0]))), "addition to a missing value");
        let mut want: Vec<f32> = (0..5_000).map(|i| i as f32 / 7.0).collect();
        self.set("numbers", &Numbers::F32(&want).le_bytes());
        let delta: Vec<f32> = (0..4_000).map(|i| 1.0 / (i as f32 + 1.0) - 0.1).collect();
        assert_eq!(add(Place::From(1_000), Numbers::F32(&delta)), Ok(()));
        want[1_000..].iter_mut().zip(&delta).for_each(|(number, delta)| *number += delta);
        let indices: Vec<u32> = (0..900).map(|i| (i * 37) % 4_999).chain([3, 3, 4_999]).collect();
        assert_eq!(add(Place::At(&indices), Numbers::F32(&delta[..903])), Ok(()));
        indices.iter().zip(&delta).for_each(|(&index, delta)| want[index as usize] += delta);
        assert!(self.get("numbers") == Some(Numbers::F32(&want).le_bytes()), "sums equal those of f32, to the bit");
        assert_eq!(add(Place::From(5_000), Numbers::F32(&[])), Ok(()), "adding no numbers at the end");
        assert_eq!(add(Place::At(&[]), Numbers::F32(&[])), Ok(()));
        assert!(out_of_range(add(Place::From(4_999), Numbers::F32(&[1.0, 1.0]))), "a range that ends beyond the value");
        assert!(out_of_range(add(Place::From(u64::MAX / 2), Numbers::F32(&[1.0]))), "a range far beyond the value");
        assert!(out_of_range(add(Place::At(&[0, 5_000]), Numbers::F32(&[1.0, 1.0]))), "an index beyond the value");
        assert!(out_of_range(add(Place::At(&[0]), Numbers::F32(&[1.0, 1.0]))), "fewer indices than deltas");
        assert!(self.get("numbers") == Some(Numbers::F32(&want).le_bytes()), "a refused addition changes nothing");

        let special = [f64::MAX, 1e-320, -0.0, f64::INFINITY, 0.1];
        self.set("numbers", &Numbers::F64(&special).le_bytes());
        let delta = [f64::MAX, 1e-320, -0.0, 1.0, 0.2];
        assert_eq!(add(Place::From(0), Numbers::F64(&delta)), Ok(()));
        let want: Vec<f64> = special.iter().zip(delta).map(|(a, b)| a + b).collect();
        assert_eq!(self.get("numbers"), Some(Numbers::F64(&want).le_bytes()), "sums equal those of f64, to the bit");
        let special = [f32::MAX, 1e-44, f32::NEG_INFINITY, 16_777_216.0];
        self.set("numbers", &Numbers::F32(&special).le_bytes());
        assert_eq!(add(Place::From(0), Numbers::F32(&[f32::MAX, 1e-44, 1.0, 1.0])), Ok(()));
        let want = [f32::INFINITY, 1e-44 + 1e-44, f32::NEG_INFINITY, 16_777_216.0];
        assert_eq!(self.get("numbers"), Some(Numbers::F32(&want).le_bytes()), "sums of f32 are rounded as f32");
    }

    fn keys_are_listed_in_byte_order(&self) {
        let names = ["a", "a*b", "a/1", "a/10", "a/2", "a?", "a[b]", "a\\", "ab", "B", "ü"];
        names.iter().for_each(|name| self.set(&format!("list/{name}"), b""));
        let listed = |prefix: &str| self.kv.keys(&self.key(prefix)).expect("keys succeeds");
        let want = |prefix: &str| {
            let mut want: Vec<String> = names.iter().map(|name| format!("list/{name}")).collect();
            want.retain(|name| name.starts_with(prefix));
            want.sort_unstable();
            want.iter().map(|name| self.key(name)).collect::<Vec<_>>()
        };
        for prefix in ["list/", "list/a", "list/a/", "list/a*", "list/a?", "list/a[", "list/a\\", "list/ü", "list/x"] {
            assert_eq!(listed(prefix), want(prefix), "keys that start with {prefix}");
        }
    }

    fn bad_keys_are_refused(&self) {
        for key in ["", "a\0b", &"k".repeat(MAX_KEY + 1)] {
            let bad = |refused: Option<KvError>| matches!(refused, Some(KvError::BadKey { .. }));
            assert!(bad(self.kv.get(key).err()), "get of key {key:?}");
            assert!(bad(self.kv.get_many(&["good", key]).err()), "get_many of key {key:?}");
            assert!(bad(self.kv.set(key, b"").err()), "set of key {key:?}");
            assert!(bad(self.kv.set_if_absent(key, b"").err()), "set_if_absent of key {key:?}");
            assert!(bad(self.kv.compare_and_set(key, None, None).err()), "compare_and_set of key {key:?}");
            assert!(bad(self.kv.increment(key, 1).err()), "increment of key {key:?}");
            assert!(bad(self.kv.delete(key).err()), "delete of key {key:?}");
            let addition = Addition { key, place: Place::From(0), delta: Numbers::F32(&[]) };
            assert!(bad(self.kv.add(&[addition]).err()), "add to key {key:?}");
        }
    }

    fn racing_threads_lose_nothing(&self) {
        let root = self.key("race");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| stress(&*self.kv, &root, 100));
            }
        });
        check_stress(&*self.kv, &root, 8, 100);
    }
}
