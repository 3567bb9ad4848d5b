//! The program of a test in `cloud.rs`, which runs it while every event is delivered twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use wren::Error;

fn note(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = fs::File::options().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{text}\n").as_bytes()).unwrap();
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Runs for two minutes in the first attempt of task 5, and writes a tick every tenth of a second.
#[wren::remote(memory = 512)]
fn straggle(path: PathBuf, task: u64) -> u64 {
    if task == 5 && fs::File::create_new(path.join("first")).is_ok() {
        for _ in 0..1_200 {
            sleep(Duration::from_millis(100));
            note(&path.join("ticks"), "tick");
        }
    }
    sleep(Duration::from_millis(100));
    task
}

#[wren::remote(memory = 512)]
fn nap(path: PathBuf, ms: u64) -> u64 {
    let end = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < end {
        sleep(Duration::from_millis(ms.min(100)));
        note(&path, "a tenth of a second");
    }
    ms
}

#[wren::remote(memory = 512, at_most_once)]
fn pay(path: PathBuf, order: u64) -> Result<u64, String> {
    note(&path, &order.to_string());
    match order {
        3 => std::process::exit(7),
        4 => Err("declined".to_owned()),
        _ => Ok(order),
    }
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let notes = PathBuf::from(std::env::args().nth(1).unwrap());

    // The slower copy is stopped.
    let done = wren::map(|task| straggle(notes.clone(), task), 0..12).quiet().await?;
    assert!(done.into_iter().eq(0..12));
    let ticks = notes.join("ticks");
    assert!(lines(&ticks) > 5, "the first copy ran");
    let start = Instant::now();
    loop {
        let before = lines(&ticks);
        sleep(Duration::from_secs(1));
        if lines(&ticks) == before {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the first copy is still running");
    }

    // A budget of a tenth of a cent: twenty calls from which the job learns that calls are short, and sixty long ones.
    let naps = notes.join("naps");
    wren::map(|ms| nap(naps.clone(), ms), vec![1; 20]).quiet().await?;
    fs::remove_file(&naps).unwrap();
    let stopped = wren::map(|ms| nap(naps.clone(), ms), vec![20_000; 60]).quiet().budget(0.001).await;
    assert!(matches!(stopped, Err(Error::OverBudget { .. })), "{stopped:?}");
    let start = Instant::now();
    loop {
        let before = lines(&naps);
        sleep(Duration::from_secs(1));
        if lines(&naps) == before {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "calls of a stopped job are still running");
    }
    // Each call ran in its own instance.
    let usd = lines(&naps) as f64 * 0.1 * 0.5 * 0.000_016_666_7;
    println!("the stopped calls cost {usd:.5} USD, with a budget of 0.001 USD");
    // Calls that are not stopped would cost 0.01 USD. A busy machine stops them up to a few seconds late.
    assert!(usd < 0.002, "{usd}");

    // No order is paid twice, although every event is delivered twice.
    let paid = notes.join("paid");
    let outcomes = wren::map(|order| pay(paid.clone(), order), 0..10).quiet().try_all().await?;
    for (order, outcome) in outcomes.into_iter().enumerate() {
        match (order, outcome) {
            (3, Err(Error::MayHaveRun { .. })) | (4, Err(Error::Returned { .. })) => {}
            (_, outcome) => assert_eq!(outcome?, order as u64),
        }
    }
    let mut orders: Vec<u64> = fs::read_to_string(&paid).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    orders.sort_unstable();
    assert!(orders.iter().copied().eq(0..10), "{orders:?}");
    println!("all checks passed");
    Ok(())
}
