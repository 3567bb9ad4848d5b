//! The stored outputs and inputs of tasks, and the replay of a task.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::Trial;
use wren::backend::Stream;
use wren::{Executor, history};

use super::{scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        task_output_is_kept_with_its_job,
        replays_fail_like_their_task,
        a_replay_in_a_worker_has_the_limits_of_its_task,
        a_replay_shows_the_result_as_debug_if_possible,
        unkept_inputs_come_from_the_store_or_are_errors,
        inputs_of_retried_tasks_are_kept,
    ]
}

fn executor_in(folder: &Path) -> Executor {
    let store = format!("file:{}", folder.join("store").display());
    Executor::builder().backend("local").workers(2).directory(folder).store(store).build().unwrap()
}

#[derive(Debug, thiserror::Error)]
#[error("task {0} is even")]
struct Even(u64, #[source] std::io::Error);

/// Panics in task 3, returns an error in task 4, sleeps in task 5, and makes calls itself in task 6.
#[wren::remote(timeout = 1)]
async fn faulty(task: u64, table: &[f64]) -> Result<u64, Even> {
    println!("task {task} has {} numbers", table.len());
    eprintln!("task {task} complains");
    match task {
        3 => panic!("the third is {}", "bad"),
        4 => return Err(Even(4, std::io::Error::other("an inner cause"))),
        5 => std::thread::sleep(std::time::Duration::from_secs(60)),
        6 => return Ok(wren::map(|i| super::add(i, 1), 0..3).await.unwrap().into_iter().sum()),
        _ => {}
    }
    Ok(task)
}

fn table() -> Vec<f64> {
    (0..20_000).map(f64::from).collect()
}

async fn run(folder: &Path) {
    let table = table();
    let executor = executor_in(folder);
    let outcomes = wren::map(|task| faulty(task, &table), 0..8).on(&executor).quiet().named("faulty").try_all().await;
    let failed: Vec<_> = outcomes.unwrap().into_iter().map(|outcome| outcome.is_err()).collect();
    assert_eq!(failed, [false, false, false, true, true, true, false, false]);
}

/// Starts this program to run a task of a job again.
fn replay(folder: &Path, job: &str, task: u64, pool: bool) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("WREN_REPLAY", format!("{task}@{}", folder.join("jobs").join(job).display()));
    command.envs(pool.then_some(("WREN_REPLAY_POOL", "1")));
    command.env("WREN_STORE", format!("file:{}", folder.join("store").display())).env("RUST_BACKTRACE", "1");
    command.output().unwrap()
}

/// Returns the exit code, standard error, and standard output, which the function printed to.
fn parts(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stderr), text(output.stdout))
}

async fn task_output_is_kept_with_its_job() {
    let folder = scratch("printed");
    run(&folder).await;
    let job = folder.join("jobs/faulty");
    let mut lines = BTreeMap::new();
    for line in history::outputs(&job).unwrap() {
        assert_eq!((line.function.as_str(), line.attempt), ("faulty", 1));
        assert!(line.t < 100.0 && line.unix_ms > 1_700_000_000_000 && line.worker < 2, "{line:?}");
        lines.insert((line.task.unwrap(), line.stream == Stream::Err), line.line);
    }
    assert_eq!(lines.len(), 16, "{lines:?}");
    for task in 0..8 {
        assert_eq!(lines[&(task, false)], format!("task {task} has 20000 numbers"));
        assert_eq!(lines[&(task, true)], format!("task {task} complains"));
    }
    let mut failed = BTreeMap::new();
    history::JobSummary::read_with(&job, |event| {
        if let history::Event::Failed { task, stderr, message, .. } = event {
            failed.insert(*task, (stderr.clone(), message.clone()));
        }
    })
    .unwrap();
    assert_eq!(failed[&3].0, "task 3 complains\n");
    assert!(failed[&3].1.starts_with("`local::replay::faulty` task 3 panicked at "), "{}", failed[&3].1);
    // Other users of this machine cannot read any of these.
    use std::os::unix::fs::PermissionsExt;
    for path in [job.clone(), job.join("inputs"), job.join("output.jsonl")] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }
}

async fn replays_fail_like_their_task() {
    let folder = scratch("replayed");
    run(&folder).await;
    let (code, error, printed) = parts(replay(&folder, "faulty", 3, false));
    assert_eq!((code, printed.as_str()), (Some(101), "task 3 has 20000 numbers\n"), "{error}");
    assert!(error.contains("thread 'main'") && error.contains("replay.rs:") && error.contains("the third is bad"));
    assert!(error.contains("stack backtrace:") && error.contains("faulty"), "{error}");

    let (code, error, _) = parts(replay(&folder, "faulty", 4, false));
    assert_eq!(code, Some(1), "{error}");
    let last = "error[returned]: `local::replay::faulty` task 4 returned an error: task 4 is even\n  caused by: an inner \
                cause\n";
    assert!(error.ends_with(last), "{error}");

    for task in [2, 6] {
        let (code, error, _) = parts(replay(&folder, "faulty", task, false));
        assert_eq!(code, Some(0), "{error}");
        assert!(error.contains(&format!("local::replay::faulty returned {task} in ")), "{error}");
        assert!(error.ends_with(", as in the job\n"), "{error}");
    }
}

async fn a_replay_in_a_worker_has_the_limits_of_its_task() {
    let folder = scratch("replayed-in-a-worker");
    run(&folder).await;
    let (code, error, printed) = parts(replay(&folder, "faulty", 5, true));
    assert_eq!((code, printed.as_str()), (Some(1), "[faulty 5] task 5 has 20000 numbers\n"), "{error}");
    assert!(error.contains("error[timed_out]: `local::replay::faulty` task 5 ran longer than"), "{error}");
    let (code, error, _) = parts(replay(&folder, "faulty", 3, true));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("error[panicked]: `local::replay::faulty` task 3 panicked at "), "{error}");
    let (code, error, _) = parts(replay(&folder, "faulty", 7, true));
    assert_eq!(code, Some(0), "{error}");
    assert!(error.ends_with(", as in the job\n"), "{error}");
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Hits {
    share: Option<f64>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Silent {
    share: Option<f64>,
}

#[wren::remote]
fn with_debug(share: f64) -> Result<Hits, String> {
    Ok(Hits { share: Some(share) })
}

#[wren::remote]
fn without_debug(share: f64) -> Silent {
    Silent { share: Some(share) }
}

async fn a_replay_shows_the_result_as_debug_if_possible() {
    let folder = scratch("replayed-debug");
    let executor = executor_in(&folder);
    wren::map(with_debug, [0.5]).on(&executor).quiet().named("debug").await.unwrap();
    wren::map(without_debug, [0.5]).on(&executor).quiet().named("silent").await.unwrap();
    let json = r#"{"share": 0.5} in "#;
    for (job, pool, shown) in
        [("debug", false, "Hits { share: Some(0.5) } in "), ("debug", true, json), ("silent", false, json)]
    {
        let (code, error, _) = parts(replay(&folder, job, 0, pool));
        assert_eq!(code, Some(0), "{error}");
        assert!(error.contains(&format!(" returned {shown}")) && error.ends_with(", as in the job\n"), "{error}");
    }
}

#[wren::remote]
fn long_sum(table: &[f64], task: u64) -> f64 {
    table.iter().sum::<f64>() + task as f64
}

async fn unkept_inputs_come_from_the_store_or_are_errors() {
    let folder = scratch("not-kept");
    let executor = executor_in(&folder);
    let table = table();
    // Each task has its own table of 3 MB, which is more than is stored of a job.
    let tables: Vec<Vec<f64>> = (0..8).map(|i| vec![f64::from(i); 350_000]).collect();
    let sums = || wren::map(|(task, table)| long_sum(table, task), (0..).zip(&tables)).on(&executor).quiet();
    sums().named("large").await.unwrap();
    let id = sums().start().await.unwrap();
    id.wait().await.unwrap();
    wren::map(|task| long_sum(&table, task), 0..8).on(&executor).quiet().named("small").await.unwrap();

    let first = parts(replay(&folder, "large", 0, false));
    assert_eq!(first.0, Some(0), "{}", first.1);
    let (code, error, _) = parts(replay(&folder, "large", 7, false));
    assert_eq!(code, Some(1));
    assert!(error.contains("the input of task 7 of job large was not kept") && error.contains("WREN_KEEP_INPUTS"));
    let (code, error, _) = parts(replay(&folder, id.id(), 7, false));
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("as in the job"), "{error}");
    let (code, error, _) = parts(replay(&folder, "small", 8, false));
    assert_eq!(code, Some(1));
    assert!(error.contains("job small has no task 8: it has 8 tasks, numbered from 0"), "{error}");
}

#[wren::remote(retries = 1)]
fn fails_once(task: u64, large: &[u8], done: &Path) -> Result<u64, String> {
    match task == 7 && !done.exists() {
        true => std::fs::write(done, large).map_or(Ok(0), |()| Err("not yet".to_owned())),
        false => Ok(task),
    }
}

async fn inputs_of_retried_tasks_are_kept() {
    let folder = scratch("tried-again");
    let executor = executor_in(&folder);
    let done = folder.join("done");
    let large: Vec<Vec<u8>> = (0..8).map(|i| vec![i; 3 << 20]).collect();
    let all = wren::map(|(task, large)| fails_once(task, large, &done), (0..).zip(&large)).on(&executor).quiet();
    assert_eq!(all.named("tried").await.unwrap().len(), 8);
    let job = folder.join("jobs/tried");
    let input = |task| history::task_input(&job, task).unwrap();
    assert!(input(6).is_none());
    assert!(input(7).unwrap().size > 3 << 20);
}
