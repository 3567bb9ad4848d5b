//! Runs every example with the command of its documentation, and checks its
//! last line of output.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The executable of an example. Cargo builds examples before it runs
/// tests, and puts them next to the tests.
fn example(name: &str) -> PathBuf {
    let profile = std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned();
    profile.join("examples").join(name)
}

// ANCHOR: run
fn last_line(name: &str, arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(example(name))
        .args(arguments)
        .current_dir(root)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed: {stderr}");
    // Standard error is not a terminal: there is a summary for each job,
    // and no progress bar.
    assert!(
        stderr.lines().all(|line| line.starts_with("wren: ")),
        "{stderr}"
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned()
}
// ANCHOR_END: run

#[cfg(feature = "data")]
#[test]
fn inputs() {
    assert_eq!(
        last_line("inputs", &["examples/data/*.csv"]),
        "1797 images in 9 partitions"
    );
}

#[test]
fn pi() {
    assert_eq!(
        last_line("pi", &["1000", "2000"]),
        "pi is about 3.14136 after 2000000 points"
    );
}

#[test]
fn sweep() {
    assert_eq!(last_line("sweep", &[]), "held-out accuracy: 86.7%");
}

#[cfg(feature = "data")]
#[test]
fn wordcount() {
    // The same counts as those of `tr -s ' \\n' '\\n' | sort -u`.
    let line = last_line("wordcount", &["LICENSE-MIT", "LICENSE-APACHE"]);
    assert_eq!(line, "1583 words, 616 distinct, in 2 files");
}

#[cfg(feature = "data")]
#[test]
fn sort() {
    let folder = std::env::temp_dir()
        .join(format!("wren-sort-{}", std::process::id()));
    let folder = folder.to_str().unwrap();
    let line =
        last_line("sort", &[folder, "LICENSE-MIT", "LICENSE-APACHE"]);
    assert!(
        line.starts_with("197 records, 10796 bytes, in 1 files"),
        "{line}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn errors() {
    assert_eq!(last_line("errors", &[]), "6 of 8 tasks are done");
}

#[test]
fn scores() {
    assert_eq!(last_line("scores", &[]), "19 of 20 items have a score");
}

#[test]
fn large() {
    assert_eq!(
        last_line("large", &[]),
        "equal values are stored once: true"
    );
}

#[cfg(feature = "rayon")]
#[test]
fn guide_ported() {
    assert_eq!(
        last_line("guide_ported", &[]),
        "849637 steps, the same in each way"
    );
}

#[cfg(all(feature = "kv", feature = "rayon"))]
#[test]
fn guide_setup() {
    assert_eq!(
        last_line("guide_setup", &[]),
        "one call with limits of its own: 18244"
    );
}

#[cfg(feature = "images")]
#[test]
fn featurize() {
    let line = last_line("featurize", &["48"]);
    let accuracy = line
        .strip_prefix("held-out accuracy: ")
        .and_then(|rest| rest.strip_suffix("% of 96 views"));
    // The last digits of a sine differ between machines.
    assert!(accuracy.unwrap().parse::<f64>().unwrap() > 85.0, "{line}");
}

#[test]
fn flops() {
    let line = last_line("flops", &["2", "0.1"]);
    let (figure, rest) =
        line.split_once(" GFLOP/s by 2 workers, ").unwrap();
    assert!(
        figure.parse::<f64>().unwrap() > 0.0
            && rest.contains(" times one worker's "),
        "{line}"
    );
}

#[test]
fn store_bandwidth() {
    let line = last_line("store_bandwidth", &["2", "1", "2"]);
    let figures: Vec<f64> =
        line.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(
        line.starts_with("2 workers wrote ") && figures.len() == 3,
        "{line}"
    );
    assert!(figures.iter().all(|figure| *figure > 0.0), "{line}");
    let store = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join(".wren/store");
    let left = store.read_dir().unwrap().flatten().filter(|e| {
        e.file_name().to_string_lossy().starts_with("bandwidth")
    });
    for folder in left {
        assert_eq!(
            folder.path().read_dir().unwrap().count(),
            0,
            "objects are left in {}",
            folder.path().display()
        );
    }
}

#[cfg(feature = "sim")]
#[test]
fn simulate() {
    let line = last_line("simulate", &["200", "5"]);
    assert!(
        line.starts_with("2000 of 2000 calls are done after "),
        "{line}"
    );
}

/// There is no collector: wren prints a warning, and the program succeeds.
#[cfg(feature = "otel")]
#[test]
fn traced() {
    assert_eq!(
        last_line("traced", &[]),
        "78498 primes are below a million"
    );
}

#[cfg(feature = "data")]
#[test]
fn pagerank() {
    // The same number of pages and sum of ranks as in a program without
    // wren.
    let line = last_line("pagerank", &[]);
    assert_eq!(line, "349 pages, ranks sum to 1.0000");
}

#[cfg(feature = "kv")]
#[test]
fn hogwild() {
    // The last digits depend on the speed of the processes.
    let line = last_line("hogwild", &["6", "4"]);
    let losses: Vec<f32> = line
        .split([' ', ','])
        .filter_map(|word| word.parse().ok())
        .collect();
    let [hogwild, serial] = losses[..] else { panic!("{line}") };
    assert!(
        hogwild < 0.4
            && serial < 0.4
            && (hogwild / serial - 1.0).abs() < 0.05,
        "{line}"
    );
}

#[cfg(feature = "kv")]
#[test]
fn kv_rate() {
    assert_eq!(
        last_line("kv_rate", &["0.1", "2"]),
        "each transaction sets or gets 128 bytes"
    );
}
