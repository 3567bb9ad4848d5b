//! Typical word count and sort with rayon, for data that fits into memory.

use std::collections::HashMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::Result;

fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// Returns the number of words, the number of distinct words, and the count of the most frequent word.
pub(crate) fn count_words(folder: &str) -> Result<[u64; 3]> {
    type Counts = HashMap<String, u64>;
    let count = |path: &PathBuf| -> std::io::Result<Counts> {
        let mut counts = Counts::new();
        for word in fs::read_to_string(path)?.split_ascii_whitespace() {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => _ = counts.insert(word.to_owned(), 1),
            }
        }
        Ok(counts)
    };
    let merge = |mut a: Counts, mut b: Counts| {
        if a.len() < b.len() {
            std::mem::swap(&mut a, &mut b);
        }
        b.into_iter().for_each(|(word, count)| *a.entry(word).or_default() += count);
        Ok(a)
    };
    let counts = files(folder)?.par_iter().map(count).try_reduce(Counts::new, merge)?;
    let most = counts.values().max().copied().unwrap_or_default();
    Ok([counts.values().sum(), counts.len() as u64, most])
}

/// Sorts records of 100 bytes by their first ten bytes, writes them to one file, and returns their number.
pub(crate) fn sort_records(folder: &str, sorted: &str) -> Result<usize> {
    let mut all = Vec::new();
    for path in files(folder)? {
        all.append(&mut fs::read(path)?);
    }
    let mut records: Vec<&[u8; 100]> = all.as_chunks().0.iter().collect();
    records.par_sort_unstable_by_key(|record| &record[..10]);
    fs::create_dir_all(sorted)?;
    let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(Path::new(sorted).join("part-0"))?);
    for record in &records {
        out.write_all(*record)?;
    }
    out.flush()?;
    Ok(records.len())
}
