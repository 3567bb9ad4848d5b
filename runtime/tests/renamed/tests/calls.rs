//! Checks that a renamed dependency works like any other: in a library, in a program, in a test.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use renamed_fixture::{Sums, double};

#[cloud::remote]
fn triple(x: u64) -> u64 {
    3 * x
}

#[test]
fn calls_and_jobs_run() {
    cloud::block_on(async {
        assert_eq!((double(4).await.unwrap(), triple(4).await.unwrap()), (8, 12));
        let mut sums = cloud::map_reduce(Sums, [1, 21, 3]).await.unwrap();
        sums.sort_unstable();
        assert_eq!(sums, [3, 22]);
    });
}

#[test]
fn its_program_runs_its_own_workers() {
    let folder = std::env::temp_dir().join(format!("wren-renamed-{}", std::process::id()));
    let mut program = Command::new(env!("CARGO_BIN_EXE_renamed-fixture"));
    let output = program.env("WREN_DIR", &folder).env("WREN_BACKEND", "local").output().unwrap();
    let _ = std::fs::remove_dir_all(folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[0, 2, 4]\n[1000, 1002, 1004]\n");
}

#[test]
fn same_named_functions_are_listed_separately() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_renamed-fixture"));
    let output = program.env("WREN_LIST", "json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listing = String::from_utf8_lossy(&output.stdout);
    for file in ["lib.rs", "main.rs"] {
        let name = format!("\"name\":\"renamed_fixture::double@runtime/tests/renamed/src/{file}\"");
        assert!(listing.contains(&name), "{listing}");
    }
}
