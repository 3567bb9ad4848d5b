//! Every example runs as its documentation says, and ends with the line it should end with.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo builds examples before it runs tests, and puts them beside these.
fn example(name: &str) -> PathBuf {
    let profile = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    profile.join("examples").join(name)
}

fn last_line(name: &str, arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(example(name)).args(arguments).current_dir(root).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed: {stderr}");
    // Standard error is no terminal: a summary for each job, and no progress bar.
    assert!(stderr.lines().all(|line| line.starts_with("wren: ")), "{stderr}");
    String::from_utf8(output.stdout).unwrap().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn pi() {
    assert_eq!(last_line("pi", &["1000", "2000"]), "pi is about 3.14136 after 2000000 points");
}

#[test]
fn sweep() {
    assert_eq!(last_line("sweep", &[]), "held-out accuracy: 86.7%");
}

#[test]
fn wordcount() {
    // As `tr -cs A-Za-z '\\n' | sort -u` counts them.
    let line = last_line("wordcount", &["LICENSE-MIT", "LICENSE-APACHE"]);
    assert_eq!(line, "1586 words, 424 distinct, in 2 files");
}

#[cfg(feature = "kv")]
#[test]
fn hogwild() {
    // Which process is faster differs, and with it the last digits.
    let line = last_line("hogwild", &["6", "4"]);
    let losses: Vec<f32> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let [hogwild, serial] = losses[..] else { panic!("{line}") };
    assert!(hogwild < 0.4 && serial < 0.4 && (hogwild / serial - 1.0).abs() < 0.05, "{line}");
}

#[cfg(feature = "kv")]
#[test]
fn kv_rate() {
    assert_eq!(last_line("kv_rate", &["0.1", "2"]), "each transaction sets or gets 128 bytes");
}
