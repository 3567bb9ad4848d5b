//! Programs and functions that fork, exec, close descriptors, or leave children behind.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rayon::prelude::*;
use wren::{Error, Executor};

use super::drivers::{DRIVE, driver, executor_in};
use super::{FOREVER_MS, PATIENCE, add, all_children_of, children_of, scratch, slow_pid, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_forked_driver_gets_errors_and_is_harmless,
        only_the_worker_returns_from_a_fork,
        children_do_not_hide_the_end_of_their_worker,
        functions_may_close_any_descriptor,
        a_function_that_execs_ends_its_worker,
        started_processes_end_with_their_call,
        started_processes_do_not_outlive_the_driver,
        calls_are_charged_for_own_and_child_memory,
        ended_calls_do_not_return_an_ended_childs_result,
        grown_workers_are_replaced,
        a_pool_works_with_the_workers_it_can_start,
        workers_killed_before_their_first_call_are_restarted,
        workers_that_do_not_start_are_clear_errors,
        garbage_in_the_channel_hangs_no_call,
        calls_from_any_thread_of_a_function_end,
        threads_waiting_for_calls_run_them,
        calls_at_program_exit_are_answered,
        idle_workers_end_and_restart,
        workers_are_replaced_at_their_call_limit,
        workers_have_the_environment_of_pool_creation,
    ]
}

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(code: i32) -> !;
}

async fn idle_workers_end_and_restart() {
    // Much longer than the pause between two calls on a busy machine.
    let idle = Duration::from_secs(1);
    let executor = Executor::builder().backend("local").workers(2).idle_timeout(idle).build().unwrap();
    let run = || wren::map(slow_pid, [500, 500]).on(&executor).quiet();
    let first = run().await.unwrap();
    let mine = |pids: &[u32]| children_of(std::process::id()).into_iter().filter(|pid| pids.contains(pid)).count();
    assert_eq!(mine(&first), 2);
    // A worker that is used stays, and the idle one ends.
    let started = Instant::now();
    let mut used = Vec::new();
    while started.elapsed() < 2 * idle || mine(&first) > 1 {
        assert!(started.elapsed() < PATIENCE, "the idle worker does not end");
        used.push(slow_pid(20).on(&executor).await.unwrap());
    }
    assert!(used.iter().all(|pid| *pid == used[0]) && first.contains(&used[0]), "{used:?} of {first:?}");
    let started = Instant::now();
    while mine(&first) > 0 {
        assert!(started.elapsed() < PATIENCE, "the workers do not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let again = run().await.unwrap();
    assert!(again.iter().all(|pid| !first.contains(pid)));
}

async fn workers_are_replaced_at_their_call_limit() {
    for (most, workers) in [(1, 1), (3, 2), (10, 2)] {
        let executor = Executor::builder().backend("local").workers(workers).max_calls(most).build().unwrap();
        let pids = wren::map(slow_pid, vec![0; 50]).on(&executor).quiet().await.unwrap();
        let mut calls = std::collections::BTreeMap::<u32, u64>::new();
        pids.iter().for_each(|pid| *calls.entry(*pid).or_default() += 1);
        assert!(calls.values().all(|calls| *calls <= most), "at most {most}: {calls:?}");
        for _ in 0..most + 1 {
            let pid = slow_pid(0).on(&executor).await.unwrap();
            let calls = calls.entry(pid).or_default();
            *calls += 1;
            assert!(*calls <= most, "{pid} ran {calls} calls");
        }
    }
}

async fn a_forked_driver_gets_errors_and_is_harmless() {
    driver("forks", &scratch("forks")).output();
}

/// Runs in the driver.
pub(crate) async fn fork_and_go_on(folder: &Path) -> wren::Result<()> {
    let executor = executor_in(folder);
    let stored = wren::put(&"stored".to_owned()).on(&executor).await?;
    assert_eq!(add(1, 2).on(&executor).await?, 3);
    let mut started = Box::pin(add(3, 4).on(&executor));
    for round in 0..7 {
        let mut under_way = wren::map(|i| add(i, round), 0..200_000).on(&executor).quiet().stream();
        assert!(under_way.next().await.is_some());
        // SAFETY: the child only makes calls that return errors, takes no lock of its parent, and exits.
        let child = unsafe { fork() };
        if child == 0 {
            in_the_fork(&executor, &stored, &mut started).await;
            // SAFETY: everything that would be cleaned up belongs to the parent.
            unsafe { _exit(0) };
        }
        let mut sum = 0;
        let mut count = 1;
        while let Some((_, outcome)) = under_way.next().await {
            sum += outcome?;
            count += 1;
        }
        assert!(count == 200_000 && sum > 0);
        let again = wren::map(|i| add(i, round), 0..200_000).on(&executor).quiet().await?;
        assert!(again.into_iter().eq((0..200_000).map(|i| i + round)), "round {round}");
        let mut status = 0;
        // SAFETY: the status is a local variable.
        let waited = unsafe { waitpid(child, &raw mut status, 0) };
        assert_eq!((waited, status), (child, 0), "the fork gets the expected errors");
    }
    assert_eq!(started.await?, 7);
    Ok(())
}

async fn in_the_fork(
    executor: &wren::Executor,
    stored: &wren::Ref<String>,
    started: &mut (impl Future<Output = wren::Result<u64>> + Unpin),
) {
    let refused = |error: wren::Error| {
        assert!(error.to_string().contains("forked from one that had already called wren"), "{error}")
    };
    let sums = || wren::map(|i| add(i, 1), 0..5).on(executor);
    refused(add(1, 2).await.unwrap_err());
    refused(add(1, 2).on(executor).await.unwrap_err());
    refused(started.await.unwrap_err());
    refused(sums().await.unwrap_err());
    refused(sums().named("forked").await.unwrap_err());
    refused(sums().refs().await.unwrap_err());
    refused(sums().stream().next().await.unwrap().1.unwrap_err());
    refused(sums().start().await.unwrap_err());
    refused(wren::attach::<u64>("any").await.unwrap_err());
    refused(wren::put(&1).on(executor).await.unwrap_err());
    refused(stored.get().await.unwrap_err());
    refused(stored.get_blocking().unwrap_err());
    refused(wren::Executor::builder().build().unwrap_err());
    drop(executor.clone());
}

#[wren::remote]
fn fork_and_return() -> u32 {
    // SAFETY: this is a mistake on purpose: both processes continue.
    unsafe { fork() };
    std::process::id()
}

async fn only_the_worker_returns_from_a_fork() {
    let executor = wren::Executor::builder().backend("local").workers(2).build().unwrap();
    for _ in 0..20 {
        let pids = wren::gather((0..3).map(|_| fork_and_return())).on(&executor).quiet().await.unwrap();
        assert_eq!(pids.len(), 3);
    }
    let sums = wren::map(|i| add(i, 1), 0..100_000).on(&executor).quiet().await.unwrap();
    assert!(sums.into_iter().eq(1..100_001));
}

#[wren::remote]
fn fork_and_abort(ms: u64) -> u32 {
    // SAFETY: the child only sleeps and exits.
    unsafe {
        if fork() == 0 {
            std::thread::sleep(Duration::from_millis(ms));
            _exit(0);
        }
    }
    std::process::abort()
}

async fn children_do_not_hide_the_end_of_their_worker() {
    let executor = pool(1);
    let started = Instant::now();
    let died = fork_and_abort(FOREVER_MS).on(&executor).await.unwrap_err();
    assert!(matches!(died, Error::WorkerDied { .. }), "{died}");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

fn pool(workers: usize) -> wren::Executor {
    wren::Executor::builder().backend("local").workers(workers).build().unwrap()
}

unsafe extern "C" {
    fn close(fd: i32) -> i32;
}

/// Closes all descriptors, as daemons and C libraries do. Then opens files, which get the numbers of closed ones.
#[wren::remote]
fn close_all(path: &Path, from: i32) -> std::io::Result<u64> {
    // SAFETY: this is a mistake on purpose: the owners of the descriptors are unknown.
    (from..1024).for_each(|fd| {
        // SAFETY: as above.
        unsafe { close(fd) };
    });
    let files: Vec<fs::File> = (0..1000).map_while(|_| fs::File::create(path).ok()).collect();
    std::thread::sleep(Duration::from_millis(50));
    files.into_iter().for_each(std::mem::forget);
    Ok(fs::metadata(path)?.len())
}

async fn functions_may_close_any_descriptor() {
    let executor = pool(1);
    let folder = scratch("closes");
    for round in 0..3 {
        let file = folder.join(round.to_string());
        let written = tokio::time::timeout(PATIENCE, close_all(&file, 3).on(&executor)).await;
        assert_eq!(written.unwrap().unwrap(), 0);
        // Another worker takes the next call, and wren has not written into the file.
        assert_eq!(add(1, 2).on(&executor).await.unwrap(), 3);
        assert_eq!(fs::metadata(&file).unwrap().len(), 0, "wren wrote into a function's file");
    }
    // If standard output and standard error are closed too, the driver must not try to read them in a busy loop.
    close_all(&folder.join("all"), 1).on(&executor).timeout(PATIENCE).await.unwrap();
    let before = processor_ms();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(processor_ms() - before < 100, "the driver spins: {} ms", processor_ms() - before);
}

/// Returns the processor time of this process in milliseconds.
fn processor_ms() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<u64> =
        stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2).map(|field| field.parse().unwrap()).collect();
    10 * fields.iter().sum::<u64>()
}

#[wren::remote]
fn exec(seconds: u32) -> u32 {
    use std::os::unix::process::CommandExt;
    let error = Command::new("sleep").arg(seconds.to_string()).exec();
    panic!("{error}")
}

async fn a_function_that_execs_ends_its_worker() {
    let executor = pool(1);
    let limit = Duration::from_millis(300);
    let slow = exec(7_100).on(&executor).timeout(limit).await.unwrap_err();
    assert!(matches!(slow, Error::TimedOut { .. }), "{slow}");
    let ended = exec(0).on(&executor).await.unwrap_err();
    assert!(matches!(ended, Error::WorkerDied { .. }), "{ended}");
    assert_eq!(add(1, 2).on(&executor).await.unwrap(), 3);
    assert_eq!(running(&["sleep", "7100"]), 0);
}

/// Returns the number of processes that run with these arguments.
fn running(args: &[&str]) -> usize {
    let is_one = |entry: fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).filter(|part| !part.is_empty()).eq(args.iter().map(|arg| arg.as_bytes()))
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| is_one(entry).then_some(())).count()
}

fn assert_none_runs(args: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    while running(args) > 0 {
        assert!(Instant::now() < deadline, "{args:?} is still running");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a process in the worker's group, and one in its own session whose parent has exited. Then does what `then`
/// requests.
#[wren::remote]
fn start(seconds: u32, then: &str, path: &Path) -> std::io::Result<u32> {
    let script = format!("(setsid sleep {seconds} &) ; exec sleep {seconds}");
    let mut child = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).spawn()?;
    while running(&["sleep", &seconds.to_string()]) < 2 {
        std::thread::sleep(Duration::from_millis(2));
    }
    super::note(path, seconds.into())?;
    match then {
        "waits" => drop(child.wait()?),
        "aborts" => std::process::abort(),
        "panics" => panic!("on purpose"),
        _ => {}
    }
    Ok(child.id())
}

async fn started_processes_end_with_their_call() {
    let executor = pool(2);
    let notes = scratch("starts").join("notes");
    start(7_201, "returns", &notes).on(&executor).await.unwrap();
    assert_none_runs(&["sleep", "7201"]);
    start(7_202, "panics", &notes).on(&executor).await.unwrap_err();
    assert_none_runs(&["sleep", "7202"]);
    start(7_203, "aborts", &notes).on(&executor).await.unwrap_err();
    assert_none_runs(&["sleep", "7203"]);
    start(7_204, "waits", &notes).on(&executor).timeout(Duration::from_millis(500)).await.unwrap_err();
    assert_none_runs(&["sleep", "7204"]);
    let dropped = start(7_205, "waits", &notes).on(&executor);
    assert!(tokio::time::timeout(Duration::from_millis(500), dropped).await.is_err());
    assert_none_runs(&["sleep", "7205"]);
    // The functions do not wait for these processes, but they leave no zombies.
    wren::map(|_| start_true(), 0..50).on(&executor).quiet().await.unwrap();
    let workers = children_of(std::process::id());
    let zombies = workers.iter().flat_map(|worker| all_children_of(*worker)).count();
    assert_eq!(zombies, 0);
    let started = start(7_206, "waits", &notes).on(&executor);
    let started = tokio::time::timeout(Duration::from_millis(300), started).await;
    assert!(started.is_err());
    drop(executor);
    assert_none_runs(&["sleep", "7206"]);
}

#[wren::remote]
fn start_true() -> std::io::Result<u32> {
    Ok(Command::new("true").spawn()?.id())
}

/// Runs in a driver that is killed from outside.
pub(crate) async fn start_and_wait(folder: &Path) -> wren::Result<()> {
    let seconds = std::env::var("SECONDS").unwrap().parse().unwrap();
    start(seconds, "waits", &folder.join("notes")).on(&executor_in(folder)).await.map(drop)
}

async fn started_processes_do_not_outlive_the_driver() {
    use rustix::process::Signal;
    for (number, signal) in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL].into_iter().enumerate() {
        let folder = scratch("outlives");
        let seconds = (7_300 + number).to_string();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(DRIVE, "starts").env("SECONDS", &seconds).env("WREN_DIR", &folder).stderr(Stdio::null());
        let mut child = super::drivers::Driver(command.spawn().unwrap());
        while super::notes(&folder.join("notes")).is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(running(&["sleep", &seconds]), 2);
        rustix::process::kill_process(rustix::process::Pid::from_child(&child.0), signal).unwrap();
        child.0.wait().unwrap();
        assert_none_runs(&["sleep", &seconds]);
    }
    // A program that has replaced the worker itself ends too.
    let folder = scratch("outlives");
    let mut child = driver("execs", &folder);
    while running(&["sleep", "7310"]) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill();
    assert_none_runs(&["sleep", "7310"]);
}

/// Runs in a driver whose worker becomes another program.
pub(crate) async fn exec_and_wait(folder: &Path) -> wren::Result<()> {
    exec(7_310).on(&executor_in(folder)).await.map(drop)
}

static KEPT: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());

#[wren::remote]
fn keep(mb: usize) -> usize {
    let mut kept = KEPT.lock().unwrap();
    kept.resize(mb << 20, 1);
    kept.len()
}

#[wren::remote(memory = 100)]
fn small(ms: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(ms));
    std::process::id()
}

#[wren::remote(memory = 100)]
fn map_file(path: &Path) -> std::io::Result<u64> {
    // SAFETY: no process changes the file.
    let map = unsafe { memmap2::Mmap::map(&fs::File::open(path)?)? };
    let sum = map.iter().step_by(1024).map(|byte| u64::from(*byte)).sum();
    std::thread::sleep(Duration::from_millis(50));
    Ok(sum)
}

#[wren::remote(memory = 100)]
fn child_takes(mb: u32) -> std::io::Result<String> {
    let script = format!("x = bytearray({mb} << 20); import time; time.sleep(60); print(len(x))");
    let output = Command::new("python3").args(["-c", &script]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn calls_are_charged_for_own_and_child_memory() {
    let executor = pool(1);
    keep(300).on(&executor).memory(4_000).await.unwrap();
    small(50).on(&executor).await.expect("memory of an earlier call does not count");
    let file = scratch("mapped").join("file");
    fs::write(&file, vec![1; 300 << 20]).unwrap();
    assert_eq!(
        map_file(&file).on(&executor).await.expect("mapped files do not count, because the kernel can reclaim them"),
        300 << 10
    );
    fs::remove_file(&file).unwrap();
    let full = child_takes(600).on(&executor).await.unwrap_err();
    assert!(matches!(full, Error::OutOfMemory { .. }), "{full}");
}

async fn ended_calls_do_not_return_an_ended_childs_result() {
    let executor = pool(2);
    let limit = Duration::from_millis(50);
    for _ in 0..40 {
        let outcome = wait_for_child().on(&executor).timeout(limit).await;
        assert!(matches!(outcome, Err(Error::TimedOut { .. })), "{outcome:?}");
    }
}

/// Returns the exit status of its child.
#[wren::remote]
fn wait_for_child() -> std::io::Result<String> {
    Ok(Command::new("sleep").arg("20").status()?.to_string())
}

async fn grown_workers_are_replaced() {
    let executor = pool(1);
    let mut workers = std::collections::BTreeMap::new();
    // No call takes much memory, but all together would take 300 MB.
    for _ in 0..30 {
        *workers.entry(leak(10).on(&executor).await.unwrap()).or_insert(0) += 1;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(workers.len() > 1 && workers.values().all(|calls| *calls <= 10), "{workers:?}");
}

#[wren::remote(memory = 100)]
fn leak(mb: usize) -> u32 {
    vec![1u8; mb << 20].leak();
    std::process::id()
}

async fn a_pool_works_with_the_workers_it_can_start() {
    let output = limited("ulimit -n 64; exec \"$0\"", "many", &[]);
    assert!(output.contains("all are right"), "{output}");
}

/// Runs this program as a driver with a shell script, and returns its output.
fn limited(script: &str, what: &str, variables: &[(&str, &str)]) -> String {
    let folder = scratch(what);
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap()).env(DRIVE, what).env("WREN_DIR", &folder);
    command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs in a driver with few descriptors.
pub(crate) async fn many() -> wren::Result<()> {
    let executor = pool(16);
    let sums = wren::map(|i| add(i, 1), 0..20_000).on(&executor).quiet().await?;
    assert!(sums.into_iter().eq(1..20_001));
    println!("all are right");
    Ok(())
}

async fn workers_killed_before_their_first_call_are_restarted() {
    let executor = pool(2);
    let this = std::process::id();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_done = done.clone();
    let killer = std::thread::spawn(move || {
        let before = children_of(this);
        let mut longest_pause = 30;
        while !is_done.load(std::sync::atomic::Ordering::Acquire) {
            for child in children_of(this).into_iter().filter(|child| !before.contains(child)) {
                // Most of them at once, before they take a call, and others later.
                let pid = rustix::process::Pid::from_raw(i32::try_from(child).unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(fastrand::u64(0..longest_pause)));
            // On a busy machine, too, some workers live long enough to start and to take calls.
            longest_pause += 2;
        }
    });
    let sums = wren::map(|i| add(i, 1), 0..20_000).on(&executor).quiet().try_all().await;
    done.store(true, std::sync::atomic::Ordering::Release);
    killer.join().unwrap();
    let sums = sums.unwrap();
    assert_eq!(sums.len(), 20_000);
    // Only a task whose worker was killed in all of its three attempts has failed.
    let failed = sums.iter().filter(|sum| sum.is_err()).count();
    assert!(failed < 20, "{failed} failed: {:?}", sums.iter().find(|sum| sum.is_err()));
}

async fn workers_that_do_not_start_are_clear_errors() {
    let ends = limited("exec \"$0\"", "one", &[("BEFORE_INIT", "ends")]);
    assert!(ends.contains("ended before their first call") && ends.contains("standard error: cannot"), "{ends}");
    let reads = limited("echo 4 | exec \"$0\"", "one", &[("BEFORE_INIT", "reads")]);
    assert!(reads.contains("all are right"), "{reads}");
    let sleeps = limited("exec \"$0\"", "one", &[("BEFORE_INIT", "sleeps")]);
    assert!(sleeps.contains("did not reach `wren::init()` within 20 seconds"), "{sleeps}");
}

/// Runs before the program calls `init`, if a test requests that.
pub(crate) fn before_init() {
    let is_worker = std::env::var_os("WREN_WORKER").is_some();
    match std::env::var("BEFORE_INIT").as_deref() {
        Ok("ends") if is_worker => {
            eprintln!("cannot continue");
            std::process::exit(1)
        }
        Ok("reads") => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            assert_eq!(line, if is_worker { "" } else { "4\n" });
        }
        Ok("sleeps") if is_worker => std::thread::sleep(Duration::from_secs(1000)),
        _ => {}
    }
}

/// Runs in a driver whose workers do not start correctly.
pub(crate) async fn one() -> wren::Result<()> {
    let executor = pool(1);
    match add(1, 2).on(&executor).await {
        Ok(_) => println!("all are right"),
        Err(error) => println!("{error}"),
    }
    Ok(())
}

/// Acts like a wild pointer: overwrites the results in the memory that the worker shares with its driver with garbage.
#[wren::remote]
fn scribble(seed: u64) -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let ranges = maps.lines().filter(|line| line.contains("memfd:wren")).map(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        [start, end].map(|address| usize::from_str_radix(address, 16).unwrap())
    });
    // The larger mapping is the channel: a page of positions, then the ring to the worker, then that to the driver.
    let [start, end] = ranges.max_by_key(|[start, end]| end - start).unwrap();
    let ring = start + 4096 + (end - start - 4096) / 2;
    std::thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(seed);
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(20) {
            for offset in 0..4096 {
                // SAFETY: this is a mistake on purpose, within the mapping. No code relies on the content.
                unsafe { ((ring + offset) as *mut u8).write_volatile(random.u8(..)) };
            }
        }
    });
    std::thread::sleep(Duration::from_millis(1));
    seed
}

async fn garbage_in_the_channel_hangs_no_call() {
    let mut refused = 0;
    // Repeats until the garbage is noticed: on a busy machine, it is often written after the results were read.
    for seed in 0..500 {
        if seed >= 20 && refused > 0 {
            break;
        }
        let executor = pool(1);
        let ended = tokio::time::timeout(PATIENCE, scribble(seed).on(&executor)).await;
        refused += u32::from(ended.expect("the call ends").is_err());
        let sum = tokio::time::timeout(PATIENCE, add(1, 2).on(&executor)).await;
        assert!(sum.is_ok(), "a later call ends");
    }
    assert!(refused > 0, "the garbage was never noticed");
}

/// Calls itself, each time from a different kind of thread.
#[wren::remote]
async fn nest(depth: u32) -> wren::Result<u32> {
    if depth == 0 {
        return Ok(1);
    }
    let inner = match depth % 4 {
        0 => std::thread::spawn(move || wren::block_on(nest_again(depth - 1))).join().unwrap(),
        1 => tokio::task::spawn_blocking(move || wren::block_on(nest_again(depth - 1))).await.unwrap(),
        2 => nest_again(depth - 1).await,
        _ => {
            let mut sum = Ok(0);
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| wren::block_on(nest_again(depth - 1)))).collect();
                for thread in threads {
                    sum = sum.clone().and_then(|sum| Ok(sum + thread.join().unwrap()?));
                }
            });
            sum
        }
    };
    Ok(inner? + 1)
}

fn nest_again(depth: u32) -> wren::Call<u32> {
    nest(depth)
}

/// Runs a map from another thread. The map does not use a thread for each of its calls.
#[wren::remote]
fn map_elsewhere(count: u64) -> wren::Result<u64> {
    let map = move || wren::block_on(wren::map(|x| add(x, 1), 0..count).quiet().into_future());
    Ok(std::thread::spawn(map).join().unwrap()?.into_iter().sum())
}

/// All of rayon's threads wait for calls that need rayon's threads.
#[wren::remote]
fn on_rayon(depth: u32) -> wren::Result<u64> {
    if depth == 0 {
        return Ok(1);
    }
    (0..6u32).into_par_iter().map(|_| wren::block_on(on_rayon_again(depth - 1))).sum()
}

fn on_rayon_again(depth: u32) -> wren::Call<u64> {
    on_rayon(depth)
}

/// Does the same with maps, and with calls that have a time limit, which run on their own threads.
#[wren::remote]
fn maps_on_rayon(depth: u32) -> wren::Result<u64> {
    let of_one = |i: u32| -> wren::Result<u64> {
        let limit = Duration::from_millis(20);
        let late = wren::block_on(slow_pid(10_000).timeout(limit));
        assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
        let below = if depth == 0 {
            wren::block_on(wren::map(|x| add(x, 1), 0..100).quiet())?
        } else {
            wren::block_on(wren::map(|_| maps_on_rayon_again(depth - 1), 0..2).quiet())?
        };
        Ok(below.into_iter().sum::<u64>() + u64::from(i))
    };
    (0..3u32).into_par_iter().map(of_one).sum()
}

fn maps_on_rayon_again(depth: u32) -> wren::Call<u64> {
    maps_on_rayon(depth)
}

async fn threads_waiting_for_calls_run_them() {
    for executor in [pool(1), Executor::builder().backend("inline").workers(2).build().unwrap()] {
        let count = tokio::time::timeout(PATIENCE, on_rayon(3).on(&executor)).await;
        assert_eq!(count.expect("the call ends").unwrap(), 6 * 6 * 6);
        let sum = tokio::time::timeout(PATIENCE, maps_on_rayon(1).on(&executor)).await;
        assert_eq!(sum.expect("the call ends").unwrap(), 3 * 2 * (3 * 5_050 + 3) + 3);
    }
}

/// Runs in a driver that makes another call after its `main` has returned.
pub(crate) async fn call_at_exit() -> wren::Result<()> {
    extern "C" fn call() {
        println!("at exit: {:?}", wren::block_on(add(1, 2)));
    }
    assert_eq!(add(0, 1).await?, 1);
    // SAFETY: the function exists as long as the program.
    assert_eq!(unsafe { libc::atexit(call) }, 0);
    Ok(())
}

async fn calls_at_program_exit_are_answered() {
    let output = limited("unset WREN_DIR; exec \"$0\"", "at exit", &[]);
    assert!(output.contains("at exit: Ok(3)"), "{output}");
}

static IN_WORKER: std::sync::LazyLock<Executor> =
    std::sync::LazyLock::new(|| Executor::builder().backend("inline").workers(1).build().unwrap());

/// Calls itself on an executor in the worker, each time from a new thread.
#[wren::remote]
fn in_worker(depth: u32) -> wren::Result<u32> {
    if depth == 0 {
        return Ok(0);
    }
    let call = move || wren::block_on(in_worker_again(depth - 1).on(&IN_WORKER));
    Ok(std::thread::spawn(call).join().unwrap()? + 1)
}

fn in_worker_again(depth: u32) -> wren::Call<u32> {
    in_worker(depth)
}

async fn calls_from_any_thread_of_a_function_end() {
    let executor = pool(1);
    let model = |depth| (1..=depth).fold(1u32, |inner, depth| if depth % 4 == 3 { 4 * inner + 1 } else { inner + 1 });
    for depth in [1, 3, 6, 11] {
        let sum = tokio::time::timeout(PATIENCE, nest(depth).on(&executor)).await;
        assert_eq!(sum.expect("the call ends").unwrap(), model(depth));
    }
    let count = tokio::time::timeout(PATIENCE, in_worker(50).on(&executor)).await;
    assert_eq!(count.expect("the call ends").unwrap(), 50);
    let sum = tokio::time::timeout(PATIENCE, map_elsewhere(100_000).on(&executor)).await;
    assert_eq!(sum.expect("the call ends").unwrap(), (1..=100_000).sum::<u64>());
    let many = wren::Executor::builder().workers(usize::MAX).build().map(drop).unwrap_err();
    assert!(matches!(&many, Error::Config(why) if why.contains("10000")), "{many}");
    let none = wren::Executor::builder().workers(0).build().map(drop).unwrap_err();
    assert!(matches!(&none, Error::Config(why) if why.contains("at least 1")), "{none}");
}

#[wren::remote]
fn surroundings(ms: u64) -> (u32, Option<String>, String) {
    std::thread::sleep(Duration::from_millis(ms));
    let folder = std::env::current_dir().map_or_else(|error| error.to_string(), |folder| folder.display().to_string());
    (std::process::id(), std::env::var("CHANGED").ok(), folder)
}

/// Runs in a driver that changes its environment and its working directory.
pub(crate) async fn change_surroundings(folder: &Path) -> wren::Result<()> {
    let here = folder.join("here");
    fs::create_dir(&here).unwrap();
    std::env::set_current_dir(&here).unwrap();
    let executor = pool(3);
    let first = surroundings(0).on(&executor).await?;
    // SAFETY: no other thread of this program reads the environment.
    unsafe { std::env::set_var("CHANGED", "yes") };
    std::env::set_current_dir("/").unwrap();
    let all = wren::map(surroundings, [50; 12]).on(&executor).quiet().await?;
    let workers: std::collections::BTreeSet<u32> = all.iter().map(|(pid, ..)| *pid).collect();
    assert!(workers.len() > 1, "other workers were started since");
    let same = |(_, changed, at): &(u32, Option<String>, String)| (changed, at) == (&first.1, &first.2);
    assert!(all.iter().all(same) && first.1.is_none() && first.2 == here.display().to_string(), "{all:?}");
    // A deleted working directory does no harm to calls that do not need it.
    std::env::set_current_dir(&here).unwrap();
    fs::remove_dir_all(&here).unwrap();
    assert_eq!(wren::map(|i| add(i, 1), 0..3).quiet().await?, [1, 2, 3]);
    assert_eq!(wren::map(|i| add(i, 1), 0..3).on(&pool(2)).quiet().await?, [1, 2, 3]);
    println!("all are right");
    Ok(())
}

async fn workers_have_the_environment_of_pool_creation() {
    let output =
        limited("unset WREN_DIR; exec \"$0\"", "surroundings", &[("PLACE", scratch("places").to_str().unwrap())]);
    assert!(output.contains("all are right"), "{output}");
}
