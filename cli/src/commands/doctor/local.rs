//! The checks of this machine: a worker process, the store, and limits.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};
use wren::Executor;
use wren::store::FileStore;

use super::Checks;

/// Number of open files below which a large pool of workers may not start. Each worker needs a few.
const FEW_FILES: u64 = 512;

/// Free bytes on the store's disk below which large values and results may not fit.
const LITTLE_SPACE: u64 = 1 << 30;

/// Runs in the worker process.
#[wren::remote]
fn answer(question: Vec<u8>) -> usize {
    question.len()
}

pub(super) fn check(checks: &mut Checks, directory: &Path) {
    worker_check(checks);
    store_check(checks, directory);
    limits_check(checks);
}

/// Starts a worker process and calls a function in it, with an argument that goes through shared memory.
fn worker_check(checks: &mut Checks) {
    const NAME: &str = "workers";
    const QUESTION: usize = 1 << 20;
    let started = Instant::now();
    let call = || -> Result<usize> {
        let executor = Executor::builder().backend("local").workers(1).store("memory:").build()?;
        Ok(wren::block_on(async { answer(vec![1; QUESTION]).on(&executor).await })?)
    };
    match call() {
        Ok(QUESTION) => {
            let took = started.elapsed();
            checks.ok(NAME, format!("a worker process started, and answered over shared memory in {took:.1?}"));
        }
        Ok(other) => checks.fail(
            NAME,
            format!("a worker process received {other} of {QUESTION} bytes"),
            "check the memory of this machine",
        ),
        Err(error) => checks.broken(NAME, &error.context("a worker process cannot run a call")),
    }
}

fn store_check(checks: &mut Checks, directory: &Path) {
    const NAME: &str = "store";
    let url = match Executor::builder().backend("inline").build() {
        Ok(executor) => executor.store().url(),
        Err(error) => return checks.broken(NAME, &error.into()),
    };
    let Some(folder) = FileStore::folder_of(&url) else { return checks.ok(NAME, url) };
    let is_default = folder.parent() == Some(directory);
    match free_space(&folder) {
        Ok(free) if free < LITTLE_SPACE => checks.warn(
            NAME,
            format!("{} has {} MB of free space", folder.display(), free >> 20),
            "remove what old jobs left with `cargo wren clean`, or set WREN_STORE to another folder",
        ),
        Ok(free) => checks.ok(NAME, format!("{}, {} GB free", folder.display(), free >> 30)),
        Err(error) => {
            let fix = if is_default { "; set WREN_DIR to a folder that you can write to" } else { "; set WREN_STORE" };
            checks.broken(NAME, &error.context(format!("cannot write to {}{fix}", folder.display())));
        }
    }
}

/// Returns the free space in a folder, or in the one that it would be created in. Fails if that cannot be written to.
fn free_space(folder: &Path) -> Result<u64> {
    let existing = folder.ancestors().find(|folder| folder.exists()).context("no part of the path exists")?;
    access(existing, Access::WRITE_OK | Access::EXEC_OK)?;
    let disk = statvfs(existing)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn limits_check(checks: &mut Checks) {
    const NAME: &str = "limits";
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let files = getrlimit(Resource::Nofile).current;
    let text = |files: &str| format!("{processors} processors, {files} open files");
    match files {
        Some(files) if files < FEW_FILES => {
            checks.warn(NAME, text(&files.to_string()), "allow more open files, as in `ulimit -n 4096`");
        }
        Some(files) => checks.ok(NAME, text(&files.to_string())),
        None => checks.ok(NAME, text("any number of")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_needs_a_folder_that_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_space(&folder.path().join("a/b")).unwrap() > 0);
        assert!(!folder.path().join("a").exists(), "nothing is created");
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(free_space(&folder.path().join("file/b")).is_err());
    }
}
