//! A program that does not call `wren::init` says that its calls run on threads.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use wren::Executor;

use super::{add, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![a_program_without_init_says_that_calls_run_on_threads]
}

const ASKED: &str = "RUNS_WITHOUT_INIT";

/// Runs a job and ends this process, if it was started as a program that does not call `wren::init`.
pub(crate) fn run_without_init_if_asked() {
    if std::env::var_os(ASKED).is_none() {
        return;
    }
    // A second executor adds no second note.
    for executor in [Executor::current().unwrap(), Executor::builder().build().unwrap()] {
        let sums = wren::block_on(wren::map(|i| add(i, 1), 0..3).on(&executor).into_future()).unwrap();
        assert_eq!(sums, [1, 2, 3]);
    }
    std::process::exit(0);
}

/// Returns what this program prints to standard error if it is run as `program`.
fn run(program: &Path, backend: Option<&str>) -> Vec<String> {
    let mut command = Command::new(program);
    command.env(ASKED, "1").env_remove("WREN_BACKEND").env_remove("WREN_QUIET");
    let output = command.envs(backend.map(|backend| ("WREN_BACKEND", backend))).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect()
}

async fn a_program_without_init_says_that_calls_run_on_threads() {
    let this = std::env::current_exe().unwrap();
    // Cargo runs tests from the folder `deps`, and programs from another folder.
    let program = scratch("threads").join("program");
    std::fs::copy(&this, &program).unwrap();
    let lines = run(&program, None);
    assert_eq!(lines.len(), 3, "{lines:?}");
    let start = "wren: calls run on threads of this process, because `main` has no `#[wren::main]`";
    assert!(lines[0].starts_with(start) && lines[0].contains("WREN_BACKEND=inline"), "{lines:?}");
    assert!(lines[1..].iter().all(|line| line.starts_with("wren: job done: 3 tasks of local::add in ")), "{lines:?}");
    assert!(run(&program, Some("inline")).is_empty());
    assert!(run(&this, None).is_empty(), "tests run on threads on purpose");
}
