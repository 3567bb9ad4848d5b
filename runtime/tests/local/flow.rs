//! The flow of items to workers and of results back, and which of them wait for others.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wren::Executor;

use super::{FOREVER_MS, PATIENCE, executor, note, notes, scratch, slow_pid, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        an_iterator_can_wait_for_an_earlier_result,
        an_iterator_of_a_resumed_job_can_wait_for_an_earlier_result,
        items_run_while_the_iterator_is_slow,
        a_limit_on_running_calls_limits_taken_items,
        chunks_keep_all_workers_busy,
        stream_items_run_as_they_arrive,
        a_stream_can_wait_for_earlier_results,
        slow_consumers_make_workers_wait,
        limits_of_a_map_apply_to_its_calls,
    ]
}

#[wren::remote]
fn noted(path: &Path, task: u64) -> u64 {
    note(path, task).unwrap();
    task
}

/// Waits until the previous task has run.
fn wait_for_the_one_before(path: &Path, task: u64) {
    let start = Instant::now();
    while task > 0 && !notes(path).contains(&(task - 1)) {
        assert!(start.elapsed() < PATIENCE, "task {} never ran", task - 1);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// As in a crawler or a prompt, the next item depends on the result of an earlier one.
async fn an_iterator_can_wait_for_an_earlier_result() {
    for (chunk, workers) in [(1, 1), (1, 2), (10, 2)] {
        let path = scratch("crawler").join("done");
        let executor = executor(workers);
        // The executor has run a call, and its reactor sleeps.
        slow_pid(0).on(&executor).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let items = (0..20u64).inspect(|task| wait_for_the_one_before(&path, *task));
        let done = wren::map(|task| noted(&path, task), items).on(&executor).quiet().chunk(chunk).await.unwrap();
        assert!(done.into_iter().eq(0..20));
    }
}

/// Does the same as `noted`, in a folder. If the folder is broken, two of three tasks fail.
#[wren::remote]
fn noted_unless_broken(folder: &Path, task: u64) -> Result<u64, String> {
    if !task.is_multiple_of(3) && folder.join("broken").exists() {
        return Err(format!("task {task} is broken"));
    }
    note(&folder.join("done"), task).map_err(|e| e.to_string())?;
    Ok(task)
}

/// Some results are stored, and the iterator waits for a call that must run again.
async fn an_iterator_of_a_resumed_job_can_wait_for_an_earlier_result() {
    for (backend, workers) in [("local", 1), ("local", 2), ("inline", 2)] {
        let folder = scratch("resumed_crawler");
        let executor = Executor::builder().backend(backend).workers(workers).store("memory:").build().unwrap();
        let call = |task| noted_unless_broken(&folder, task);
        std::fs::write(folder.join("broken"), "").unwrap();
        let outcomes = wren::map(call, 0..70).on(&executor).quiet().named("crawler").try_all().await.unwrap();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 24);
        std::fs::remove_file(folder.join("broken")).unwrap();
        let path = folder.join("done");
        let items = (0..70).inspect(|task| wait_for_the_one_before(&path, *task));
        let done = wren::map(call, items).on(&executor).quiet().named("crawler").await.unwrap();
        assert!(done.into_iter().eq(0..70));
        let mut ran = notes(&path);
        ran.sort_unstable();
        assert!(ran.into_iter().eq(0..70), "each task ran once");
    }
}

async fn items_run_while_the_iterator_is_slow() {
    let executor = executor(2);
    let path = scratch("overlap").join("done");
    // The iterator makes its last item only when all earlier ones have been computed.
    let items = (0..8u64).inspect(|task| {
        let start = Instant::now();
        std::thread::sleep(Duration::from_millis(100));
        while *task == 7 && notes(&path).len() < 7 {
            assert!(start.elapsed() < PATIENCE, "only {:?} were computed while items were made", notes(&path));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let done = wren::map(|task| noted(&path, task), items).on(&executor).quiet().await.unwrap();
    assert!(done.into_iter().eq(0..8));
}

async fn a_limit_on_running_calls_limits_taken_items() {
    let executor = executor(2);
    for (limit, most) in [(1, 2), (2, 4), (8, 16)] {
        let (taken, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        let items = (0..40).inspect(|_| {
            let ahead = taken.fetch_add(1, Ordering::Relaxed) + 1 - ended.load(Ordering::Relaxed);
            assert!(ahead <= most, "{ahead} items are taken for {limit} calls at once");
        });
        let mut outcomes = wren::map(|_| slow_pid(5), items).on(&executor).quiet().concurrency(limit).stream();
        while let Some((_, outcome)) = outcomes.next().await {
            outcome.unwrap();
            ended.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(ended.load(Ordering::Relaxed), 40);
    }
}

/// Ends after another call has run at the same time, or all twelve have started.
#[wren::remote]
fn beside_another(folder: &Path, task: u64) -> u64 {
    let (started, ended) = (folder.join("started"), folder.join("ended"));
    note(&started, task).unwrap();
    let start = Instant::now();
    loop {
        let so_far = notes(&started).len();
        if so_far == 12 || so_far.saturating_sub(notes(&ended).len()) >= 2 {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "task {task} runs alone");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(50));
    note(&ended, task).unwrap();
    task
}

async fn chunks_keep_all_workers_busy() {
    let executor = executor(4);
    wren::map(slow_pid, [20; 4]).on(&executor).quiet().await.unwrap();
    // Long calls: the other workers take some within the 2 s in which one worker would run a whole chunk.
    let pids = wren::map(slow_pid, [250; 16]).on(&executor).quiet().concurrency(4).chunk(8).await.unwrap();
    let mut calls = std::collections::BTreeMap::<u32, u64>::new();
    pids.into_iter().for_each(|pid| *calls.entry(pid).or_default() += 1);
    assert!(calls.len() == 4 && calls.values().all(|calls| *calls < 8), "two chunks, four workers: {calls:?}");
    let folder = scratch("beside");
    let start = Instant::now();
    let calls = wren::map(|task| beside_another(&folder, task), 0..12).on(&executor).quiet().concurrency(2).chunk(3);
    assert!(calls.await.unwrap().into_iter().eq(0..12));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300), "not more than two at once of 0.6 s of work: {took:?}");
}

async fn stream_items_run_as_they_arrive() {
    let executor = executor(2);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for item in 0..10_u64 {
            sender.send(item).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let path = scratch("stream").join("done");
    let items =
        futures_util::stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|item| (item, receiver)));
    let done = wren::map_stream(|item| noted(&path, item), items).on(&executor).quiet().await.unwrap();
    assert!(done.into_iter().eq(0..10));
    // As a started job, and without items.
    let three = futures_util::stream::iter([1, 2, 3]);
    let job = wren::map_stream(|item| noted(&path, item), three).on(&executor).quiet().start().await.unwrap();
    assert_eq!(job.wait().await.unwrap(), [1, 2, 3]);
    let none = futures_util::stream::empty();
    let none = wren::map_stream(|item| noted(&path, item), none).on(&executor).quiet().await.unwrap();
    assert!(none.is_empty());
}

async fn a_stream_can_wait_for_earlier_results() {
    let executor = executor(2);
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    sender.send(1).unwrap();
    let mut sender = Some(sender);
    let items = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|item: u64| (item, receiver))
    });
    let path = scratch("earlier").join("done");
    let mut outcomes = wren::map_stream(|item| noted(&path, item), items).on(&executor).quiet().stream();
    let mut all = Vec::new();
    while let Some((_, outcome)) = outcomes.next().await {
        let value = outcome.unwrap();
        all.push(value);
        match value < 20 {
            true => sender.iter().for_each(|sender| sender.send(value + 1).unwrap()),
            false => drop(sender.take()),
        }
    }
    assert!(all.into_iter().eq(1..=20));
}

#[wren::remote]
fn long(path: PathBuf, task: u64) -> Vec<u8> {
    note(&path, task).unwrap();
    vec![task as u8; 1 << 20]
}

async fn slow_consumers_make_workers_wait() {
    let executor = executor(2);
    let path = scratch("slow").join("done");
    let mut outcomes = wren::map(|task| long(path.clone(), task), 0..1_500).on(&executor).quiet().stream();
    let mut seen = vec![false; 1_500];
    let (first, outcome) = outcomes.next().await.unwrap();
    assert_eq!(outcome.unwrap(), vec![first as u8; 1 << 20]);
    seen[first as usize] = true;
    // Waits until some have run, and no more do.
    let (start, mut before) = (Instant::now(), 0);
    loop {
        tokio::time::sleep(Duration::from_millis(750)).await;
        let now = notes(&path).len();
        if now >= 64 && now == before {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{now} calls have run");
        before = now;
    }
    // 64 MB of waiting results, plus the calls that the workers already had: as many as they run in a few milliseconds.
    let ran = notes(&path).len();
    assert!((64..500).contains(&ran), "{ran} calls of 1 MB ran for a consumer that took one result");
    while let Some((task, outcome)) = outcomes.next().await {
        assert_eq!(outcome.unwrap(), vec![task as u8; 1 << 20]);
        assert!(!std::mem::replace(&mut seen[task as usize], true));
    }
    assert!(seen.into_iter().all(|seen| seen));
}

#[wren::remote(timeout = 60, retries = 0)]
fn fails(path: PathBuf, task: u64) -> Result<u64, String> {
    note(&path, task).unwrap();
    Err(format!("{task} failed"))
}

async fn limits_of_a_map_apply_to_its_calls() {
    let executor = executor(2);
    let path = scratch("limits").join("ran");
    let none = wren::Backoff::new(Duration::ZERO);
    let map = wren::map(|task| fails(path.clone(), task), 0..3).on(&executor).quiet().retries(2).backoff(none);
    assert!(map.try_all().await.unwrap().iter().all(Result::is_err));
    assert_eq!(notes(&path).len(), 9);
    let late =
        wren::map(slow_pid, [FOREVER_MS]).on(&executor).quiet().timeout(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(late, wren::Error::TimedOut { .. }), "{late}");
}
