//! The program of a test of the cloud, run where every event is delivered twice.

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

/// The first execution of task 5 takes for ever, and writes down that it is there.
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

    // The copy that loses is stopped.
    let done = wren::map(|task| straggle(notes.clone(), task), 0..12).quiet().await?;
    assert!(done.into_iter().eq(0..12));
    let ticks = notes.join("ticks");
    assert!(lines(&ticks) > 5, "the first copy ran");
    let begun = Instant::now();
    loop {
        let before = lines(&ticks);
        sleep(Duration::from_secs(1));
        if lines(&ticks) == before {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the first copy goes on");
    }

    // A tenth of a cent: twenty calls that tell that calls are short, and sixty that are not.
    let naps = notes.join("naps");
    wren::map(|ms| nap(naps.clone(), ms), vec![1; 20]).quiet().await?;
    fs::remove_file(&naps).unwrap();
    let stopped = wren::map(|ms| nap(naps.clone(), ms), vec![20_000; 60]).quiet().budget(0.001).await;
    assert!(matches!(stopped, Err(Error::OverBudget { .. })), "{stopped:?}");
    loop {
        let before = lines(&naps);
        sleep(Duration::from_secs(1));
        if lines(&naps) == before {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "calls of a job that was stopped go on");
    }
    // Each ran in an instance of its own.
    let usd = lines(&naps) as f64 * 0.1 * 0.5 * 0.000_016_666_7;
    println!("of a budget of 0.001 USD, calls that were stopped cost {usd:.5}");
    assert!(usd < 0.0011, "{usd}");

    // Nothing is paid twice, though every event comes twice.
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
    println!("all as it should be");
    Ok(())
}
