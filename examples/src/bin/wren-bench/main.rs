//! `make bench`: measures the speed of the local backend, and of plain processes and sockets for comparison.
//!
//!     cargo run --release -p examples --features rayon --bin wren-bench
//!
//! Prints a table and writes `target/wren-bench.json`. If it is deployed and `WREN_BENCH=cloud` is set (deploy and run
//! then need `--features aws,rayon`), it runs ten thousand calls on the deployment, checks their results and prints the
//! processor time of the driver.

mod arrays;
mod jobs;
mod kmers;
mod processes;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rayon::prelude::*;

#[wren::remote]
fn inc(i: u64) -> u64 {
    i + 1
}

#[wren::remote]
fn echo(data: &[u8]) -> Vec<u8> {
    data.to_vec()
}

/// Some tens of milliseconds of arithmetic.
#[wren::remote]
fn burn(seed: u64) -> u64 {
    burn_here(seed)
}

fn burn_here(seed: u64) -> u64 {
    (0..20_000_000).fold(seed, |x, i| x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i) ^ (x >> 33))
}

/// The variable that selects one part of the benchmark.
const PART: &str = "WREN_BENCH";

#[wren::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::var(PART).as_deref() {
        Ok("socket") => return Ok(processes::answer()?),
        Ok("first") => {
            inc(1).await?;
            return Ok(());
        }
        Ok("stream") => {
            println!("{}", stream().await?);
            return Ok(());
        }
        Ok("start") => return Ok(jobs::start().await?),
        Ok("cloud") => return Ok(cloud().await?),
        Ok("arrays") => {
            println!("{:#?}", arrays::measure().await?);
            return Ok(());
        }
        Ok("kmers") => {
            println!("{:#?}", kmers::measure(&scratch("kmers")).await?);
            return Ok(());
        }
        Ok("log") => {
            println!("{:?} {:?}", log_overhead(100, 1).await?, log_overhead(12, 25).await?);
            return Ok(());
        }
        Ok("noop") => {
            wren::map(inc, 0..100_000).quiet().await?;
            println!("{:.0}", 100_000.0 / median(noop(100_000, 200).await?).as_secs_f64());
            return Ok(());
        }
        Ok("payload") => {
            println!("{}", payload().await?);
            return Ok(());
        }
        _ => {}
    }
    let mut figures = BTreeMap::new();
    wren::map(inc, 0..100_000).quiet().await?;
    for (name, n) in [("noop_1k", 1_000), ("noop_10k", 10_000), ("noop_100k", 100_000)] {
        figures.insert(name, n as f64 / median(noop(n, 15).await?).as_secs_f64());
    }
    for (name, in_us, (turns, maps)) in
        [("log_overhead_percent", "log_us_per_100k", (100, 1)), ("log_work_percent", "log_work_us_per_100k", (12, 25))]
    {
        let (percent, microseconds) = log_overhead(turns, maps).await?;
        figures.insert(name, percent);
        figures.insert(in_us, microseconds);
    }
    let (median_call, p99_call) = call().await?;
    figures.insert("call_median_us", micros(median_call));
    figures.insert("call_p99_us", micros(p99_call));
    figures.insert("socket_median_us", micros(processes::socket()?));
    figures.insert("first_result_ms", processes::first_result()?.as_secs_f64() * 1e3);
    #[cfg(feature = "aws")]
    figures.insert("bootstrap_to_next_ms", processes::bootstrap_to_next()?.as_secs_f64() * 1e3);
    figures.insert("payload_gb_per_s", payload().await?);
    figures.extend(arrays::measure().await?);
    figures.extend(kmers::measure(&scratch("kmers")).await?);
    let [named, resumed, keys] = jobs::named().await?;
    figures.insert("named_100k_s", named);
    figures.insert("resumed_100k_s", resumed);
    figures.insert("named_100k_keys", keys);
    figures.insert("waiter_cpu_percent", jobs::waiter().await?);
    let (speedup, ratio) = cpu().await?;
    figures.insert("cpu_speedup", speedup);
    figures.insert("rayon_ratio", ratio);
    figures.insert("stream_peak_mb", streamed()?);
    report(&figures)
}

fn report(figures: &BTreeMap<&str, f64>) -> Result<(), Box<dyn std::error::Error>> {
    for (name, value) in figures {
        println!("{name:28} {value:>14.2}");
    }
    let lines: Vec<String> = figures.iter().map(|(name, value)| format!("  \"{name}\": {value:.4}")).collect();
    std::fs::create_dir_all("target")?;
    std::fs::write("target/wren-bench.json", format!("{{\n{}\n}}\n", lines.join(",\n")))?;
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn noop(n: u64, times: usize) -> wren::Result<Vec<Duration>> {
    let mut all = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        let results = wren::map(inc, 0..n).quiet().await?;
        all.push(start.elapsed());
        assert!(results.into_iter().eq(1..=n));
    }
    Ok(all)
}

/// Measures the cost of the job history of a map of 100,000 no-ops, in percent and in microseconds. With `maps` of 1,
/// this is the cost until the results are there. With many maps per turn, it is the cost of all the work, because the
/// part of a history that is written during the next map counts too. Runs with and without a history alternate, so that
/// other work of the machine affects both. No history is written if its folder cannot be created.
async fn log_overhead(turns: usize, maps: u32) -> wren::Result<(f64, f64)> {
    const NOWHERE: &str = "/proc/none";
    let folder = scratch("log");
    let executor = |folder: &Path| wren::Executor::builder().backend("local").directory(folder).build();
    let executors = [executor(&folder)?, executor(Path::new(NOWHERE))?];
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..turns {
        // Each executor goes first in every other turn.
        for which in [turn % 2, 1 - turn % 2] {
            let start = Instant::now();
            for _ in 0..maps {
                let results = wren::map(inc, 0..100_000).on(&executors[which]).quiet().await?;
                assert!(results.into_iter().eq(1..=100_000));
            }
            times[which].push(start.elapsed() / maps);
        }
    }
    let jobs = wren::history::jobs(&folder).unwrap_or_default();
    assert!(
        jobs.len() == turns * maps as usize && jobs.iter().all(|job| job.done == 100_000),
        "job histories were written"
    );
    assert!(!Path::new(NOWHERE).exists());
    let _ = std::fs::remove_dir_all(&folder);
    let [with, without] = times.map(|times| micros(median(times)));
    Ok((100.0 * (with / without - 1.0), with - without))
}

async fn call() -> wren::Result<(Duration, Duration)> {
    let mut times = Vec::new();
    for i in 0..5_000 {
        let start = Instant::now();
        black_box(inc(i).await?);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

fn child(what: &str) -> std::io::Result<std::process::Output> {
    Command::new(std::env::current_exe()?).env(PART, what).output()
}

/// Runs ten thousand calls, or the number in the first argument, each in an invocation of its own.
async fn cloud() -> wren::Result<()> {
    let tasks: u64 = std::env::args().nth(1).and_then(|tasks| tasks.parse().ok()).unwrap_or(10_000);
    let before = processor_ms();
    let start = Instant::now();
    let results = wren::map(inc, 0..tasks).chunk(1).await?;
    let wall = start.elapsed();
    assert!(results.into_iter().eq(1..=tasks), "every result is right");
    let each = (processor_ms() - before) / tasks as f64;
    println!("{tasks} tasks in {wall:.1?}; {each:.3} ms of the driver's processor each");
    Ok(())
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("wren-bench-{name}-{}", std::process::id()))
}

/// Returns the user and system time of this process in milliseconds. The system counts it in hundredths of a second.
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
    ticks.iter().sum::<f64>() * 10.0
}

async fn payload() -> wren::Result<f64> {
    const SIZE: usize = 8 << 20;
    let mut random = 1u64;
    let inputs: Vec<Vec<u8>> = (0..64)
        .map(|_| {
            let words = (0..SIZE / 8).flat_map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                random.to_le_bytes()
            });
            words.collect()
        })
        .collect();
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let outputs = wren::map(|data| echo(data), &inputs).quiet().await?;
        times.push(start.elapsed());
        assert!(outputs == inputs);
    }
    Ok(64.0 * 2.0 * SIZE as f64 / median(times).as_secs_f64() / 1e9)
}

/// Returns the speed-up over one thread, and the time relative to rayon.
async fn cpu() -> wren::Result<(f64, f64)> {
    let tasks = 64u64;
    let (mut one, mut rayon, mut wren) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let start = Instant::now();
        let expected: Vec<u64> = (0..tasks).map(burn_here).collect();
        one.push(start.elapsed());
        let start = Instant::now();
        let parallel: Vec<u64> = (0..tasks).into_par_iter().map(burn_here).collect();
        rayon.push(start.elapsed());
        let start = Instant::now();
        let mapped = wren::map(burn, 0..tasks).quiet().await?;
        wren.push(start.elapsed());
        assert!(mapped == expected && parallel == expected);
    }
    let wren = median(wren).as_secs_f64();
    Ok((median(one).as_secs_f64() / wren, wren / median(rayon).as_secs_f64()))
}

/// Runs ten million calls in a process of their own, and returns its peak memory in MB.
fn streamed() -> Result<f64, Box<dyn std::error::Error>> {
    let output = child("stream")?;
    assert!(output.status.success());
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

async fn stream() -> wren::Result<f64> {
    let mut stream = wren::map(inc, 0..10_000_000).quiet().stream();
    let mut sum = 0;
    while let Some((_, outcome)) = stream.next().await {
        sum += outcome?;
    }
    assert_eq!(sum, (1..=10_000_000).sum::<u64>());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: f64 = line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN);
    Ok(kilobytes / 1024.0)
}
