//! Measures how many transactions of 128 bytes per second a worker makes
//! with key-value storage, for different numbers of workers: the
//! micro-benchmark of the PyWren paper (its figure 6).
//!
//!     cargo run --release -p examples --features kv \
//!         --example kv_rate -- [seconds] [most workers]
//!
//! It measures the embedded storage, or a server: `--features kv,redis`,
//! `WREN_KV=redis://127.0.0.1/0`.

use std::time::{Duration, Instant};

use wren::kv::Kv;

// ANCHOR: transact
/// Writes and reads a key of its own in turns for `seconds`. Returns the
/// number of transactions per second.
#[wren::remote]
fn transact(kv: Kv, key: &str, seconds: f64) -> wren::Result<f64> {
    let value = [7; 128];
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        for _ in 0..10 {
            kv.set_bytes(key, &value)?;
            kv.get_bytes(key)?;
        }
        done += 20;
    }
    Ok(f64::from(done) / start.elapsed().as_secs_f64())
}
// ANCHOR_END: transact

#[wren::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seconds: f64 = args.next().map_or(Ok(2.0), |arg| arg.parse())?;
    let most: usize = args.next().map_or(Ok(8), |arg| arg.parse())?;
    let kv = wren::kv()?;
    println!("{kv:?}");
    println!("workers   transactions/s for each   for all");
    let mut workers = 1;
    while workers <= most {
        let executor =
            wren::Executor::builder().workers(workers).build()?;
        let keys: Vec<String> = (0..workers)
            .map(|i| format!("kv-rate/{}/{i}", std::process::id()))
            .collect();
        let calls = wren::map(
            |key| transact(kv.clone(), key, seconds),
            keys.iter().map(String::as_str),
        );
        let rates = calls.chunk(1).quiet().on(&executor).await?;
        keys.iter().try_for_each(|key| kv.delete(key))?;
        let all: f64 = rates.iter().sum();
        println!(
            "{workers:>7}   {:>23.0}   {all:>7.0}",
            all / workers as f64
        );
        workers *= 2;
    }
    println!("each transaction sets or gets 128 bytes");
    Ok(())
}
