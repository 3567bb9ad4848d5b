//! Generation of input files, from a fixed seed.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::Result;

/// Number of files of an input.
const FILES: u64 = 16;

/// Number of distinct words.
const VOCABULARY: usize = 500_000;

/// Writes lines of 10 to 120 lower-case words. The n-th word's frequency is proportional to n^-1.05, as in English.
pub(crate) fn words(folder: &Path, mib: u64) -> Result<()> {
    let mut total = 0.0;
    let weights = (1..=VOCABULARY).map(|rank| {
        total += (rank as f64).powf(-1.05);
        total
    });
    let weights: Vec<f64> = weights.collect();
    write(folder, mib, |random, line| {
        for _ in 0..random.usize(10..=120) {
            let point = random.f64() * total;
            let rank = weights.partition_point(|weight| *weight < point).min(VOCABULARY - 1);
            spell(rank, line);
            line.push(b' ');
        }
        line.pop();
        line.push(b'\n');
    })
}

/// Appends the word of a rank: more frequent words are shorter.
fn spell(mut rank: usize, line: &mut Vec<u8>) {
    loop {
        line.push(b'a' + (rank % 26) as u8);
        rank /= 26;
        if rank == 0 {
            return;
        }
        rank -= 1;
    }
}

/// Writes records of 100 bytes of text: ten random printable bytes, a number, padding, and the end of the line.
pub(crate) fn records(folder: &Path, mib: u64) -> Result<()> {
    let mut number = 0_u64;
    write(folder, mib, |random, record| {
        record.extend((0..10).map(|_| random.u8(b' '..=b'~')));
        record.extend_from_slice(format!("  {number:032X}  ").as_bytes());
        record.resize(98, b'A' + (number % 26) as u8);
        record.extend_from_slice(b"\r\n");
        number += 1;
    })
}

fn write(folder: &Path, mib: u64, mut next: impl FnMut(&mut fastrand::Rng, &mut Vec<u8>)) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut random = fastrand::Rng::with_seed(7);
    let mut line = Vec::new();
    for file in 0..FILES {
        let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(folder.join(format!("part-{file:02}")))?);
        let mut written = 0;
        while written < (mib << 20) / FILES {
            line.clear();
            next(&mut random, &mut line);
            out.write_all(&line)?;
            written += line.len() as u64;
        }
        out.flush()?;
    }
    Ok(())
}
