//! Measures how fast values are encoded and decoded, compared with cloning them.
//!
//!     cargo bench -p wren-cloud --bench codec

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wren::codec::{decode, encode};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sample {
    x: f32,
    y: f32,
    id: u32,
    kind: u16,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    name: String,
    city: String,
    values: Vec<f32>,
}

/// Returns the shortest of seven rounds, in seconds.
fn best<T>(mut work: impl FnMut() -> T) -> f64 {
    let round = |_| {
        let start = Instant::now();
        let result = black_box(work());
        let took = start.elapsed().as_secs_f64();
        drop(result);
        took
    };
    (0..7).map(round).fold(f64::MAX, f64::min)
}

/// Prints a row. Rates are in MB of memory per second.
fn row<T: Serialize + DeserializeOwned + Clone + PartialEq>(name: &str, memory: usize, value: T) {
    let bytes = encode(&value).unwrap();
    assert!(decode::<T>(&bytes).unwrap() == value);
    let rate = |seconds: f64| memory as f64 / 1e6 / seconds;
    println!(
        "{name:16} {:>9.0} {:>9.0} {:>9.0} {:>9.1}",
        rate(best(|| encode(black_box(&value)).unwrap())),
        rate(best(|| decode::<T>(black_box(&bytes)).unwrap())),
        rate(best(|| black_box(&value).clone())),
        bytes.len() as f64 / 1e6,
    );
}

fn main() {
    println!("{:16} {:>9} {:>9} {:>9} {:>9}", "MB/s", "encode", "decode", "clone", "MB");
    let n = 2_000_000_u32;
    row("Vec<f64>", 16_000_000, (0..n).map(f64::from).collect::<Vec<_>>());
    row("Vec<bool>", 4_000_000, (0..2 * n).map(|i| i % 3 == 0).collect::<Vec<_>>());
    row("Vec<[u8; 4]>", 8_000_000, (0..n).map(u32::to_le_bytes).collect::<Vec<_>>());
    row("Vec<(u32, f32)>", 16_000_000, (0..n).map(|i| (i.wrapping_mul(7919), i as f32)).collect::<Vec<_>>());
    let sample = |i: u32| Sample { x: i as f32, y: 0.5, id: i.wrapping_mul(7919), kind: i as u16 };
    row("Vec<Sample>", 16_000_000, (0..n / 2).map(sample).collect::<Vec<_>>());
    let record = |i: u32| Record {
        name: format!("sensor number {i}"),
        city: format!("city {}", i % 1000),
        values: vec![i as f32; 8],
    };
    row("Vec<Record>", 26_000_000, (0..n / 10).map(record).collect::<Vec<_>>());
}
