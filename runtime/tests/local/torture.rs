//! A named job whose workers and drivers are killed again and again, in containers, with few descriptors, and with
//! functions that leave processes behind. It ends with the right results, and no process is left.
//!
//! `make test` runs it for a few seconds, and `make torture` for ten minutes. TORTURE_SEED repeats a run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};

use super::drivers::{DRIVE, Driver, executor_in};
use super::{note, notes, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![nothing_is_lost_or_left_despite_crashes]
}

/// Longest time that one job may take, with all its drivers.
const PATIENCE: Duration = Duration::from_secs(120);

#[wren::remote]
fn tortured(task: u64, seed: u64, path: &Path) -> std::io::Result<(u64, Vec<u8>)> {
    note(path, task)?;
    let mut random = fastrand::Rng::with_seed(seed ^ task);
    match random.u8(..20) {
        0 => drop(Command::new("sleep").arg("7777").spawn()?),
        1 => drop(Command::new("setsid").args(["sleep", "7777"]).spawn()?),
        2..6 => std::thread::sleep(Duration::from_micros(random.u64(..3_000))),
        _ => {}
    }
    Ok((task * task, result(task, seed)))
}

/// Returns a few bytes, or many.
fn result(task: u64, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(31) ^ task);
    let len = if random.u8(..40) == 0 { random.usize(..300_000) } else { random.usize(..40) };
    vec![task as u8; len]
}

/// Runs in each driver.
pub(crate) async fn drive(folder: &Path) -> wren::Result<()> {
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (seed, tasks) = (number("SEED"), number("TASKS"));
    let map = wren::map(|task| tortured(task, seed, &folder.join("notes")), 0..tasks).on(&executor_in(folder)).quiet();
    let all = map.named("tortured").await?;
    assert!(all.into_iter().eq((0..tasks).map(|task| (task * task, result(task, seed)))));
    Ok(())
}

async fn nothing_is_lost_or_left_despite_crashes() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let limit = Duration::from_secs(number("TORTURE_SECONDS").unwrap_or(5));
    let first = number("TORTURE_SEED").unwrap_or_else(|| fastrand::u64(..1 << 40));
    let start = Instant::now();
    for seed in first.. {
        torture(seed);
        if start.elapsed() > limit || number("TORTURE_SEED").is_some() {
            return;
        }
    }
}

fn torture(seed: u64) {
    let folder = scratch(&format!("torture-{seed}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let tasks = random.u64(50..2_000);
    let start = Instant::now();
    let mut drivers = 0;
    loop {
        drivers += 1;
        assert!(start.elapsed() < PATIENCE, "seed {seed}: {drivers} drivers have not finished the job");
        let script = match random.u8(..4) {
            0 => "ulimit -n 64; exec \"$0\"",
            1 => "exec unshare --pid --fork --mount sh -c 'mount -t proc proc /proc; exec \"$0\"' \"$0\"",
            _ => "exec \"$0\"",
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .env(DRIVE, "tortured")
            .env("WREN_DIR", &folder);
        command.env("SEED", seed.to_string()).env("TASKS", tasks.to_string());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut driver = Driver(command.spawn().unwrap());
        let dies_at = (random.u8(..3) > 0).then(|| Instant::now() + Duration::from_millis(random.u64(1..400)));
        let mut kills = random.u32(..8);
        let mut killed = Instant::now();
        let succeeded = loop {
            std::thread::sleep(Duration::from_millis(random.u64(5..50)));
            if let Some(status) = driver.0.try_wait().unwrap() {
                break status.success();
            }
            assert!(start.elapsed() < PATIENCE, "seed {seed}: a driver hangs");
            let all = processes_of(&folder);
            let workers: Vec<i32> = all.iter().filter(|(_, is_worker)| *is_worker).map(|(pid, _)| *pid).collect();
            if kills > 0 && !workers.is_empty() {
                (kills, killed) = (kills - 1, Instant::now());
                kill(workers[random.usize(..workers.len())], Signal::KILL);
            }
            // If a worker and its driver are killed shortly after each other, the processes that functions of the
            // worker put into their own sessions stay, because no process is left that knows of them.
            let is_known = killed.elapsed() > Duration::from_millis(200);
            if dies_at.is_some_and(|at| at < Instant::now()) && is_known {
                let signal = [Signal::KILL, Signal::TERM, Signal::INT][random.usize(..3)];
                all.iter().filter(|(_, is_worker)| !is_worker).for_each(|(pid, _)| kill(*pid, signal));
            }
        };
        assert_nothing_is_left(&folder, seed);
        if succeeded {
            break;
        }
    }
    let done: BTreeSet<u64> = notes(&folder.join("notes")).into_iter().collect();
    assert!(done.into_iter().eq(0..tasks), "seed {seed}: a task never ran");
    fs::remove_dir_all(folder).unwrap();
}

fn kill(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Returns the drivers of a folder and all processes that they started, and whether each is a worker or was started by
/// one.
fn processes_of(folder: &Path) -> Vec<(i32, bool)> {
    let mark = format!("WREN_DIR={}", folder.display());
    let of = |pid: i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let entries: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
        let is_worker = entries.iter().any(|entry| entry.starts_with(b"WREN_WORKER="));
        entries.contains(&mark.as_bytes()).then_some((pid, is_worker))
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(of).collect()
}

fn assert_nothing_is_left(folder: &Path, seed: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let left = processes_of(folder);
        if left.is_empty() {
            return;
        }
        let names: Vec<_> = left.iter().map(|(pid, _)| fs::read_to_string(format!("/proc/{pid}/cmdline"))).collect();
        assert!(Instant::now() < deadline, "seed {seed}: {left:?} are left: {names:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
