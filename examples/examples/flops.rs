//! Measures how fast workers multiply matrices, with 1, 2, 4, .. workers at
//! once: the first measurement of the PyWren paper, which uses up to 3,000
//! workers.
//!
//!     cargo run --release -p examples \
//!         --example flops -- [workers] [seconds]
//!
//! Each worker multiplies matrices of 64-bit numbers for `seconds`, with
//! one thread. Without arguments: as many workers as there are processors,
//! one second.

use std::error::Error;
use std::time::{Duration, Instant};

use examples::matrix;
use examples::spread::Spread;
use examples::workers;
use serde::{Deserialize, Serialize};

/// Rows and columns of a matrix. Three matrices take 3.5 MB.
const N: usize = 384;

/// The work of one worker.
#[derive(Debug, Serialize, Deserialize)]
struct Multiplied {
    /// Number of multiplications and additions.
    operations: f64,
    took: Duration,
}

impl Multiplied {
    fn gflops(&self) -> f64 {
        self.operations / self.took.as_secs_f64() / 1e9
    }
}

/// Multiplies matrices for at least this long.
#[wren::remote(memory = 1769, timeout = 120)]
fn multiply(seconds: f64) -> Multiplied {
    let value = |i: usize| (i % 7) as f64 / 7.0;
    let a: Vec<f64> = (0..N * N).map(value).collect();
    let b: Vec<f64> = (0..N * N).map(|i| value(i + 3)).collect();
    let mut c = vec![0.0; N * N];
    let begin = Instant::now();
    let mut operations = 0.0;
    while begin.elapsed().as_secs_f64() < seconds {
        matrix::multiply(&a, &b, &mut c, N);
        operations += matrix::operations(N);
    }
    std::hint::black_box(&c);
    Multiplied { operations, took: begin.elapsed() }
}

#[wren::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let processors = std::thread::available_parallelism()?.get();
    let most =
        args.next().map_or(Ok(processors), |arg| arg.parse())?.max(1);
    let seconds: f64 = args.next().map_or(Ok(1.0), |arg| arg.parse())?;
    let executor = workers::executor(most)?;

    // Starts the workers before the measurement.
    wren::map(|_| multiply(0.1), 0..most)
        .chunk(1)
        .quiet()
        .on(&executor)
        .await?;

    println!("GFLOP/s, 64-bit, each worker for {seconds} s: mean (std)\n");
    println!(
        "{:>7} {:>16} {:>10} {:>12} {:>11}",
        "workers", "each", "together", "whole job", "efficiency"
    );
    let mut alone = 0.0;
    let mut last = String::new();
    for workers in workers::counts(most) {
        let begin = Instant::now();
        let done = wren::map(|_| multiply(seconds), 0..workers)
            .chunk(1)
            .quiet()
            .on(&executor)
            .await?;
        let wall = begin.elapsed().as_secs_f64();
        let each = Spread::of(done.iter().map(Multiplied::gflops));
        let whole = done.iter().map(|done| done.operations).sum::<f64>()
            / wall
            / 1e9;
        let together = each.mean * workers as f64;
        if workers == 1 {
            alone = each.mean;
        }
        let efficiency = 100.0 * whole / (alone * workers as f64);
        println!(
            "{workers:>7} {each:>16.2} {together:>10.2} {whole:>12.2} {efficiency:>10.0}%"
        );
        last = format!(
            "{whole:.1} GFLOP/s by {workers} workers, {:.2} times one worker's {alone:.1}",
            whole / alone
        );
    }
    println!("\n{last}");
    Ok(())
}
