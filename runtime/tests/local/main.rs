//! Tests the local backend with real worker processes, real signals and real files.

#![allow(clippy::unwrap_used, reason = "tests")]

mod calls;
#[cfg(feature = "data")]
mod data;
mod drivers;
mod failures;
mod flow;
mod jobs;
mod large;
mod logging;
mod panics;
mod phases;
mod places;
mod processes;
mod pty;
mod replay;
mod screens;
mod shared;
mod terminal;
mod threads;
mod torture;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use wren::Executor;

/// Time after which a test gives up waiting. What it waits for takes milliseconds, or several seconds on a busy
/// machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a call sleeps that does not end by itself, in milliseconds: ten times as long as a test waits for its end.
const FOREVER_MS: u64 = 600_000;

fn executor(workers: usize) -> Executor {
    Executor::builder().backend("local").workers(workers).store("memory:").build().unwrap()
}

#[wren::remote]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

fn note(path: &Path, task: u64) -> std::io::Result<()> {
    // One write, so that lines of two processes do not mix.
    fs::File::options().append(true).create(true).open(path)?.write_all(format!("{task}\n").as_bytes())
}

fn notes(path: &Path) -> Vec<u64> {
    fs::read_to_string(path).unwrap_or_default().lines().map(|line| line.parse().unwrap()).collect()
}

/// Returns the folder for all files of the tests of this process. It is kept if a test fails.
fn scratch_root() -> PathBuf {
    std::env::temp_dir().join(format!("wren-test-{}", std::process::id()))
}

fn scratch(name: &str) -> PathBuf {
    let folder = scratch_root().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[wren::remote]
fn slow_pid(ms: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(ms));
    std::process::id()
}

/// Returns the live children of a driver, which are its workers.
fn children_of(parent: u32) -> Vec<u32> {
    all_children_of(parent).into_iter().filter(|(_, state)| state != "Z").map(|(pid, _)| pid).collect()
}

/// Returns the children of a process, and their states.
fn all_children_of(parent: u32) -> Vec<(u32, String)> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let after = stat.rsplit(") ").next().unwrap_or_default();
        let mut fields = after.split(' ');
        let state = fields.next().unwrap_or_default().to_owned();
        if fields.next() == Some(&parent.to_string()) {
            children.push((pid, state));
        }
    }
    children
}

/// Turns async functions into tests.
macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        vec![$(Trial::test(stringify!($name), || {
            wren::block_on($name());
            Ok(())
        })),*]
    };
}
use trials;

fn main() -> impl std::process::Termination {
    processes::before_init();
    threads::run_without_init_if_asked();
    program::main()
}

mod program {
    #[wren::main]
    pub(super) async fn main() -> std::process::ExitCode {
        super::run().await
    }
}

async fn run() -> ExitCode {
    if let Some(code) = drivers::drive_if_asked().await {
        return code;
    }
    drivers::restore_signals();
    // The `main` of the usual test runner cannot become a worker.
    let mut arguments = libtest_mimic::Arguments::from_args();
    // Tests kill workers of this process, and must not kill those of other tests.
    arguments.test_threads = Some(1);
    let mut trials: Vec<_> = [
        calls::trials(),
        failures::trials(),
        flow::trials(),
        jobs::trials(),
        large::trials(),
        logging::trials(),
        panics::trials(),
        phases::trials(),
        drivers::trials(),
        places::trials(),
        processes::trials(),
        replay::trials(),
        screens::trials(),
        shared::trials(),
        terminal::trials(),
        threads::trials(),
        torture::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    #[cfg(feature = "data")]
    trials.extend(data::trials());
    let run = std::thread::spawn(move || libtest_mimic::run(&arguments, trials));
    match run.join() {
        Ok(conclusion) => {
            if !conclusion.has_failed() {
                let _ = fs::remove_dir_all(scratch_root());
            }
            conclusion.exit_code()
        }
        Err(_) => ExitCode::FAILURE,
    }
}
