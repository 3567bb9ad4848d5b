//! Measures whether compressing the blocks of a shuffle pays: how long LZ4 and Zstandard take for the kinds of blocks
//! that jobs write, and below which network rate of a worker the transfer of the saved bytes would take longer.
//!
//!     cargo bench -p wren-cloud --features zstd --bench compression
//!
//! A block is packed once and unpacked once, each by a worker whose processor does nothing else in the meantime. With
//! `saved` bytes less to write and to read again, compression pays if `pack + unpack < 2 * saved / rate`, that is,
//! below `rate = 2 * saved / (pack + unpack)`.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Size of a block before it is packed, in bytes.
const BLOCK: usize = 256 << 10;
const ROUNDS: usize = 31;

/// Network rate between a Lambda worker and S3, as it is commonly measured: 0.6 Gbit/s.
const LAMBDA_MB_S: f64 = 75.0;

fn main() {
    println!("a block of {BLOCK} bytes; a Lambda worker moves {LAMBDA_MB_S} MB/s");
    println!(
        "{:<16}{:<8}{:>7}{:>12}{:>12}{:>18}{:>8}",
        "records", "by", "size", "pack MB/s", "unpack MB/s", "pays below MB/s", "there"
    );
    for (what, block) in [("counted words", words()), ("lines of text", lines()), ("sort records", records())] {
        let lz4 = lz4_flex::block::compress(&block);
        let unpack =
            || lz4_flex::block::decompress(black_box(&lz4), block.len()).expect("a packed block can be unpacked");
        assert!(unpack() == block);
        row(what, "lz4", &block, lz4.len(), || lz4_flex::block::compress(black_box(&block)), unpack);
        let zstd = zstd::bulk::compress(&block, 1).expect("a block can be packed");
        let unpack = || zstd::bulk::decompress(black_box(&zstd), block.len()).expect("a packed block can be unpacked");
        assert!(unpack() == block);
        let pack = || zstd::bulk::compress(black_box(&block), 1).expect("a block can be packed");
        row(what, "zstd 1", &block, zstd.len(), pack, unpack);
    }
}

fn row(what: &str, by: &str, block: &[u8], packed: usize, pack: impl Fn() -> Vec<u8>, unpack: impl Fn() -> Vec<u8>) {
    let (pack, unpack) = (median(pack), median(unpack));
    let rate = |time: Duration| block.len() as f64 / time.as_secs_f64() / 1e6;
    let saved = block.len().saturating_sub(packed) as f64;
    let below = 2.0 * saved / (pack + unpack).as_secs_f64() / 1e6;
    let size = packed as f64 / block.len() as f64;
    let there = if below > LAMBDA_MB_S { "pays" } else { "no" };
    println!("{what:<16}{by:<8}{size:>7.2}{:>12.0}{:>12.0}{below:>18.0}{there:>8}", rate(pack), rate(unpack));
}

fn median<T>(f: impl Fn() -> T) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            black_box(f());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

/// Returns the word of a rank. As in natural languages, frequent words are short.
fn word(rank: usize) -> String {
    let mut rest = rank + 1;
    let mut word = String::new();
    while rest > 0 {
        word.push(char::from(b'a' + (rest % 26) as u8));
        word.push(['a', 'e', 'i', 'o', 'u'][rest % 5]);
        rest /= 26;
    }
    word
}

/// Appends a record to a block: both lengths, which are below 128, then key and value.
fn record(block: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    block.extend([key.len() as u8, value.len() as u8]);
    block.extend(key);
    block.extend(value);
}

/// Returns a block of a word count's map task: each word once, in order, with its count.
fn words() -> Vec<u8> {
    let mut words: Vec<_> = (0..40_000).map(|rank| (word(rank), 2_000_000 / (rank + 1) + 1)).collect();
    words.sort_unstable();
    let mut block = Vec::new();
    for (word, count) in words {
        if block.len() >= BLOCK {
            break;
        }
        record(&mut block, word.as_bytes(), &count.to_le_bytes()[..3]);
    }
    block
}

/// Returns a block of lines of a text, with their first words as keys. Ranks have Zipf's distribution, by inversion.
fn lines() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut block = Vec::new();
    while block.len() < BLOCK {
        let mut line = String::new();
        while line.len() < 90 {
            line.push_str(&word((500_000f64.powf(random.f64()) - 1.0) as usize));
            line.push(' ');
        }
        let key = line.split(' ').next().unwrap_or_default().to_owned();
        record(&mut block, key.as_bytes(), line.as_bytes());
    }
    block
}

/// Returns a block of records of the sort benchmark: ten random bytes, the record's number in hexadecimal, padding.
fn records() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(2);
    let mut block = Vec::new();
    while block.len() < BLOCK {
        let key: [u8; 10] = std::array::from_fn(|_| random.u8(..));
        let mut rest = format!("  {:032x}  ", block.len() / 102).into_bytes();
        while rest.len() < 90 {
            let letter = random.u8(b'A'..=b'Z');
            rest.extend([letter; 4]);
        }
        rest.truncate(90);
        record(&mut block, &key, &rest);
    }
    block
}
