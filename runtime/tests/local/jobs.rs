//! Jobs: every way to run one, on every store, and the contents of their logs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use wren::faults::Faults;
use wren::history::{Event, JobState, JobSummary};
use wren::store::{FileStore, Store};
use wren::{Error, Executor};

use super::{add, note, notes, scratch, slow_pid, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        every_expression_works_on_every_backend_and_store,
        several_functions_share_a_job,
        concurrency_is_kept,
        a_log_covers_every_task,
        jobs_with_lost_writes_end_when_run_again,
        a_named_job_refuses_other_arguments,
        a_name_has_a_history_for_each_store,
    ]
}

#[wren::remote]
fn odd(n: u64) -> Result<u64, String> {
    if n % 2 == 1 { Ok(n) } else { Err(format!("{n} is even")) }
}

async fn every_expression_works_on_every_backend_and_store() {
    for backend in ["local", "inline"] {
        let file = format!("file:{}", scratch("stores").display());
        for store in ["memory:jobs", &file] {
            let directory = scratch("logs");
            let builder = Executor::builder().backend(backend).workers(2).store(store).directory(&directory);
            let executor = builder.build().unwrap();
            every_expression(&executor, backend).await.unwrap_or_else(|e| panic!("{backend} with {store}: {e}"));
        }
    }
}

async fn every_expression(executor: &Executor, tag: &str) -> wren::Result<()> {
    let sums = || wren::map(|i| add(i, 1), 0..50).on(executor).quiet();
    let right = |results: Vec<u64>| assert!(results.into_iter().eq(1..51));
    right(sums().await?);
    right(sums().chunk(7).concurrency(1).budget(0.0).await?);
    right(sums().try_all().await?.into_iter().collect::<wren::Result<_>>()?);
    right(sums().named(format!("named-{tag}")).await?);
    right(sums().named(format!("named-{tag}")).await?);

    let mut streamed = Vec::new();
    let mut stream = sums().stream();
    while let Some((index, outcome)) = stream.next().await {
        assert_eq!(outcome?, index + 1);
        streamed.push(index + 1);
    }
    streamed.sort_unstable();
    right(streamed);

    let mut fetched = Vec::new();
    for result in sums().refs().await? {
        fetched.push(result.get().await?);
    }
    right(fetched);

    let job = sums().start().await?;
    right(job.wait().await?);
    right(wren::Job::attach(executor.clone(), job.id())?.wait().await?);
    assert!(job.progress()?.is_over());

    let Err(Error::Returned { attempt, message, .. }) = wren::map(odd, [1, 3, 4, 5]).on(executor).quiet().await else {
        panic!("4 is even");
    };
    assert_eq!((attempt.task, message.as_str()), (2, "4 is even"));
    let outcomes = wren::map(odd, 0..10).on(executor).quiet().start().await?.wait_all().await?;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 5);
    Ok(())
}

#[wren::remote(memory = 300)]
fn double(x: u64) -> u64 {
    2 * x
}

async fn several_functions_share_a_job() {
    let executor = super::executor(2);
    let calls = (0..1_000).map(|i| if i % 3 == 0 { double(i).retries(1) } else { add(i, i) });
    let all = wren::gather(calls).on(&executor).quiet().await.unwrap();
    assert!(all.into_iter().eq((0..1_000).map(|i| 2 * i)));
}

async fn concurrency_is_kept() {
    let executor = super::executor(2);
    let start = Instant::now();
    wren::map(|_| slow_pid(20), 0..10).on(&executor).quiet().concurrency(1).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));
}

async fn a_name_has_a_history_for_each_store() {
    let folder = scratch("two-stores");
    let run = |backend: &'static str, store: Option<&'static str>, tasks: u64| {
        let executor = Executor::builder().backend(backend).workers(2).directory(&folder);
        let executor = match store {
            Some(name) => executor.store(format!("file:{}", folder.join(name).display())),
            None => executor,
        };
        let executor = executor.build().unwrap();
        async move { wren::map(|i| add(i, 1), 0..tasks).on(&executor).quiet().named("sweep").await.unwrap() }
    };
    run("local", None, 20).await;
    run("local", Some("other"), 18).await;
    run("inline", Some("other"), 18).await;
    // The first store again: all of its results are there.
    run("inline", None, 20).await;
    let jobs = wren::history::jobs(&folder).unwrap();
    let [first, other] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((first.id.as_str(), first.done, first.tasks, first.runs), ("sweep", 20, Some(20), 2));
    assert!(first.store.ends_with("/two-stores/store") && other.store.ends_with("/two-stores/other"), "{jobs:?}");
    assert_eq!((other.done, other.tasks, other.runs), (18, Some(18), 2));
    assert!(other.id.starts_with("sweep@file-") && other.name.as_deref() == Some("sweep"), "{}", other.id);
    assert_eq!((first.backend.as_str(), other.backend.as_str()), ("inline", "inline"), "the latest run counts");
    // A started job that is found by its name continues the history of its store.
    let other_store = format!("file:{}", folder.join("other").display());
    let executor = Executor::builder().backend("local").workers(2).directory(&folder).store(other_store);
    let executor = executor.build().unwrap();
    let started = wren::map(|i| add(i, 2), 0..18).on(&executor).quiet().named("started").start().await.unwrap();
    started.wait().await.unwrap();
    assert!(wren::history::jobs(&folder).unwrap()[0].id.starts_with("started@file-"));
}

async fn a_log_covers_every_task() {
    let folder = scratch("log");
    let executor = Executor::builder().backend("local").workers(2).directory(&folder).build().unwrap();
    let outcomes = wren::map(|i| odd(i).retries(1), 0..100).on(&executor).quiet().chunk(10).try_all().await.unwrap();
    assert_eq!(outcomes.len(), 100);
    let summary = wren::history::jobs(&folder).unwrap().remove(0);
    assert_eq!((summary.state, summary.tasks, summary.done), (JobState::Done, Some(100), 50));
    assert_eq!((summary.failed, summary.retried, summary.workers), (50, 50, 2));
    assert!(summary.function.ends_with("jobs::odd") && summary.peak_mb > 0, "{summary:?}");

    let mut done = 0;
    let mut failed = Vec::new();
    let mut last = 0.0;
    JobSummary::read_with(&folder.join("jobs").join(&summary.id), |event| match event {
        Event::Done { t, first, count, new, attempt, .. } => {
            assert!(*t >= last && *attempt == 1 && *first < 100 && new == count);
            (done, last) = (done + count, *t);
        }
        Event::Failed { task, attempt, class, message, .. } => {
            assert!(*attempt == 2 && class == "returned" && message.contains("is even"), "{message}");
            failed.push(*task);
        }
        Event::Retry { attempt, after_ms, .. } => assert!(*attempt == 1 && *after_ms < 1_000),
        _ => {}
    })
    .unwrap();
    failed.sort_unstable();
    assert_eq!(done, 50);
    assert!(failed.into_iter().eq((0..100).step_by(2)));
}

#[wren::remote]
fn noted_square(x: u64, path: &Path) -> std::io::Result<u64> {
    note(path, x)?;
    Ok(x * x)
}

async fn jobs_with_lost_writes_end_when_run_again() {
    let folder = scratch("lost-writes");
    let inner: Arc<dyn Store> = Arc::new(FileStore::open(folder.join("store")).unwrap());
    let mut runs = 0;
    let squares = loop {
        runs += 1;
        let faults = Faults::seeded(runs).lose_write(0.2).delay(0.05, Duration::from_millis(2));
        let store = faults.around_store(inner.clone());
        let builder = Executor::builder().backend("local").workers(2).opened_store(store).directory(&folder);
        let executor = builder.build().unwrap();
        let job = wren::map(|x| noted_square(x, &folder.join("notes")), 0..200).on(&executor).quiet().named("lossy");
        match job.await {
            Ok(squares) => break squares,
            Err(Error::Store(_)) => assert!(runs < 100),
            Err(other) => panic!("{other}"),
        }
    };
    assert!(squares.into_iter().eq((0..200).map(|x| x * x)));
    assert!(runs > 1, "no write was lost");
    // Another run after the success executes nothing.
    let executed = notes(&folder.join("notes")).len();
    let executor =
        Executor::builder().backend("local").workers(2).opened_store(inner).directory(&folder).build().unwrap();
    let job = wren::map(|x| noted_square(x, &folder.join("notes")), 0..200).on(&executor).quiet().named("lossy");
    assert!(job.await.unwrap().into_iter().eq((0..200).map(|x| x * x)));
    assert_eq!(notes(&folder.join("notes")).len(), executed);
}

async fn a_named_job_refuses_other_arguments() {
    let executor = Executor::builder().backend("local").workers(1).store("memory:other-arguments").build().unwrap();
    let sums = |b: u64| wren::map(move |a| add(a, b), 0..5).on(&executor).quiet().named("sums");
    assert_eq!(sums(1).await.unwrap(), [1, 2, 3, 4, 5]);
    let error = sums(2).await.unwrap_err().to_string();
    assert!(error.contains("with other arguments") && error.contains("give the job another name"), "{error}");
    let bad = wren::map(|a| add(a, 1), 0..5).on(&executor).named("a/b").await.unwrap_err().to_string();
    assert!(bad.contains("`a/b` is not a valid job name"), "{bad}");
}
