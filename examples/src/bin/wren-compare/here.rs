//! The cases with rayon: threads of this process. Arguments and results never leave its memory.

use std::time::Instant;

use rayon::prelude::*;

use crate::{CALLS, PI, Result, files, hits, payloads, usage};

/// Increments a number. `black_box` keeps the compiler from optimizing the call away.
fn increment(n: u64) -> u64 {
    std::hint::black_box(n) + 1
}

pub(crate) fn run(case: &str, arguments: &[&str]) -> Result<()> {
    match (case, arguments) {
        ("first", []) => println!("{{\"answer\": {}}}", elsewhere(1)),
        ("call", []) => {
            elsewhere(0);
            let time = |n| {
                let start = Instant::now();
                elsewhere(n);
                start.elapsed().as_secs_f64()
            };
            let mut times: Vec<f64> = (0..CALLS as u64).map(time).collect();
            times.sort_unstable_by(f64::total_cmp);
            println!("{{\"seconds\": {}, \"answer\": {}}}", times[CALLS / 2], elsewhere(1));
        }
        ("noop", [n]) => {
            let n: u64 = n.parse()?;
            elsewhere(0);
            let start = Instant::now();
            let all: Vec<u64> = (0..n).into_par_iter().map(increment).collect();
            println!("{{\"seconds\": {}, \"answer\": {}}}", start.elapsed().as_secs_f64(), all.iter().sum::<u64>());
        }
        ("pi", []) => {
            elsewhere(0);
            let start = Instant::now();
            let all: u64 = (0..PI.0).into_par_iter().map(|seed| hits(seed, PI.1)).sum();
            let seconds = start.elapsed().as_secs_f64();
            let start = Instant::now();
            let serial: u64 = (0..PI.0).map(|seed| hits(seed, PI.1)).sum();
            let serial_seconds = start.elapsed().as_secs_f64();
            println!(
                "{{\"seconds\": {seconds}, \"serial\": {serial_seconds}, \"answer\": {}}}",
                u64::from(all == serial)
            );
        }
        ("payload", []) => {
            let all = payloads();
            elsewhere(0);
            let start = Instant::now();
            let back: Vec<Vec<u8>> = all.par_iter().map(Clone::clone).collect();
            let seconds = start.elapsed().as_secs_f64();
            println!("{{\"seconds\": {seconds}, \"answer\": {}}}", u64::from(back == all));
        }
        ("killed", [mark]) => {
            let die_once = |n: u64| {
                if n == 3 && std::fs::File::create_new(mark).is_ok() {
                    std::process::abort();
                }
                n
            };
            println!("{{\"answer\": {}}}", (0..8).into_par_iter().map(die_once).sum::<u64>());
        }
        ("words", [folder]) => {
            let [words, distinct, most] = files::count_words(folder)?;
            println!("{{\"answer\": [{words}, {distinct}, {most}]}}");
        }
        ("sort", [folder, sorted]) => println!("{{\"answer\": {}}}", files::sort_records(folder, sorted)?),
        _ => usage(),
    }
    Ok(())
}

/// Makes one call on a thread of the pool.
fn elsewhere(n: u64) -> u64 {
    let mut result = 0;
    rayon::scope(|scope| scope.spawn(|_| result = increment(n)));
    result
}
