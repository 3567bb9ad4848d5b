//! `make compare`: the cases of `compare/run.py` with wren and with rayon.
//!
//!     wren-compare <wren|rayon> <first|call|noop|pi|payload|array|array-back|array-shared|killed|words|sort> [ARGUMENT...]
//!     wren-compare generate <words|records> FOLDER MIB
//!
//! Build it with `cargo build --release -p examples --features data,rayon --bin wren-compare`.
//!
//! A case prints one line of JSON with the measured time and its answer.

mod files;
mod generate;
mod here;
mod remote;

use std::error::Error;
use std::path::Path;
use std::process::{ExitCode, exit};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The number of tasks of the case `pi`, and the number of random points of each task.
const PI: (u64, u64) = (64, 30_000_000);

/// The number of arguments of the case `payload`, and the length of each in bytes.
const PAYLOAD: (usize, usize) = (64, 8 << 20);

/// The size of the array of the cases `array` and `array-back`, in MiB.
const ARRAY: usize = 64;

/// The number of floats in the array of the case `array-shared`, and the number of calls that take it.
const SHARED: (usize, usize) = (4_000_000, 32);

/// The number of runs of the array cases, of which the best counts.
const RUNS: usize = 5;

/// The number of consecutive calls that are measured.
const CALLS: usize = 1_000;

#[wren::main]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &arguments[..] {
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

/// The function of the case `pi`: counts the random points of a square that are in its circle.
fn hits(seed: u64, points: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..points).filter(|_| random.f64().powi(2) + random.f64().powi(2) <= 1.0).count() as u64
}

/// The arguments of the case `payload`, which all differ.
fn payloads() -> Vec<Vec<u8>> {
    let (count, len) = PAYLOAD;
    (0..count).map(|i| (0..len).map(|at| (at + i) as u8).collect()).collect()
}
