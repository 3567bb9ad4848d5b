//! Counts words in text files: a map over the files, then a reduction on the driver.
//!
//!     cargo run --release -p examples --example wordcount -- README.md LICENSE-*

use std::collections::HashMap;
use std::io;

/// How often each word occurs in one file. Words are runs of letters, in lower case.
#[wren::remote]
fn count(path: &str) -> io::Result<HashMap<String, u64>> {
    let text = String::from_utf8_lossy(&std::fs::read(path)?).to_lowercase();
    let mut counts = HashMap::new();
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: wordcount FILE...");
        std::process::exit(2);
    }

    let mut total: HashMap<String, u64> = HashMap::new();
    for counts in wren::map(count, files.iter().map(String::as_str)).await? {
        for (word, n) in counts {
            *total.entry(word).or_default() += n;
        }
    }

    let mut ranked: Vec<_> = total.iter().collect();
    ranked.sort_by_key(|(word, n)| (std::cmp::Reverse(**n), word.as_str()));
    for (word, n) in ranked.iter().take(10) {
        println!("{n:>8} {word}");
    }
    println!("{} words, {} distinct, in {} files", total.values().sum::<u64>(), total.len(), files.len());
    Ok(())
}
