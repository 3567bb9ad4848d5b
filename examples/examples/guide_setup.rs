//! A `main` of your own: code that runs before wren, an executor with
//! settings, a budget.
//!
//!     cargo run --release -p examples --features kv,rayon \
//!         --example guide_setup

use std::time::Duration;

use rayon::prelude::*;

/// The square root of the sum of the squares below `n`, computed with all
/// threads that this process may use.
#[wren::remote(memory = 256, timeout = 30)]
fn norm(n: u64) -> f64 {
    (0..n).into_par_iter().map(|x| (x as f64).powi(2)).sum::<f64>().sqrt()
}

/// The number of threads that computations in this process use.
#[wren::remote]
fn threads() -> usize {
    rayon::current_num_threads()
}

// ANCHOR: main
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Code before `init` runs in the driver and in every worker. A worker
    // should use only one thread, because there are several workers on its
    // machine.
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;
    wren::init();
    // Only the driver gets here; workers never return from `init`.
    wren::block_on(run())
}
// ANCHOR_END: main

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    println!("each worker computes with {} thread", threads().await?);

    // ANCHOR: executor
    let executor = wren::Executor::builder()
        .workers(3)
        .store("memory:setup")
        .build()?;
    let norms = wren::map(norm, [3, 4, 5]).on(&executor).quiet().await?;
    // ANCHOR_END: executor
    println!("{norms:.3?}");

    // ANCHOR: budget
    let outcome =
        wren::map(norm, 0..1_000).budget(0.50).concurrency(100).await;
    match outcome {
        Ok(norms) => {
            println!("{} norms for less than half a dollar", norms.len())
        }
        Err(wren::Error::OverBudget { spent_usd, done, .. }) => {
            println!(
                "stopped at {spent_usd:.2} dollars, with {done} tasks done"
            );
        }
        Err(other) => return Err(other.into()),
    }
    // ANCHOR_END: budget

    // ANCHOR: kv
    let kv = wren::kv()?;
    kv.increment("pages/front", 1)?;
    // ANCHOR_END: kv
    kv.delete("pages/front")?;

    // ANCHOR: limits
    let one = norm(1_000)
        .memory(1_769)
        .timeout(Duration::from_secs(60))
        .retries(1)
        .await?;
    // ANCHOR_END: limits
    println!("one call with limits of its own: {one:.0}");
    Ok(())
}
