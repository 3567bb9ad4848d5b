//! The output of tasks reaches the terminal, and a terminal that is not read does not block the driver.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wren::Error;

use super::drivers::{driver, executor_in};
use super::{FOREVER_MS, PATIENCE, add, note, notes, scratch, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![unread_output_blocks_nobody_and_gaps_are_reported, slow_readers_get_every_line]
}

/// Prints this many lines of 100 bytes to both streams.
#[wren::remote]
fn shout(lines: u64) {
    for line in 0..lines {
        println!("line {line} {:>87}", "");
        eprintln!("line {line} {:>87}", "");
    }
}

#[wren::remote]
fn stall() {
    thread::sleep(Duration::from_millis(FOREVER_MS));
}

/// Runs in a driver whose output is not read.
pub(crate) async fn unread(folder: &Path) -> wren::Result<()> {
    let executor = executor_in(folder);
    let noted = |step: u64| note(&folder.join("notes"), step).unwrap();
    let shouting = tokio::spawn(shout(LINES).on(&executor).into_future());
    let start = Instant::now();
    let stalled = stall().on(&executor).timeout(Duration::from_millis(300)).await;
    assert!(matches!(stalled, Err(Error::TimedOut { .. })), "{stalled:?}");
    assert!(start.elapsed() < PATIENCE, "a limit of 0.3 s took {:?}", start.elapsed());
    noted(1);
    shouting.await.unwrap()?;
    noted(2);
    let map = async { wren::map(|i| add(i, 1), 0..100).on(&executor).await };
    let sums = tokio::time::timeout(PATIENCE, map).await.expect("a map does not wait for the terminal")?;
    assert!(sums.into_iter().eq(1..101));
    noted(3);
    while !folder.join("read").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// More lines than the driver keeps for a terminal that is not read.
const LINES: u64 = 100_000;

async fn unread_output_blocks_nobody_and_gaps_are_reported() {
    let folder = scratch("unread");
    let mut child = driver("unread", &folder);
    // Longer than the limits of the driver itself.
    let deadline = Instant::now() + 4 * PATIENCE;
    while notes(&folder.join("notes")).len() < 3 {
        assert!(Instant::now() < deadline, "the driver only reached {:?}", notes(&folder.join("notes")));
        thread::sleep(Duration::from_millis(5));
    }
    let (stdout, stderr) = (child.0.stdout.take().unwrap(), child.0.stderr.take().unwrap());
    let read = thread::spawn(move || lines_of(stdout));
    fs::write(folder.join("read"), "").unwrap();
    let (from_stderr, from_stdout) = (lines_of(stderr), read.join().unwrap());
    assert!(child.0.wait().unwrap().success());
    let lines = |all: &[String]| all.iter().filter(|line| line.starts_with("[shout 0] line ")).count() as u64;
    for (name, all) in [("standard output", &from_stdout), ("standard error", &from_stderr)] {
        let missing = from_stderr.iter().filter_map(|line| line.strip_prefix("wren: ")?.strip_suffix(" was not read"));
        let missing = missing.filter_map(|line| line.strip_suffix(&format!(" lines are missing: {name}")));
        let missing: u64 = missing.map(|count| count.parse::<u64>().unwrap()).sum();
        assert!(missing > 0 && lines(all) > 10_000, "{missing} of {name}");
        // One of them may be the summary of the map.
        assert!((LINES..=LINES + 1).contains(&(lines(all) + missing)), "{} and {missing} of {name}", lines(all));
    }
}

fn lines_of(stream: impl Read) -> Vec<String> {
    BufReader::new(stream).lines().map(Result::unwrap).collect()
}

async fn slow_readers_get_every_line() {
    let folder = scratch("slowly");
    let mut child = driver("is read slowly", &folder);
    let slowly = |mut stream: Box<dyn Read + Send>| {
        move || {
            let mut all = String::new();
            while (&mut stream).take(64 << 10).read_to_string(&mut all).unwrap() > 0 {
                thread::sleep(Duration::from_millis(20));
            }
            all
        }
    };
    let (stdout, stderr): (ChildStdout, ChildStderr) = (child.0.stdout.take().unwrap(), child.0.stderr.take().unwrap());
    let read = thread::spawn(slowly(Box::new(stdout)));
    let from_stderr = slowly(Box::new(stderr))();
    for all in [from_stderr, read.join().unwrap()] {
        let lines: Vec<_> = all.lines().filter(|line| line.contains("] line ")).collect();
        assert_eq!(lines.len(), 40_000);
    }
    assert!(child.0.wait().unwrap().success());
}

/// Runs in a driver whose output is read slowly.
pub(crate) async fn shouts(folder: &Path) -> wren::Result<()> {
    shout(40_000).on(&executor_in(folder)).await
}
