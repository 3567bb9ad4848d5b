//! The local backend with real worker processes, real signals and real files.

#![allow(clippy::unwrap_used, reason = "tests")]

mod bench {
    //! A test runner for programs with `wren::main`: cargo's own has a `main` that knows no workers.

    use std::future::Future;
    use std::pin::Pin;
    use std::time::Instant;

    type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

    /// Runs the tests whose names contain the first argument, prints as cargo's runner does.
    pub(crate) async fn run(tests: &[Test]) -> std::process::ExitCode {
        let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
        if std::env::args().any(|arg| arg == "--list") {
            tests.iter().for_each(|(name, _)| println!("{name}: test"));
            return std::process::ExitCode::SUCCESS;
        }
        let (mut passed, mut failed) = (0, 0);
        for (name, test) in tests.iter().filter(|(name, _)| name.contains(&filter)) {
            let start = Instant::now();
            let local = tokio::task::LocalSet::new();
            let result = local.run_until(async { tokio::task::spawn_local(test()).await }).await;
            let word = if result.is_ok() { "ok" } else { "FAILED" };
            println!("test {name} ... {word} ({:.2?})", start.elapsed());
            if result.is_ok() { passed += 1 } else { failed += 1 }
        }
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
        if failed == 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
    }

    macro_rules! tests {
        ($($name:ident),* $(,)?) => {
            &[$((stringify!($name), || Box::pin($name()))),*]
        };
    }
    pub(crate) use tests;
}

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use wren::{Error, Executor};

fn executor(workers: usize) -> Executor {
    Executor::builder().backend("local").workers(workers).store("memory:").build().unwrap()
}

#[wren::remote]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[wren::remote]
fn pid() -> u32 {
    std::process::id()
}

#[wren::remote]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// Ends in the given way at task 3 of its job, and notes each execution.
#[wren::remote(retries = 0)]
fn misbehave(task: u64, how: &str, notes: &Path) -> Result<u64, std::io::Error> {
    note(notes, task)?;
    if task == 3 {
        match how {
            "panic" => panic!("the third is {}", "bad"),
            "err" => return Err(std::io::Error::other("an inner cause")),
            "exit" => std::process::exit(17),
            "abort" => std::process::abort(),
            "overflow" => {
                overflow(1);
            }
            "kill" => kill(std::process::id()),
            _ => {}
        }
    }
    Ok(task)
}

#[allow(unconditional_recursion)]
fn overflow(n: u64) -> u64 {
    std::hint::black_box(overflow(std::hint::black_box(n) + 1) + n)
}

fn kill(pid: u32) {
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
    std::thread::sleep(Duration::from_secs(5));
}

fn note(path: &Path, task: u64) -> std::io::Result<()> {
    // One write, so that lines of two processes do not mix.
    fs::File::options().append(true).create(true).open(path)?.write_all(format!("{task}\n").as_bytes())
}

fn notes(path: &Path) -> Vec<u64> {
    fs::read_to_string(path).unwrap_or_default().lines().map(|line| line.parse().unwrap()).collect()
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("wren-test-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

async fn calls_run_in_other_processes() {
    let executor = executor(2);
    let other = pid().on(&executor).await.unwrap();
    assert_ne!(other, std::process::id());
    assert_eq!(add(2, 40).on(&executor).await.unwrap(), 42);
}

async fn a_map_gives_results_in_order() {
    let executor = executor(2);
    for n in [0, 1, 2, 10, 1_000, 100_000] {
        let sums = wren::map(|i| add(i, 1), 0..n).on(&executor).quiet().await.unwrap();
        assert!(sums.into_iter().eq(1..=n), "{n} tasks");
    }
}

async fn large_values_travel_whole() {
    let executor = executor(2);
    let value = |i: usize| (0..i * 1_000_003).map(|b| (b * i) as u8).collect::<Vec<u8>>();
    let values = wren::map(|i| echo(value(i)), 0..12).on(&executor).quiet().await.unwrap();
    assert!(values.into_iter().enumerate().all(|(i, v)| v == value(i)));
}

/// Every way to die is the error of the task that died, and all others finish.
async fn one_bad_task_is_one_error() {
    let folder = scratch("bad");
    for how in ["panic", "err", "exit", "abort", "overflow", "kill"] {
        let executor = executor(2);
        let path = folder.join(how);
        let outcomes =
            wren::map(|task| misbehave(task, how, &path), 0..20).on(&executor).quiet().try_all().await.unwrap();
        for (task, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(value) => assert_eq!(*value, task as u64),
                Err(error) => assert_eq!((task, error.attempt().unwrap().task), (3, 3), "{how}: {error}"),
            }
        }
        let error = outcomes.into_iter().nth(3).unwrap().unwrap_err();
        let executions = notes(&path).into_iter().filter(|task| *task == 3).count();
        match (how, &error) {
            ("panic", Error::Panicked { message, location, .. }) => {
                assert_eq!(message, "the third is bad");
                assert!(location.contains("local.rs:"), "{location}");
                assert_eq!(executions, 1);
            }
            ("err", Error::Returned { message, type_name, .. }) => {
                assert_eq!((message.as_str(), type_name.as_str()), ("an inner cause", "std::io::error::Error"));
                assert_eq!(executions, 1);
            }
            ("exit", Error::WorkerDied { exit_code: Some(17), .. })
            | ("abort", Error::WorkerDied { signal: Some(6), .. })
            | ("kill", Error::WorkerDied { signal: Some(9), .. }) => assert_eq!(executions, 3),
            ("overflow", Error::WorkerDied { signal: Some(6), attempt, .. }) => {
                assert!(attempt.stderr.contains("overflowed its stack"), "{}", attempt.stderr);
                assert_eq!((executions, attempt.attempt), (3, 3));
            }
            _ => panic!("{how} gave {error:?}"),
        }
    }
}

#[wren::remote(timeout = 0.2)]
fn sleep_ms(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

async fn a_task_over_its_time_is_ended() {
    let executor = executor(2);
    let times = [1, 2, 60_000, 3, 4];
    let start = Instant::now();
    let outcomes = wren::map(sleep_ms, times).on(&executor).quiet().try_all().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(20));
    for (ms, outcome) in times.into_iter().zip(outcomes) {
        match outcome {
            Ok(got) => assert!(got == ms && ms < 1_000),
            Err(Error::TimedOut { limit, attempt }) => {
                assert_eq!((limit, attempt.task, attempt.attempt), (Duration::from_millis(200), 2, 1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[wren::remote(memory = 200)]
fn allocate(mb: usize) -> usize {
    let mut held = Vec::new();
    for _ in 0..mb {
        held.push(vec![1u8; 1 << 20]);
        std::thread::sleep(Duration::from_micros(200));
    }
    held.iter().map(Vec::len).sum::<usize>() >> 20
}

async fn a_task_over_its_memory_is_ended() {
    let executor = executor(2);
    let outcomes = wren::map(allocate, [10, 5_000, 20]).on(&executor).quiet().try_all().await.unwrap();
    assert_eq!((outcomes[0].as_ref(), outcomes[2].as_ref()), (Ok(&10), Ok(&20)));
    match &outcomes[1] {
        Err(Error::OutOfMemory { limit_mb: 200, peak_mb, .. }) => assert!((200..1_000).contains(peak_mb), "{peak_mb}"),
        other => panic!("{other:?}"),
    }
}

/// Serializes as a number and refuses to be read.
#[derive(Debug)]
struct OneWay;

impl serde::Serialize for OneWay {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> serde::Deserialize<'de> for OneWay {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("it cannot be read"))
    }
}

#[wren::remote]
fn one_way(task: u64) -> Option<OneWay> {
    (task == 3).then_some(OneWay)
}

async fn a_result_that_cannot_be_decoded_is_one_error() {
    let executor = executor(2);
    let outcomes = wren::map(one_way, 0..10).on(&executor).quiet().try_all().await.unwrap();
    for (task, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(None) => assert_ne!(task, 3),
            Err(Error::BadResult { reason, .. }) => assert!(task == 3 && reason.contains("cannot be read"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[wren::remote]
fn slow_pid(ms: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(ms));
    std::process::id()
}

async fn killed_workers_lose_nothing() {
    let executor = executor(3);
    let killer = std::thread::spawn(|| {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..15 {
            std::thread::sleep(Duration::from_millis(25));
            let children = children_of(std::process::id());
            if let Some(pid) = random.choice(&children) {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
        }
    });
    let outcomes = wren::map(|_| slow_pid(2), 0..600).on(&executor).quiet().try_all().await.unwrap();
    killer.join().unwrap();
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!((outcomes.len(), failed), (600, 0));
}

/// The worker processes of a driver.
fn children_of(parent: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let after = stat.rsplit(") ").next().unwrap_or_default();
        let mut fields = after.split(' ');
        if fields.next() != Some("Z") && fields.next() == Some(&parent.to_string()) {
            children.push(pid);
        }
    }
    children
}

async fn a_dropped_call_is_cancelled_and_frees_its_worker() {
    let executor = executor(1);
    let start = Instant::now();
    let slow = tokio::time::timeout(Duration::from_millis(50), slow_pid(60_000).on(&executor)).await;
    assert!(slow.is_err());
    add(1, 1).on(&executor).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}

async fn faults_do_not_change_results() {
    let faults = wren::faults::Faults::seeded(7)
        .crash(0.01)
        .duplicate(0.05)
        .throttle(0.01)
        .delay(0.02, Duration::from_millis(20));
    let executor = Executor::builder().backend("local").workers(2).store("memory:").faults(faults).build().unwrap();
    let mut times = vec![0u32; 100_000];
    let mut stream = wren::map(|i| add(i, 7), 0..100_000).on(&executor).quiet().stream();
    while let Some((index, outcome)) = stream.next().await {
        times[index as usize] += 1;
        assert_eq!(outcome.unwrap(), index + 7);
    }
    assert!(times.into_iter().all(|n| n == 1), "each task is seen once");
}

async fn a_stream_over_an_endless_iterator_is_bounded() {
    let executor = executor(2);
    let taken = std::cell::Cell::new(0u64);
    let mut stream = wren::map(
        |i| {
            taken.set(taken.get() + 1);
            add(i, 1)
        },
        0..,
    )
    .on(&executor)
    .quiet()
    .stream();
    for _ in 0..1_000 {
        stream.next().await.unwrap().1.unwrap();
    }
    assert!(taken.get() < 400_000, "{} items were taken for 1,000 results", taken.get());
}

async fn a_ref_is_stored_once_and_reaches_workers() {
    for store in ["memory:".to_owned(), format!("file:{}", scratch("refs").display())] {
        let executor = Executor::builder().backend("local").workers(2).store(store).build().unwrap();
        let weights: Vec<f64> = (0..200_000).map(f64::from).collect();
        let model = wren::put(&weights).on(&executor).await.unwrap();
        let same = wren::put(&weights).on(&executor).await.unwrap();
        assert_eq!(model, same);
        let sums = wren::map(|i| weigh(model.clone(), i), 0..10).on(&executor).quiet().await.unwrap();
        assert_eq!(sums[9], 9.0 * weights.iter().sum::<f64>());
        let refs = wren::map(|i| echo(vec![i as u8; 10]), 0..5).on(&executor).quiet().refs().await.unwrap();
        assert_eq!(refs[4].get().await.unwrap(), [4; 10]);
        assert_eq!(executor.store().list("blobs/", None, 100).await.unwrap().len(), 6);
    }
}

#[wren::remote]
fn weigh(model: wren::Ref<Vec<f64>>, factor: u64) -> wren::Result<f64> {
    Ok(model.get_blocking()?.iter().sum::<f64>() * factor as f64)
}

#[wren::remote]
fn fibonacci(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    // Remote calls from inside a remote function, on every level.
    let calls = [n - 1, n - 2].map(stub_of_fibonacci);
    wren::block_on(wren::gather(calls)).unwrap().iter().sum()
}

fn stub_of_fibonacci(n: u32) -> wren::Call<u64> {
    // Inside `fibonacci`, its name is the original.
    fibonacci(n)
}

async fn nested_calls_do_not_block_a_full_pool() {
    let executor = executor(2);
    let all = wren::map(|_| fibonacci(8), 0..6).on(&executor).quiet().await.unwrap();
    assert_eq!(all, [21; 6]);
}

async fn a_started_job_is_waited_for_and_attached_to() {
    let folder = scratch("start");
    let executor = Executor::builder()
        .backend("local")
        .workers(2)
        .directory(&folder)
        .store(format!("file:{}", folder.join("store").display()))
        .build()
        .unwrap();
    let job = wren::map(|i| add(i, 5), 0..1_000).on(&executor).quiet().start().await.unwrap();
    let other = wren::Job::<u64>::attach(executor.clone(), job.id()).unwrap();
    assert!(job.wait().await.unwrap().into_iter().eq(5..1_005));
    assert!(other.wait().await.unwrap().into_iter().eq(5..1_005));
    assert!(other.progress().unwrap().is_over());
    let slow = wren::map(|_| slow_pid(20), 0..1_000).on(&executor).quiet().start().await.unwrap();
    slow.cancel().unwrap();
    assert!(matches!(slow.wait().await, Err(Error::Cancelled { .. })));
}

#[wren::remote]
fn noted(task: u64, path: &Path) -> std::io::Result<u64> {
    note(path, task)?;
    std::thread::sleep(Duration::from_millis(10));
    Ok(task * task)
}

/// What the killed driver runs; see `a_named_job_goes_on_after_its_driver_was_killed`.
async fn run_named(folder: &Path) -> wren::Result<Vec<u64>> {
    let executor = Executor::builder()
        .backend("local")
        .workers(2)
        .directory(folder)
        .store(format!("file:{}", folder.join("store").display()))
        .build()?;
    wren::map(|i| noted(i, &folder.join("notes")), 0..200).on(&executor).quiet().named("squares").await
}

async fn a_named_job_goes_on_after_its_driver_was_killed() {
    let folder = scratch("named");
    let me = std::env::current_exe().unwrap();
    let mut driver = Command::new(me).env("RUN_NAMED_JOB", &folder).spawn().unwrap();
    while notes(&folder.join("notes")).len() < 60 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let workers = children_of(driver.id());
    assert_eq!(workers.len(), 2);
    driver.kill().unwrap();
    driver.wait().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let alive = workers.iter().filter(|pid| Path::new(&format!("/proc/{pid}/exe")).exists()).count();
    assert_eq!(alive, 0, "workers that outlive their driver");

    let before = notes(&folder.join("notes")).len();
    assert!(before < 200);
    let squares = run_named(&folder).await.unwrap();
    assert!(squares.into_iter().eq((0..200).map(|i| i * i)));
    let executed = notes(&folder.join("notes"));
    let mut distinct = executed.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 200);
    // What was running when the driver was killed, and what had just ended, runs twice.
    assert!(executed.len() <= 200 + 8, "{} executions", executed.len());

    run_named(&folder).await.unwrap();
    assert_eq!(notes(&folder.join("notes")).len(), executed.len(), "a third run executes nothing");
}

#[wren::remote]
fn shout(text: &str) -> usize {
    println!("out {text}");
    eprintln!("err {text}");
    text.len()
}

async fn what_functions_print_is_shown_with_their_task() {
    let me = std::env::current_exe().unwrap();
    let output = Command::new(me).env("RUN_SHOUTS", "1").output().unwrap();
    assert!(output.status.success());
    let lines = |bytes: &[u8]| {
        let mut lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let want = |word: &str| (0..9).map(|i| format!("[shout {i}] {word} line {i}")).collect::<Vec<_>>();
    assert_eq!(lines(&output.stdout), want("out"));
    assert_eq!(lines(&output.stderr), want("err"));
}

async fn run_shouts() {
    let texts: Vec<String> = (0..9).map(|i| format!("line {i}")).collect();
    wren::map(shout, texts.iter().map(String::as_str)).on(&executor(2)).quiet().await.unwrap();
}

#[wren::main]
async fn main() -> std::process::ExitCode {
    if let Some(folder) = std::env::var_os("RUN_NAMED_JOB") {
        run_named(Path::new(&folder)).await.unwrap();
        return std::process::ExitCode::SUCCESS;
    }
    if std::env::var_os("RUN_SHOUTS").is_some() {
        run_shouts().await;
        return std::process::ExitCode::SUCCESS;
    }
    bench::run(bench::tests![
        calls_run_in_other_processes,
        a_map_gives_results_in_order,
        large_values_travel_whole,
        one_bad_task_is_one_error,
        a_task_over_its_time_is_ended,
        a_task_over_its_memory_is_ended,
        a_result_that_cannot_be_decoded_is_one_error,
        killed_workers_lose_nothing,
        a_dropped_call_is_cancelled_and_frees_its_worker,
        faults_do_not_change_results,
        a_stream_over_an_endless_iterator_is_bounded,
        a_ref_is_stored_once_and_reaches_workers,
        nested_calls_do_not_block_a_full_pool,
        a_started_job_is_waited_for_and_attached_to,
        a_named_job_goes_on_after_its_driver_was_killed,
        what_functions_print_is_shown_with_their_task,
    ])
    .await
}
