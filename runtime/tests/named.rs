//! Checks the rule for `named` in all its forms: the same name with the same calls is the same job, which executes
//! nothing twice; a failure is not a result; other calls are an error that names the call that differs.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use wren::store::{FileStore, MemoryStore, Store};
use wren::{Call, Error, Executor, Job, Result};

static EXECUTED: AtomicU64 = AtomicU64::new(0);
static FAILS: AtomicBool = AtomicBool::new(false);
/// Serializes the tests, because they share the two statics above.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[wren::remote]
fn double(x: u64) -> std::result::Result<u64, String> {
    EXECUTED.fetch_add(1, Ordering::SeqCst);
    if x == 3 && FAILS.load(Ordering::SeqCst) { Err("not now".to_owned()) } else { Ok(2 * x) }
}

#[wren::remote]
fn inc(x: u64) -> std::result::Result<u64, String> {
    Ok(x + 1)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Await,
    TryAll,
    Stream,
    Start,
    Refs,
}

const FORMS: [Form; 5] = [Form::Await, Form::TryAll, Form::Stream, Form::Start, Form::Refs];

async fn run(form: Form, executor: &Executor, name: &str, calls: Vec<Call<u64>>) -> Result<Vec<u64>> {
    let map = wren::gather(calls).on(executor).quiet().named(name);
    match form {
        Form::Await => map.await,
        Form::TryAll => map.try_all().await?.into_iter().collect(),
        Form::Stream => {
            let mut stream = map.stream();
            let mut all = Vec::new();
            while let Some((task, outcome)) = stream.next().await {
                all.push((task, outcome?));
            }
            all.sort_unstable();
            Ok(all.into_iter().map(|(_, value)| value).collect())
        }
        Form::Start => map.start().await?.wait().await,
        Form::Refs => {
            let mut all = Vec::new();
            for value in map.refs().await? {
                all.push(value.get().await?);
            }
            Ok(all)
        }
    }
}

fn calls(range: std::ops::Range<u64>) -> Vec<Call<u64>> {
    range.map(double).collect()
}

fn executor(store: Arc<dyn Store>) -> Executor {
    let folder = std::env::temp_dir().join(format!("wren-named-{}", std::process::id()));
    Executor::builder().backend("inline").workers(2).opened_store(store).directory(folder).build().unwrap()
}

#[test]
fn every_form_after_every_form() {
    let _guard = ONE_AT_A_TIME.lock();
    wren::block_on(async {
        for (first, second) in FORMS.into_iter().flat_map(|first| FORMS.map(|second| (first, second))) {
            let executor = executor(MemoryStore::named(""));
            assert_eq!(run(first, &executor, "job", calls(0..5)).await.unwrap(), [0, 2, 4, 6, 8]);
            let executed = EXECUTED.load(Ordering::SeqCst);
            let mut other = calls(0..5);
            other[3] = double(7);
            let mut function = calls(0..5);
            function[0] = inc(0);
            let table = [
                (calls(0..5), None),
                (other, Some("task 3 of job `job` was a different call")),
                (function, Some("task 0 of job `job` was a different call")),
                (calls(0..6), Some("had 5 calls when it first ran, and now has more, so task 5 is new")),
                (calls(0..3), Some("had 5 calls when it first ran, and now has 3, so task 3 is missing")),
                (calls(0..5), None),
            ];
            for (calls, expected) in table {
                let ended = run(second, &executor, "job", calls).await;
                let kinds = (first == Form::Refs) != (second == Form::Refs);
                match (ended, expected) {
                    (Ok(values), None) => assert!(values == [0, 2, 4, 6, 8] && !kinds, "{first:?}, then {second:?}"),
                    (Err(Error::Job(error)), None) if kinds => assert!(error.contains("of another kind"), "{error}"),
                    (Err(Error::Job(error)), Some(expected)) => {
                        let is_expected = error.contains(expected) || kinds && error.contains("of another kind");
                        assert!(is_expected, "{first:?}, then {second:?}: {error}");
                    }
                    (ended, expected) => panic!("{first:?}, then {second:?}: {ended:?} in place of {expected:?}"),
                }
            }
            assert_eq!(EXECUTED.load(Ordering::SeqCst), executed, "{first:?}, then {second:?}: nothing runs twice");
        }
    });
}

#[test]
fn a_failure_is_not_a_result() {
    let _guard = ONE_AT_A_TIME.lock();
    wren::block_on(async {
        for (first, second) in FORMS.into_iter().flat_map(|first| FORMS.map(|second| (first, second))) {
            if (first == Form::Refs) != (second == Form::Refs) {
                continue;
            }
            let executor = executor(MemoryStore::named(""));
            FAILS.store(true, Ordering::SeqCst);
            for _ in 0..2 {
                let failed = run(first, &executor, "job", calls(0..5)).await;
                assert!(matches!(failed, Err(Error::Returned { .. })), "{first:?}: {failed:?}");
            }
            if first == Form::Start {
                let seen = Job::<u64>::attach(executor.clone(), "job").unwrap().wait_all().await.unwrap();
                assert_eq!(
                    seen.iter().filter(|outcome| outcome.is_err()).count(),
                    1,
                    "an attached job reports the failure"
                );
            }
            FAILS.store(false, Ordering::SeqCst);
            let values = run(second, &executor, "job", calls(0..5)).await.unwrap();
            assert_eq!(values, [0, 2, 4, 6, 8], "{first:?}, then {second:?}");
        }
    });
}

/// Two programs start the same job at the same time, with different arguments. Each gets its own results or an error.
#[test]
fn racing_programs_never_get_each_others_results() {
    let _guard = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let store: Arc<dyn Store> = Arc::new(FileStore::open(folder.path()).unwrap());
        for form in [Form::Await, Form::Start, Form::Stream] {
            let name = format!("race-{round}-{form:?}");
            let barrier = std::sync::Barrier::new(2);
            let ended: Vec<_> = std::thread::scope(|scope| {
                let racers = [inc as fn(u64) -> Call<u64>, double].map(|function| {
                    let (store, name, barrier) = (store.clone(), &name, &barrier);
                    scope.spawn(move || {
                        let executor = executor(store);
                        let calls = (0..200u64).map(function).collect();
                        barrier.wait();
                        wren::block_on(run(form, &executor, name, calls))
                    })
                });
                racers.map(|racer| racer.join().unwrap()).into_iter().collect()
            });
            let mut won = 0;
            for (ended, right) in ended.into_iter().zip([|x: u64| x + 1, |x: u64| 2 * x]) {
                match ended {
                    Ok(values) => {
                        won += 1;
                        assert!(values.into_iter().eq((0..200u64).map(right)), "{name}");
                    }
                    Err(Error::Job(error)) => assert!(error.contains("was a different call"), "{error}"),
                    Err(other) => panic!("{name}: {other}"),
                }
            }
            assert!(won <= 1, "{name}: both succeeded");
        }
    }
}

/// If another program is already running a job, a program waits for that job and executes nothing twice.
#[test]
fn two_programs_share_a_job() {
    let _guard = ONE_AT_A_TIME.lock();
    #[wren::remote]
    fn slow(x: u64) -> u64 {
        EXECUTED.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(20));
        x
    }
    for (first, second) in FORMS.into_iter().flat_map(|first| FORMS.map(|second| (first, second))) {
        if (first == Form::Refs) != (second == Form::Refs) {
            continue;
        }
        let store = MemoryStore::named("");
        let before = EXECUTED.load(Ordering::SeqCst);
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for form in [first, second] {
                let (store, barrier) = (store.clone(), &barrier);
                scope.spawn(move || {
                    let executor = executor(store);
                    barrier.wait();
                    let values = wren::block_on(run(form, &executor, "shared", (0..20).map(slow).collect()));
                    assert!(values.unwrap().into_iter().eq(0..20));
                });
            }
        });
        assert_eq!(EXECUTED.load(Ordering::SeqCst) - before, 20, "{first:?} and {second:?}");
    }
}

/// A store may remove old values and keep the refs to them.
#[test]
fn a_ref_without_its_value_is_no_result() {
    let _guard = ONE_AT_A_TIME.lock();
    wren::block_on(async {
        let executor = executor(MemoryStore::named(""));
        let store = executor.store();
        let refs = || wren::gather(calls(0..100)).on(&executor).quiet().named("refs").refs();
        let first = refs().await.unwrap();
        let executed = EXECUTED.load(Ordering::SeqCst);
        for gone in [vec![7], vec![0, 64, 99], (0..100).collect(), vec![]] {
            for task in &gone {
                store.delete(&first[*task].key()).await.unwrap();
            }
            let before = EXECUTED.load(Ordering::SeqCst);
            let again = refs().await.unwrap();
            assert_eq!(
                EXECUTED.load(Ordering::SeqCst) - before,
                gone.len() as u64,
                "only removed values are computed again"
            );
            for (task, value) in again.into_iter().enumerate() {
                assert_eq!(value.get().await.unwrap(), 2 * task as u64);
            }
        }
        assert!(EXECUTED.load(Ordering::SeqCst) > executed);
    });
}

#[test]
fn removed_jobs_leave_nothing() {
    let _guard = ONE_AT_A_TIME.lock();
    #[wren::remote]
    fn length(bytes: &[u8], _shared: &[u8]) -> usize {
        bytes.len()
    }
    wren::block_on(async {
        let executor = executor(MemoryStore::named(""));
        let keys = async || executor.store().list("", None, 1_000).await.unwrap();
        let (own, shared) = (vec![1; 100_000], vec![2; 100_000]);
        let start = async |name: &str, own: &[u8]| {
            let calls = [length(own, &shared)];
            let job = wren::gather(calls).on(&executor).quiet().named(name).start().await.unwrap();
            assert_eq!(job.wait().await.unwrap(), [100_000]);
            job
        };
        let one = start("one", &own).await;
        let other = start("other", &shared).await;
        let refs = wren::gather(calls(0..3)).on(&executor).quiet().named("refs").refs().await.unwrap();
        // An argument that contains a ref to a result of `refs`.
        let holder = wren::put(&refs[2]).on(&executor).await.unwrap();
        one.remove().await.unwrap();
        assert!(keys().await.iter().all(|key| !key.starts_with("one/")));
        let blobs = async || keys().await.into_iter().filter(|key| key.starts_with("blobs/")).count();
        assert_eq!(
            blobs().await,
            1 + 3 + 1,
            "the value that `other` uses too, the results of `refs`, and the value that contains a ref"
        );
        assert_eq!(other.wait().await.unwrap(), [100_000], "the values that it needs still exist");
        other.remove().await.unwrap();
        Job::<u64>::attach(executor.clone(), "refs").unwrap().remove().await.unwrap();
        let left = keys().await;
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.contains(&holder.key()) && left.contains(&refs[2].key()), "{left:?}");
        // The name can be used again, and a running job is stopped before it is removed.
        let job = wren::gather((0..1_000).map(inc)).on(&executor).quiet().named("one").start().await.unwrap();
        job.remove().await.unwrap();
        let left = keys().await;
        assert_eq!(left.len(), 2, "{left:?}");
    });
}

/// Two functions with the same name and the same tokens.
mod same_name {
    use super::Call;

    const OFFSET: u64 = 1;

    pub(super) fn one(x: u64) -> Call<u64> {
        #[wren::remote]
        fn item(x: u64) -> u64 {
            x + OFFSET
        }
        item(x)
    }

    pub(super) fn other(x: u64) -> Call<u64> {
        const OFFSET: u64 = 100;
        #[wren::remote]
        fn item(x: u64) -> u64 {
            x + OFFSET
        }
        item(x)
    }
}

#[test]
fn same_named_functions_are_different_calls() {
    let _guard = ONE_AT_A_TIME.lock();
    wren::block_on(async {
        let executor = executor(MemoryStore::named(""));
        let both = || vec![same_name::one(1), same_name::other(1)];
        for form in FORMS {
            let name = format!("both-{form:?}");
            assert_eq!(run(form, &executor, &name, both()).await.unwrap(), [2, 101], "{form:?}");
            assert_eq!(run(form, &executor, &name, both()).await.unwrap(), [2, 101], "{form:?}, again");
            let swapped = vec![same_name::other(1), same_name::one(1)];
            let error = run(form, &executor, &name, swapped).await.unwrap_err();
            assert!(matches!(&error, Error::Job(why) if why.starts_with("task 0 of job")), "{form:?}: {error}");
        }
        // The stored calls of a started job are found again.
        let job = Job::<u64>::attach(executor.clone(), "both-Start").unwrap();
        assert_eq!(job.wait().await.unwrap(), [2, 101]);
    });
}
