//! One computation as a loop, with rayon, and with wren. The guides for
//! moving a program to wren show its parts.
//!
//!     cargo run --release -p examples --features rayon \
//!         --example guide_ported

use std::time::Duration;

use rayon::prelude::*;

// ANCHOR: function
/// How many steps the Collatz sequence takes from `start` to 1.
#[wren::remote]
fn collatz(start: u64) -> u64 {
    let next =
        |n: &u64| Some(if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 });
    std::iter::successors(Some(start), next).take_while(|n| *n != 1).count()
        as u64
}
// ANCHOR_END: function

// ANCHOR: arguments
/// `x` to the power of `n`, modulo `modulus`.
#[wren::remote]
fn power(x: u64, n: u32, modulus: u64) -> u64 {
    (0..n).fold(1, |product, _| product * x % modulus)
}
// ANCHOR_END: arguments

fn by_loop() -> Vec<u64> {
    // ANCHOR: loop
    let mut steps = Vec::new();
    for start in 1..10_000 {
        steps.push(collatz::local(start));
    }
    // ANCHOR_END: loop
    steps
}

fn by_rayon() -> Vec<u64> {
    // ANCHOR: rayon
    let steps: Vec<u64> =
        (1..10_000u64).into_par_iter().map(collatz::local).collect();
    // ANCHOR_END: rayon
    steps
}

async fn by_wren() -> wren::Result<Vec<u64>> {
    // ANCHOR: map
    let steps = wren::map(collatz, 1..10_000).await?;
    // ANCHOR_END: map
    Ok(steps)
}

// ANCHOR: chunks
/// The most steps from any start in the range: each call does the work for
/// many numbers.
#[wren::remote]
fn longest(from: u64, to: u64) -> u64 {
    (from..to).into_par_iter().map(collatz::local).max().unwrap_or(0)
}
// ANCHOR_END: chunks

#[wren::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let steps = by_wren().await?;
    assert_eq!(steps, by_loop());
    assert_eq!(steps, by_rayon());

    // ANCHOR: reduce
    let total: u64 = wren::map(collatz, 1..10_000).await?.into_iter().sum();
    // ANCHOR_END: reduce

    // ANCHOR: blocks
    let blocks =
        (1..10_000u64).step_by(1_000).map(|from| (from, from + 1_000));
    let longest =
        wren::map(|(from, to)| longest(from, to.min(10_000)), blocks)
            .await?;
    // ANCHOR_END: blocks
    assert_eq!(longest.iter().max(), steps.iter().max());

    // ANCHOR: starmap
    let powers =
        wren::map(|(x, n)| power(x, n, 1_000_007), [(2, 10), (3, 4)])
            .await?;
    // ANCHOR_END: starmap
    assert_eq!(powers, [1_024, 81]);

    // ANCHOR: async
    let early = tokio::spawn(collatz(27));
    let late = collatz(97).timeout(Duration::from_secs(10)).await?;
    let early = early.await??;
    // ANCHOR_END: async
    assert_eq!((early, late), (111, 118));

    // ANCHOR: unordered
    let mut stream = wren::map(collatz, 1..10_000).stream();
    let mut seen = 0;
    while let Some((index, outcome)) = stream.next().await {
        let start = index + 1;
        if outcome? > 250 {
            println!("from {start} it takes more than 250 steps");
        }
        seen += 1;
    }
    // ANCHOR_END: unordered
    assert_eq!(seen, steps.len());

    // ANCHOR: start
    let job = wren::map(collatz, 1..10_000).start().await?;
    println!(
        "{} of {} tasks are done",
        job.progress()?.done,
        job.progress()?.tasks
    );
    let again = job.wait().await?;
    // ANCHOR_END: start
    assert_eq!(steps, again);

    println!("{total} steps, the same in each way");
    Ok(())
}
