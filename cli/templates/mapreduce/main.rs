use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use wren::mapreduce::{BoxError, Emitter, MapReduce, Output, Values};
use wren::{Input, Split};

/// Counts how often each word occurs. Data that all tasks share, such as settings, would be fields of this struct.
#[derive(Serialize, Deserialize)]
struct WordCount;

#[wren::mapreduce]
impl MapReduce for WordCount {
    type Input = Split;
    type Key = str;
    type Value = u64;
    type Output = (String, u64);

    /// Runs once for each part of a file and emits key-value pairs.
    fn map(&self, split: Split, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        let mut blocks = split.blocks()?;
        while let Some(block) = blocks.next_block()? {
            for word in std::str::from_utf8(block)?.split_ascii_whitespace() {
                emit.emit(word, 1);
            }
        }
        Ok(())
    }

    /// Merges two values of the same key, so that less data is transferred. This method is optional.
    fn combine(&self, count: &mut u64, next: u64) {
        *count += next;
    }

    /// Runs once for each key, with all values of that key.
    fn reduce(
        &self,
        word: &str,
        counts: &mut Values<'_, u64>,
        out: &mut Output<(String, u64)>,
    ) -> Result<(), BoxError> {
        out.push((word.to_owned(), counts.sum()))
    }
}

/// Returns the words in `files` with their counts, the most frequent word first.
async fn count(files: &[String]) -> wren::Result<Vec<(String, u64)>> {
    let splits = Input::paths(files)?.splits().await?;
    let mut counts = wren::map_reduce(WordCount, splits).await?;
    counts.sort_by(|(a, n), (b, m)| (Reverse(n), a).cmp(&(Reverse(m), b)));
    Ok(counts)
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        files.push("src/main.rs".to_owned());
    }
    let counts = count(&files).await?;
    for (word, n) in counts.iter().take(5) {
        println!("{n:>8} {word}");
    }
    println!("{} distinct words in {}", counts.len(), files.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under `cargo test`, the tasks run on threads of the test process.
    #[test]
    fn words_are_counted() -> Result<(), Box<dyn std::error::Error>> {
        let file = std::env::temp_dir().join(format!("words-{}.txt", std::process::id()));
        std::fs::write(&file, "to be or\nnot to be\n")?;
        let counts = wren::block_on(count(&[file.display().to_string()]))?;
        std::fs::remove_file(file)?;
        let of = |word: &str, n| (word.to_owned(), n);
        assert_eq!(
            counts,
            [of("be", 2), of("to", 2), of("not", 1), of("or", 1)]
        );
        Ok(())
    }
}
