//! Every kind of failure. All other tasks finish.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wren::Error;

use super::{FOREVER_MS, PATIENCE, add, children_of, executor, note, notes, scratch, slow_pid, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        one_bad_task_is_one_error,
        a_task_over_its_time_is_ended,
        a_call_over_its_time_is_ended_on_a_warm_worker_too,
        a_task_over_its_memory_is_ended,
        failures_keep_their_output_when_others_follow,
        an_undecodable_result_is_one_error,
        killed_workers_lose_nothing,
        a_dropped_call_is_cancelled_and_frees_its_worker,
        a_panic_is_reported_once_at_once,
        errors_of_any_length_arrive,
        spawned_tasks_end_with_their_call,
        calls_from_ending_threads_are_answered,
        a_worker_has_no_workers,
        at_most_once_is_respected,
    ]
}

/// Fails in the given way in task 3 of its job, and notes each attempt.
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

async fn at_most_once_is_respected() {
    let executor = executor(2);
    for how in ["exit", "abort", "kill", "err", "panic"] {
        let ran = scratch("once").join("ran");
        let call = |task| misbehave(task, how, &ran).retries(3).at_most_once();
        let outcomes = wren::map(call, 0..10).on(&executor).quiet().try_all().await.unwrap();
        let mut tasks = notes(&ran);
        tasks.sort_unstable();
        assert!(tasks.into_iter().eq(0..10), "each task ran once, with {how}");
        for (task, outcome) in outcomes.into_iter().enumerate() {
            match (task, how, outcome) {
                (3, "err", Err(Error::Returned { .. })) | (3, "panic", Err(Error::Panicked { .. })) => {}
                (3, _, Err(Error::MayHaveRun { attempt, cause })) => {
                    assert!(matches!(*cause, Error::WorkerDied { .. }) && attempt.task == 3, "{cause}");
                }
                (_, _, outcome) => assert_eq!(outcome.unwrap(), task as u64),
            }
        }
    }
    // Jobs that continue after their program has ended cannot guarantee that.
    let ran = scratch("named-once").join("ran");
    let calls = || (0..10).map(|task| misbehave(task, "", &ran).at_most_once());
    let named = wren::gather(calls()).on(&executor).quiet().named("once").await.unwrap_err();
    let started = wren::gather(calls()).on(&executor).quiet().start().await.unwrap_err();
    for error in [named, started] {
        assert!(matches!(&error, Error::Config(why) if why.contains("at most once")), "{error}");
    }
}

/// Every kind of failure is an error of the task that failed, and all others finish.
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
        let attempts = notes(&path).into_iter().filter(|task| *task == 3).count();
        match (how, &error) {
            ("panic", Error::Panicked { message, location, .. }) => {
                assert_eq!(message, "the third is bad");
                assert!(location.contains("failures.rs:"), "{location}");
                assert_eq!(attempts, 1);
            }
            ("err", Error::Returned { message, type_name, .. }) => {
                assert_eq!((message.as_str(), type_name.as_str()), ("an inner cause", "std::io::error::Error"));
                assert_eq!(attempts, 1);
            }
            ("exit", Error::WorkerDied { exit_code: Some(17), .. })
            | ("abort", Error::WorkerDied { signal: Some(6), .. })
            | ("kill", Error::WorkerDied { signal: Some(9), .. }) => assert_eq!(attempts, 3),
            ("overflow", Error::WorkerDied { signal: Some(6), attempt, .. }) => {
                assert!(attempt.stderr.contains("overflowed its stack"), "{}", attempt.stderr);
                assert_eq!((attempts, attempt.attempt), (3, 3));
            }
            _ => panic!("{how} resulted in {error:?}"),
        }
    }
}

// Naps of a few milliseconds must not exceed it on a busy machine.
#[wren::remote(timeout = 1)]
fn sleep_ms(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

async fn a_task_over_its_time_is_ended() {
    let executor = executor(2);
    let times = [1, 2, FOREVER_MS, 3, 4];
    let start = Instant::now();
    let outcomes = wren::map(sleep_ms, times).on(&executor).quiet().try_all().await.unwrap();
    assert!(start.elapsed() < PATIENCE);
    for (ms, outcome) in times.into_iter().zip(outcomes) {
        match outcome {
            Ok(got) => assert!(got == ms && ms < 1_000),
            Err(Error::TimedOut { limit, attempt }) => {
                assert_eq!((limit, attempt.task, attempt.attempt), (Duration::from_secs(1), 2, 1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// While a warm worker runs a call, nothing wakes the driver, so it must check the time itself.
async fn a_call_over_its_time_is_ended_on_a_warm_worker_too() {
    let executor = executor(1);
    for _ in 0..5 {
        assert_eq!(sleep_ms(1).on(&executor).await.unwrap(), 1);
        let outcome = sleep_ms(FOREVER_MS).on(&executor).await;
        assert!(matches!(outcome, Err(Error::TimedOut { .. })), "{outcome:?}");
    }
}

#[wren::remote(retries = 0)]
fn complain(task: u64) -> Result<(), String> {
    eprintln!("task {task} complains");
    if task.is_multiple_of(3) { Err("no".into()) } else { Ok(()) }
}

async fn failures_keep_their_output_when_others_follow() {
    let outcomes = wren::map(complain, 0..600).on(&executor(2)).quiet().try_all().await.unwrap();
    for error in outcomes.into_iter().filter_map(Result::err) {
        let attempt = error.attempt().unwrap();
        assert_eq!(attempt.stderr, format!("task {} complains\n", attempt.task));
    }
}

#[wren::remote(memory = 200)]
fn allocate(mb: usize) -> usize {
    let mut held = Vec::new();
    for _ in 0..mb {
        held.push(vec![1u8; 1 << 20]);
        // The memory is measured every few milliseconds. A busy machine may do that a second late.
        std::thread::sleep(Duration::from_millis(2));
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

/// A value that serializes as a number and cannot be deserialized.
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

async fn an_undecodable_result_is_one_error() {
    let executor = executor(2);
    let outcomes = wren::map(one_way, 0..10).on(&executor).quiet().try_all().await.unwrap();
    for (task, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(None) => assert_ne!(task, 3),
            Err(Error::BadResult { reason, attempt }) => {
                assert!(task == 3 && reason.contains("cannot be read"), "{reason}");
                assert_eq!((attempt.function.as_str(), attempt.task), ("local::failures::one_way", 3));
            }
            other => panic!("{other:?}"),
        }
    }
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

async fn a_dropped_call_is_cancelled_and_frees_its_worker() {
    let executor = executor(1);
    let start = Instant::now();
    let slow = tokio::time::timeout(Duration::from_millis(50), slow_pid(FOREVER_MS).on(&executor)).await;
    assert!(slow.is_err());
    add(1, 1).on(&executor).await.unwrap();
    assert!(start.elapsed() < PATIENCE);
}

struct Thrown;

impl Drop for Thrown {
    fn drop(&mut self) {
        panic!("panicked in drop");
    }
}

#[wren::remote]
fn throws(notes: &Path) -> std::io::Result<u64> {
    note(notes, 1)?;
    std::panic::panic_any(Thrown)
}

#[wren::remote]
async fn panics_beside_a_thread(panics: bool) -> u64 {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(FOREVER_MS)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!panics, "now");
    7
}

async fn a_panic_is_reported_once_at_once() {
    let (executor, notes_file) = (executor(1), scratch("thrown").join("notes"));
    let error = throws(&notes_file).on(&executor).await.unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }), "{error:?}");
    assert_eq!(notes(&notes_file), [1]);
    let start = Instant::now();
    assert_eq!(panics_beside_a_thread(false).on(&executor).await.unwrap(), 7);
    let error = panics_beside_a_thread(true).on(&executor).await.unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }) && start.elapsed() < PATIENCE, "{error:?}");
}

#[derive(Debug)]
struct Link(String, Option<Box<Link>>);

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Link {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|link| link as _)
    }
}

#[wren::remote]
fn fails_at_length(links: usize, text: &str) -> Result<(), Link> {
    let first = Link(text.repeat(20_000), None);
    Err((1..links).fold(first, |cause, _| Link(text.repeat(20_000), Some(Box::new(cause)))))
}

#[wren::remote]
fn panics_at_length(text: &str) -> u64 {
    panic!("{}", text.repeat(200_000))
}

async fn errors_of_any_length_arrive() {
    let executor = executor(1);
    for text in ["a", "é", "😀"] {
        for links in [1, 2, 9, 200] {
            let error = fails_at_length(links, text).on(&executor).await.unwrap_err();
            assert!(
                matches!(&error, Error::Returned { message, .. } if message.starts_with(text)),
                "{links} of {text}"
            );
        }
        let error = panics_at_length(text).on(&executor).await.unwrap_err();
        assert!(matches!(&error, Error::Panicked { message, .. } if message.starts_with(text)), "{text}");
    }
}

/// Leaves a spawned task behind, which writes a note every 2 ms. Returns after the first note.
#[wren::remote]
async fn leaves_behind(path: String) -> u32 {
    let written = path.clone();
    tokio::spawn(async move {
        loop {
            let _ = note(Path::new(&path), 1);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    while notes(Path::new(&written)).is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    std::process::id()
}

#[wren::remote]
async fn wait(ms: u64) -> u32 {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    std::process::id()
}

async fn spawned_tasks_end_with_their_call() {
    let (executor, path) = (executor(1), scratch("behind").join("notes"));
    let worker = leaves_behind(path.to_string_lossy().into_owned()).on(&executor).await.unwrap();
    let lived = notes(&path).len();
    assert_eq!(wait(100).on(&executor).await.unwrap(), worker);
    assert!(lived > 0 && notes(&path).len() <= lived + 1, "{lived} notes, then {}", notes(&path).len());
}

/// Makes calls when its thread ends.
struct AtTheEnd(std::sync::mpsc::Sender<wren::Result<u64>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        let _ = self.0.send(wren::block_on(add(1, 2)));
        let _ = self.0.send(wren::block_on(wren::map(|i| add(i, 1), 0..100).quiet()).map(|sums| sums.iter().sum()));
    }
}

thread_local! {
    static LATE: std::cell::RefCell<Option<AtTheEnd>> = const { std::cell::RefCell::new(None) };
}

async fn calls_from_ending_threads_are_answered() {
    let (sender, answers) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        // Set before the thread's first call, so that it is dropped after the thread-locals of calls.
        LATE.set(Some(AtTheEnd(sender)));
        wren::block_on(add(0, 1)).unwrap()
    });
    assert_eq!(thread.join().unwrap(), 1);
    let answers: Vec<_> = answers.iter().map(Result::unwrap).collect();
    assert_eq!(answers, [3, 5_050]);
}

#[wren::remote]
fn makes_workers() -> wren::Result<()> {
    wren::Executor::builder().backend("local").build().map(drop)
}

async fn a_worker_has_no_workers() {
    let error = makes_workers().on(&executor(1)).await.unwrap_err().to_string();
    assert!(error.contains("a worker cannot start workers of its own"), "{error}");
}
