//! Counts words in text files: a MapReduce.
//!
//!     cargo run --release -p examples --features data \
//!         --example wordcount -- README.md LICENSE-*
//!
//! With `--write FOLDER`, the counts go to files, with one line `word TAB
//! count` for each word.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use wren::mapreduce::{
    BoxError, Emitter, Format, MapReduce, Output, Values,
};
use wren::{Input, Split};

/// Counts how often each word occurs. Words are separated by white space.
#[derive(Serialize, Deserialize)]
struct WordCount;

#[wren::mapreduce]
impl MapReduce for WordCount {
    type Input = Split;
    type Key = str;
    type Value = u64;
    type Output = (String, u64);

    fn map(
        &self,
        split: Split,
        emit: &mut Emitter<'_, Self>,
    ) -> Result<(), BoxError> {
        let mut blocks = split.blocks()?;
        while let Some(block) = blocks.next_block()? {
            for word in std::str::from_utf8(block)?.split_ascii_whitespace()
            {
                emit.emit(word, 1);
            }
        }
        Ok(())
    }

    fn combine(&self, count: &mut u64, next: u64) {
        *count += next;
    }

    fn reduce(
        &self,
        word: &str,
        counts: &mut Values<'_, u64>,
        out: &mut Output<(String, u64)>,
    ) -> Result<(), BoxError> {
        out.push((word.to_owned(), counts.sum()))
    }
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    let write = files
        .iter()
        .position(|arg| arg == "--write")
        .filter(|at| at + 1 < files.len());
    let folder =
        write.map(|at| files.drain(at..at + 2).nth(1).unwrap_or_default());
    if files.is_empty() {
        eprintln!("usage: wordcount [--write FOLDER] FILE...");
        std::process::exit(2);
    }

    let splits =
        Input::paths(&files)?.split_size(128 << 20).splits().await?;
    let count = wren::map_reduce(WordCount, splits);
    if let Some(folder) = folder {
        let written = count.write(folder, Format::Tsv).await?;
        println!(
            "{} distinct words in {} files",
            written.records,
            written.files.len()
        );
        return Ok(());
    }
    let mut counts = count.await?;
    counts.sort_by(|(a, n), (b, m)| (Reverse(n), a).cmp(&(Reverse(m), b)));
    for (word, n) in counts.iter().take(10) {
        println!("{n:>8} {word}");
    }
    let words: u64 = counts.iter().map(|(_, n)| n).sum();
    println!(
        "{words} words, {} distinct, in {} files",
        counts.len(),
        files.len()
    );
    Ok(())
}
