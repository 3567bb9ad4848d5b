//! `make compare`: wren's side and rayon's side of the cases that `compare/run.py` measures beside others.
//!
//!     wren-compare <wren|rayon> <first|call|noop|pi|payload|array|array-back|array-shared|killed|words|sort> [ARGUMENT...]
//!     wren-compare generate <words|records> FOLDER MIB
//!
//! It is built by `cargo build --release -p examples --features data,rayon --bin wren-compare`.
//!
//! A case prints one line of JSON with what was measured and its answer.

mod files;
mod generate;
mod here;
mod remote;

use std::error::Error;
use std::path::Path;
use std::process::{ExitCode, exit};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The tasks of the case `pi`, and how many points each throws.
const PI: (u64, u64) = (64, 30_000_000);

/// The arguments of the case `payload`, and how long each is, in bytes.
const PAYLOAD: (usize, usize) = (64, 8 << 20);

/// The array of the cases `array` and `array-back`, in MiB.
const ARRAY: usize = 64;

/// The array of the case `array-shared`, in floats, and how many calls take it.
const SHARED: (usize, usize) = (4_000_000, 32);

/// Of how many runs of these the best counts.
const RUNS: usize = 5;

/// How many calls one after another are measured.
const CALLS: usize = 1_000;

#[wren::main]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &words[..] {
        ["generate", what, folder, mib] => mib.parse().map_err(Into::into).and_then(|mib| {
            let folder = Path::new(folder);
            match *what {
                "words" => generate::words(folder, mib),
                "records" => generate::records(folder, mib),
                _ => usage(),
            }
        }),
        ["wren", case, rest @ ..] => remote::run(case, rest),
        ["rayon", case, rest @ ..] => here::run(case, rest),
        _ => usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ! {
    eprintln!(
        "usage: wren-compare <wren|rayon> CASE [ARGUMENT...], or wren-compare generate <words|records> FOLDER MIB"
    );
    exit(2);
}

/// The function of the case `pi`: how many random points of a square are in its circle.
fn hits(seed: u64, points: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..points).filter(|_| random.f64().powi(2) + random.f64().powi(2) <= 1.0).count() as u64
}

/// The arguments of the case `payload`: each another one.
fn payloads() -> Vec<Vec<u8>> {
    let (count, len) = PAYLOAD;
    (0..count).map(|i| (0..len).map(|at| (at + i) as u8).collect()).collect()
}
