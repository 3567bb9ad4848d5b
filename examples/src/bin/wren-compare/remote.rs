//! The cases with wren: worker processes of the local backend.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use wren::mapreduce::{BoxError, Emitter, MapReduce, Output, Values};
use wren::{Input, Split};

use crate::{ARRAY, CALLS, PI, RUNS, Result, SHARED, hits, payloads, usage};

#[wren::remote]
fn increment(n: u64) -> u64 {
    n + 1
}

#[wren::remote]
fn throw(seed: u64) -> u64 {
    hits(seed, PI.1)
}

#[wren::remote]
fn echo(data: &[u8]) -> Vec<u8> {
    data.to_vec()
}

/// Ends its process in the fourth task, the first time that this task runs.
#[wren::remote]
fn die_once(n: u64, mark: String) -> u64 {
    if n == 3 && std::fs::File::create_new(mark).is_ok() {
        std::process::abort();
    }
    n
}

#[derive(Serialize, Deserialize)]
struct Words;

#[wren::mapreduce]
impl MapReduce for Words {
    type Input = Split;
    type Key = str;
    type Value = u64;
    type Output = u64;

    fn map(&self, split: Split, emit: &mut Emitter<'_, Self>) -> std::result::Result<(), BoxError> {
        let mut blocks = split.blocks()?;
        while let Some(block) = blocks.next_block()? {
            std::str::from_utf8(block)?.split_ascii_whitespace().for_each(|word| emit.emit(word, 1));
        }
        Ok(())
    }

    fn combine(&self, count: &mut u64, next: u64) {
        *count += next;
    }

    fn reduce(
        &self,
        _word: &str,
        counts: &mut Values<'_, u64>,
        out: &mut Output<u64>,
    ) -> std::result::Result<(), BoxError> {
        out.push(counts.sum())
    }
}

#[wren::remote]
fn floats(mib: usize) -> Vec<f64> {
    vec![0.5; (mib << 20) / 8]
}

#[wren::remote]
fn back(floats: Vec<f64>) -> Vec<f64> {
    floats
}

#[wren::remote]
fn two_of(floats: &[f64], at: usize) -> f64 {
    floats[at] + floats[floats.len() - 1 - at]
}

pub(crate) fn run(case: &str, arguments: &[&str]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_case(case, arguments))
}

async fn run_case(case: &str, arguments: &[&str]) -> Result<()> {
    match (case, arguments) {
        ("first", []) => println!("{{\"answer\": {}}}", increment(1).await?),
        ("call", []) => {
            increment(0).await?;
            let mut times = Vec::new();
            for n in 0..CALLS as u64 {
                let start = Instant::now();
                increment(n).await?;
                times.push(start.elapsed().as_secs_f64());
            }
            times.sort_unstable_by(f64::total_cmp);
            println!("{{\"seconds\": {}, \"answer\": {}}}", times[CALLS / 2], increment(1).await?);
        }
        ("noop", [n]) => {
            let n: u64 = n.parse()?;
            wren::map(increment, 0..100).await?;
            let start = Instant::now();
            let all = wren::map(increment, 0..n).await?;
            println!("{{\"seconds\": {}, \"answer\": {}}}", start.elapsed().as_secs_f64(), all.iter().sum::<u64>());
        }
        ("pi", []) => {
            wren::map(increment, 0..100).await?;
            let start = Instant::now();
            let all = wren::map(throw, 0..PI.0).await?;
            let seconds = start.elapsed().as_secs_f64();
            let start = Instant::now();
            let serial: u64 = (0..PI.0).map(|seed| hits(seed, PI.1)).sum();
            println!(
                "{{\"seconds\": {seconds}, \"serial\": {}, \"answer\": {}}}",
                start.elapsed().as_secs_f64(),
                u64::from(all.iter().sum::<u64>() == serial)
            );
        }
        ("payload", []) => {
            let all = payloads();
            wren::map(increment, 0..100).await?;
            let start = Instant::now();
            let back = wren::map(|data: &Vec<u8>| echo(data), &all).await?;
            let seconds = start.elapsed().as_secs_f64();
            println!("{{\"seconds\": {seconds}, \"answer\": {}}}", u64::from(back == all));
        }
        ("array" | "array-back" | "array-shared", []) => {
            wren::map(increment, 0..100).await?;
            let (seconds, right) = arrays(case).await?;
            println!("{{\"seconds\": {seconds}, \"answer\": {}}}", u64::from(right));
        }
        ("killed", [mark]) => {
            let all = wren::map(|n| die_once(n, (*mark).to_owned()), 0..8).await?;
            println!("{{\"answer\": {}}}", all.iter().sum::<u64>());
        }
        ("words", [folder]) => {
            let splits = Input::paths([*folder])?.splits().await?;
            let counts = wren::map_reduce(Words, splits).await?;
            let most = counts.iter().max().copied().unwrap_or_default();
            println!("{{\"answer\": [{}, {}, {most}]}}", counts.iter().sum::<u64>(), counts.len());
        }
        ("sort", [folder, sorted]) => {
            let input = Input::paths([*folder])?;
            let written =
                wren::sort(input.fixed(100)).key(0..10).write(Path::new(sorted).display().to_string()).await?;
            println!("{{\"answer\": {}}}", written.records);
        }
        _ => usage(),
    }
    Ok(())
}

/// Returns the best time of the runs in seconds, and whether all results were right.
async fn arrays(case: &str) -> Result<(f64, bool)> {
    let (mut best, mut right) = (f64::MAX, true);
    let len = (ARRAY << 20) / 8;
    // The arrays to send are made before the measurement, and differ in each run.
    let runs = if case == "array-back" { 0..RUNS } else { 0..0 };
    let mut sent: Vec<Vec<f64>> = runs.map(|run| vec![run as f64; len]).collect();
    let shared: Vec<f64> = (0..SHARED.0).map(|n| n as f64).collect();
    for run in (0..RUNS).rev() {
        let start = Instant::now();
        let (numbers, want) = match case {
            "array" => (floats(ARRAY).await?, (len, 0.5)),
            "array-back" => (back(sent.pop().unwrap_or_default()).await?, (len, run as f64)),
            _ => {
                let sums = wren::map(|at| two_of(&shared, at), 0..SHARED.1).await?;
                (sums, (SHARED.1, (SHARED.0 - 1) as f64))
            }
        };
        best = best.min(start.elapsed().as_secs_f64());
        right &= numbers.len() == want.0 && numbers.iter().all(|number| *number == want.1);
    }
    Ok((best, right))
}
