//! k-mers of a hundred FASTA files: tasks return maps of about 96,000 entries each, which the driver merges.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const FILES: u64 = 100;
const BASES: usize = 120_000;
const K: u32 = 9;

type Counts = HashMap<u64, u32>;

#[wren::remote]
fn counted(path: &Path) -> Result<Counts, std::io::Error> {
    counted_here(path)
}

fn counted_here(path: &Path) -> Result<Counts, std::io::Error> {
    let text = fs::read_to_string(path)?;
    let mut counts = Counts::new();
    let (mut kmer, mut len) = (0_u64, 0);
    for base in text.lines().filter(|line| !line.starts_with('>')).flat_map(str::bytes) {
        let code = match base {
            b'A' => 0,
            b'C' => 1,
            b'G' => 2,
            _ => 3,
        };
        kmer = (kmer << 2 | code) & ((1 << (2 * K)) - 1);
        len += 1;
        if len >= K {
            *counts.entry(kmer).or_default() += 1;
        }
    }
    Ok(counts)
}

fn merge(total: &mut Counts, counts: Counts) {
    for (kmer, count) in counts {
        *total.entry(kmer).or_default() += count;
    }
}

fn write(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    (0..FILES)
        .map(|file| {
            let mut random = fastrand::Rng::with_seed(file);
            let mut text = format!(">sequence {file}\n");
            for at in 1..=BASES {
                text.push(['A', 'C', 'G', 'T'][random.usize(..4)]);
                if at % 70 == 0 {
                    text.push('\n');
                }
            }
            let path = folder.join(format!("{file}.fa"));
            fs::write(&path, text)?;
            Ok(path)
        })
        .collect()
}

/// Returns the times of the plain program and of wren, the best of some alternating rounds, and their ratio.
pub(crate) async fn measure(folder: &Path) -> Result<BTreeMap<&'static str, f64>, Box<dyn std::error::Error>> {
    let files = write(folder)?;
    let (mut here, mut there) = (f64::MAX, f64::MAX);
    for _ in 0..5 {
        let start = Instant::now();
        let mut plain = Counts::new();
        for file in &files {
            merge(&mut plain, counted_here(file)?);
        }
        here = here.min(start.elapsed().as_secs_f64());

        let start = Instant::now();
        let mut total = Counts::new();
        let mut parts = wren::map(|path: &PathBuf| counted(path), &files).quiet().stream();
        while let Some((_, counts)) = parts.next().await {
            merge(&mut total, counts?);
        }
        there = there.min(start.elapsed().as_secs_f64());
        assert_eq!(total.len(), plain.len());
        assert_eq!(total.values().sum::<u32>(), plain.values().sum::<u32>());
    }
    fs::remove_dir_all(folder)?;
    Ok(BTreeMap::from([("kmers_plain_s", here), ("kmers_s", there), ("kmers_of_plain", there / here)]))
}
