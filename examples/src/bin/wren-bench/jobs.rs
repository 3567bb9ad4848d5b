//! Jobs whose results are in a store: named ones, and one that another process waits for.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{PART, inc, median, processor_ms, scratch};

/// Returns the seconds of a named map of 100,000 no-ops, the seconds of the same map again, which executes none, and
/// the number of keys of their results.
pub(super) async fn named() -> wren::Result<[f64; 3]> {
    let folder = scratch("named");
    let store = format!("file:{}", folder.join("store").display());
    let executor = wren::Executor::builder().backend("local").store(&store).directory(&folder).build()?;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for round in 0..5 {
        for times in [&mut first, &mut again] {
            let start = Instant::now();
            let results = wren::map(inc, 0..100_000).on(&executor).quiet().named(format!("round-{round}")).await?;
            times.push(start.elapsed());
            assert!(results.into_iter().eq(1..=100_000));
        }
    }
    let keys = executor.store().list("round-0/", None, usize::MAX).await?.len();
    let _ = std::fs::remove_dir_all(&folder);
    Ok([median(first).as_secs_f64(), median(again).as_secs_f64(), keys as f64])
}

/// Returns the processor time of a process that waits for a job of 100,000 tasks of another process, in percent.
pub(super) async fn waiter() -> Result<f64, Box<dyn std::error::Error>> {
    let folder = scratch("waiter");
    let executor = started_in(&folder)?;
    let mut child = Command::new(std::env::current_exe()?).env(PART, "start").arg(&folder).spawn()?;
    let job = loop {
        match wren::Job::<u64>::attach(executor.clone(), "held") {
            Ok(job) => break job,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let (start, before) = (Instant::now(), processor_ms());
    tokio::time::timeout(Duration::from_secs(60), job.wait()).await??;
    let percent = 100.0 * (processor_ms() - before) / (start.elapsed().as_secs_f64() * 1e3);
    child.wait()?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(percent)
}

/// Runs the job that [`waiter`] waits for, which takes a few seconds.
pub(super) async fn start() -> wren::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_default();
    let executor = started_in(Path::new(&folder))?;
    wren::map(pause, 0..100_000).on(&executor).quiet().named("held").start().await?.wait().await.map(drop)
}

#[wren::remote]
fn pause(i: u64) -> u64 {
    std::thread::sleep(Duration::from_micros(50));
    i
}

fn started_in(folder: &Path) -> wren::Result<wren::Executor> {
    let store = format!("file:{}", folder.join("store").display());
    wren::Executor::builder().backend("local").store(&store).directory(folder).build()
}
