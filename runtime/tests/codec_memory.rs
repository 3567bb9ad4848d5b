//! Decoding untrusted bytes takes no more memory than a small multiple of their length.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wren::codec::{decode, encode};

/// An allocator that counts the bytes in use, and their maximum.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(used, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Pair { name: String, values: Vec<f64> },
    Text(String),
    Many(Vec<Either>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Nested {
    rows: Vec<(u32, [f32; 3])>,
    names: HashMap<String, Vec<u8>>,
    within: Option<Box<Nested>>,
}

/// A deterministic generator of pseudorandom numbers: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn most_while_reading<T: DeserializeOwned>(bytes: &[u8]) -> usize {
    let before = USED.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    drop(decode::<T>(bytes));
    MOST.load(Ordering::Relaxed) - before
}

#[test]
fn reading_takes_a_small_multiple_of_the_bytes() {
    let nested = |within| Nested {
        rows: (0..40).map(|i| (i, [0.5; 3])).collect(),
        names: (0..20).map(|i| (format!("name {i}"), vec![i; 9])).collect(),
        within,
    };
    let pairs = || Either::Pair { name: "pair".to_owned(), values: vec![0.1; 30] };
    let messages = [
        encode(&nested(Some(Box::new(nested(None))))).unwrap(),
        encode(&Either::Many(vec![pairs(), Either::Text("text".to_owned()), pairs()])).unwrap(),
        encode(&vec![vec![1_u64, 300]; 40]).unwrap(),
        encode(&vec![[[7_u8; 4]; 5]; 300]).unwrap(),
    ];
    // A value in serde's buffer or of `serde_json` takes 32 bytes for one byte of the message.
    let bound = |len: usize| 64 * len + 4096;
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for message in &messages {
        for _ in 0..1_500 {
            let mut bytes = message.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                // Often the highest value of a mark or a length.
                bytes[at] = if random.below(2) == 0 { 0xff } else { random.next() as u8 };
            }
            bytes.truncate(bytes.len() - random.below(3));
            for most in [
                most_while_reading::<Nested>(&bytes),
                most_while_reading::<Either>(&bytes),
                most_while_reading::<Vec<Vec<u64>>>(&bytes),
                most_while_reading::<Vec<[[u8; 4]; 5]>>(&bytes),
                most_while_reading::<HashMap<u64, String>>(&bytes),
                most_while_reading::<serde_json::Value>(&bytes),
            ] {
                assert!(most <= bound(bytes.len()), "{most} bytes of memory for {}: {bytes:02x?}", bytes.len());
            }
        }
    }
}
