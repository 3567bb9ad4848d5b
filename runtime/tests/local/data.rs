//! MapReduce and sort with workers that die, with stores that lose objects, and with little memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use serde::{Deserialize, Serialize};
use wren::bsp::{Bsp, Inbox, Outbox, Step};
use wren::faults::Faults;
use wren::mapreduce::{BoxError, Emitter, Format, MapReduce, Output, Values};
use wren::store::{FileStore, Store};
use wren::{Error, Executor, Input, Split};

use super::{note, notes, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        counts_match_a_plain_program_despite_crashes,
        sorts_match_coreutils_despite_crashes,
        shuffles_make_one_object_per_map_task_and_leave_none,
        a_sort_stays_within_its_memory,
        a_named_job_resumes_where_it_ended,
        a_named_job_without_its_shuffle_maps_again,
        every_kind_of_failure_has_its_error,
        programs_choose_partitions,
        logs_say_which_jobs_are_stages_of_one_computation,
        a_worker_that_dies_writing_leaves_no_file,
        an_output_folder_holds_its_last_jobs_output,
        named_jobs_notice_changed_outputs_and_inputs,
        steps_match_a_plain_program_despite_crashes,
        a_named_job_of_steps_resumes_at_its_last_step,
    ]
}

/// Returns a text whose words are distributed as in natural languages: the n-th most frequent word occurs about 1/n as
/// often as the first.
fn text(bytes: usize, seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = String::with_capacity(bytes + 20);
    while text.len() < bytes {
        let rank = (random.f64() * 9.0).exp() as u64;
        text.push_str(&format!("w{rank}"));
        text.push(if random.u8(..12) == 0 { '\n' } else { ' ' });
    }
    text
}

/// Returns an executor with injected faults: workers die, and results arrive twice.
fn faulty(folder: &Path, seed: u64) -> Executor {
    let faults = Faults::seeded(seed).crash(0.2).duplicate(0.2).throttle(0.05).delay(0.1, Duration::from_millis(5));
    let store = format!("file:{}", folder.join("store").display());
    Executor::builder().backend("local").workers(2).store(store).faults(faults).build().unwrap()
}

#[derive(Serialize, Deserialize)]
struct Count {
    /// Number of tasks that kill their worker once, after they have emitted their values.
    dies_in: u64,
    notes: std::path::PathBuf,
}

#[wren::mapreduce]
impl MapReduce for Count {
    type Input = Split;
    type Key = str;
    type Value = u64;
    type Output = (String, u64);

    fn map(&self, split: Split, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        for line in split.lines()? {
            line?.split_whitespace().for_each(|word| emit.emit(word, 1));
        }
        let task = split.range().start / 50_000;
        if task < self.dies_in && !notes(&self.notes).contains(&task) {
            note(&self.notes, task)?;
            std::process::abort();
        }
        Ok(())
    }

    fn combine(&self, count: &mut u64, next: u64) {
        *count += next;
    }

    fn reduce(
        &self,
        word: &str,
        counts: &mut Values<'_, u64>,
        out: &mut Output<(String, u64)>,
    ) -> Result<(), BoxError> {
        out.push((word.to_owned(), counts.sum()))
    }
}

async fn counts_match_a_plain_program_despite_crashes() {
    let folder = scratch("mapreduce");
    let text = text(400_000, 1);
    fs::write(folder.join("text"), &text).unwrap();
    let mut expected = BTreeMap::new();
    text.split_whitespace().for_each(|word| *expected.entry(word.to_owned()).or_insert(0u64) += 1);

    for (seed, memory) in [(1, 512), (2, 1)] {
        let executor = faulty(&folder, seed);
        let job = Count { dies_in: 2, notes: folder.join(format!("notes-{seed}")) };
        let splits = Input::glob(folder.join("text")).unwrap().split_size(50_000).splits().await.unwrap();
        let count = wren::map_reduce(job, splits).partitions(3).on(&executor).quiet();
        // Sets no memory limit of 1 MB, because a worker needs more than that; another test checks the limit.
        let count = if memory == 1 { count } else { count.memory(memory) };
        let counts = count.await.unwrap();
        assert_eq!(counts.len(), expected.len());
        assert_eq!(counts.into_iter().collect::<BTreeMap<_, _>>(), expected);
        // Both copies of a duplicated task may die, each before it sees the other's note.
        let died: BTreeSet<_> = notes(&folder.join(format!("notes-{seed}"))).into_iter().collect();
        assert_eq!(died, BTreeSet::from([0, 1]), "workers died");
    }

    // The same, with files as output.
    let job = Count { dies_in: 0, notes: folder.clone() };
    let splits = Input::glob(folder.join("text")).unwrap().split_size(50_000).splits().await.unwrap();
    let out = folder.join("out").display().to_string();
    let counted = wren::map_reduce(job, splits).partitions(3).on(&faulty(&folder, 3)).quiet();
    let written = counted.write(out, Format::Tsv).await.unwrap();
    assert_eq!((written.files.len(), written.records), (3, expected.len() as u64));
    let lines: String = written.files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert_eq!(written.bytes, lines.len() as u64);
    let read =
        |line: &str| line.split_once('\t').map(|(word, n)| (word.to_owned(), n.parse::<u64>().unwrap())).unwrap();
    assert_eq!(lines.lines().map(read).collect::<BTreeMap<_, _>>(), expected);
    let names: Vec<_> = fs::read_dir(folder.join("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "files of other attempts are removed: {names:?}");
}

/// Kills its worker once while it writes.
#[derive(Serialize, Deserialize)]
struct DiesWriting {
    notes: std::path::PathBuf,
}

#[wren::mapreduce]
impl MapReduce for DiesWriting {
    type Input = u64;
    type Key = u64;
    type Value = u64;
    type Output = u64;

    fn map(&self, n: u64, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        emit.emit(&n, n);
        Ok(())
    }

    fn reduce(&self, n: u64, _: &mut Values<'_, u64>, out: &mut Output<u64>) -> Result<(), BoxError> {
        out.push(n)?;
        if notes(&self.notes).is_empty() {
            note(&self.notes, n)?;
            std::process::abort();
        }
        Ok(())
    }
}

async fn a_worker_that_dies_writing_leaves_no_file() {
    let folder = scratch("dies-writing");
    let store = format!("file:{}", folder.join("store").display());
    let executor = Executor::builder().backend("local").workers(2).store(store).build().unwrap();
    let job = wren::map_reduce(DiesWriting { notes: folder.join("notes") }, 0..10).partitions(1).on(&executor).quiet();
    let written = job.write(folder.join("out").display().to_string(), Format::JsonLines).await.unwrap();
    assert_eq!((written.records, notes(&folder.join("notes")).len()), (10, 1));
    assert_eq!(fs::read_to_string(&written.files[0]).unwrap().lines().count(), 10);
    let names: Vec<_> = fs::read_dir(folder.join("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["part-00000.jsonl"]);
}

#[derive(Serialize, Deserialize)]
struct FailsAtTwo;

#[wren::mapreduce]
impl MapReduce for FailsAtTwo {
    type Input = u64;
    type Key = u64;
    type Value = u64;
    type Output = u64;

    fn map(&self, n: u64, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        emit.emit(&n, n);
        Ok(())
    }

    fn reduce(&self, n: u64, _: &mut Values<'_, u64>, out: &mut Output<u64>) -> Result<(), BoxError> {
        if n == 2 { Err("on purpose".into()) } else { out.push(n) }
    }
}

fn on_files(folder: &Path) -> Executor {
    let store = format!("file:{}", folder.join("store").display());
    Executor::builder().backend("local").workers(2).store(store).build().unwrap()
}

fn files_in(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

async fn an_output_folder_holds_its_last_jobs_output() {
    let folder = scratch("outputs");
    let executor = on_files(&folder);
    let (input, out) = (folder.join("in"), folder.join("out"));
    let sort = |partitions| {
        let sort = wren::sort(Input::glob(&input).unwrap()).partitions(partitions).on(&executor).quiet();
        sort.write(out.display().to_string())
    };
    let all = || files_in(&out).into_iter().map(|(_, text)| text).collect::<String>();
    fs::write(&input, "d\nb\na\nc").unwrap();
    assert_eq!(sort(4).await.unwrap().files.len(), 4);
    assert_eq!((files_in(&out).len(), all().as_str()), (4, "a\nb\nc\nd\n"));
    sort(1).await.unwrap();
    assert_eq!(files_in(&out), [("part-00000".to_owned(), "a\nb\nc\nd\n".to_owned())]);
    fs::write(&input, "").unwrap();
    sort(2).await.unwrap();
    assert_eq!(all(), "");
    // A job that fails leaves the folder unchanged.
    fs::write(&input, "x\ny\n").unwrap();
    sort(1).await.unwrap();
    let fails = wren::map_reduce(FailsAtTwo, 0..8).partitions(4).on(&executor).quiet();
    fails.write(out.display().to_string(), Format::Tsv).await.unwrap_err();
    assert_eq!(files_in(&out), [("part-00000".to_owned(), "x\ny\n".to_owned())]);
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["in", "out", "store"], "nothing is left next to the folder");
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let refused = sort(1).await.unwrap_err().to_string();
    assert!(refused.contains("`notes.txt` in it is not an output"), "{refused}");
}

async fn named_jobs_notice_changed_outputs_and_inputs() {
    let folder = scratch("changed");
    let executor = on_files(&folder);
    let (input, out) = (folder.join("in"), folder.join("out"));
    fs::write(&input, "b\na\n").unwrap();
    let sort = || {
        let sort = wren::sort(Input::glob(&input).unwrap()).partitions(2).named("sorted").on(&executor).quiet();
        sort.write(out.display().to_string())
    };
    let first = sort().await.unwrap();
    let modified = || fs::metadata(&first.files[0]).unwrap().modified().unwrap();
    let before = modified();
    assert_eq!(sort().await.unwrap(), first);
    assert_eq!(modified(), before, "nothing is written twice");
    fs::remove_dir_all(&out).unwrap();
    assert_eq!(sort().await.unwrap(), first, "removed files are written again");
    assert_eq!(files_in(&out).into_iter().map(|(_, text)| text).collect::<String>(), "a\nb\n");
    fs::write(&first.files[0], "").unwrap();
    sort().await.unwrap();
    assert_eq!(files_in(&out).into_iter().map(|(_, text)| text).collect::<String>(), "a\nb\n");
    // Another input of the same length.
    fs::write(&input, "d\nc\n").unwrap();
    let changed = sort().await.unwrap_err().to_string();
    assert!(changed.contains("task 0 of job `sorted-sample` was a different call"), "{changed}");
}

async fn sorts_match_coreutils_despite_crashes() {
    let folder = scratch("sort");
    fs::create_dir(folder.join("in")).unwrap();
    for file in 0..3 {
        fs::write(folder.join(format!("in/{file}")), text(150_000, file)).unwrap();
    }
    for memory in [512, 64] {
        let input = Input::glob(folder.join("in")).unwrap().split_size(40_000);
        let sort = wren::sort(input).partitions(4).memory(memory).on(&faulty(&folder, u64::from(memory))).quiet();
        let written = sort.write(folder.join("out").display().to_string()).await.unwrap();
        let ours: Vec<u8> = written.files.iter().flat_map(|file| fs::read(file).unwrap()).collect();
        let files = (0..3).map(|file| folder.join(format!("in/{file}")));
        let theirs = Command::new("sort").env("LC_ALL", "C").args(files).output().unwrap();
        assert!(theirs.status.success());
        // The last line of a file may have no newline; `sort` adds it, too.
        assert!(ours == theirs.stdout, "{} bytes, {} by coreutils", ours.len(), theirs.stdout.len());
    }
}

async fn shuffles_make_one_object_per_map_task_and_leave_none() {
    let folder = scratch("objects");
    let store = std::sync::Arc::new(FileStore::open(folder.join("store")).unwrap());
    let executor = Executor::builder().backend("inline").workers(2).opened_store(store.clone()).build().unwrap();
    let watch = Watch { store: folder.join("store") };
    let job = wren::map_reduce(watch, 0..61u64).partitions(40).on(&executor).quiet();
    let seen = job.await.unwrap();
    assert_eq!(seen.into_iter().max(), Some(61), "61 tasks and 40 partitions make 61 objects");
    let left = store.list("", None, 100).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// Returns the number of shuffle objects while it reduces.
#[derive(Serialize, Deserialize)]
struct Watch {
    store: std::path::PathBuf,
}

#[wren::mapreduce]
impl MapReduce for Watch {
    type Input = u64;
    type Key = u64;
    type Value = ();
    type Output = u64;

    fn map(&self, _: u64, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        (0..500).for_each(|key| emit.emit(&key, ()));
        Ok(())
    }

    fn reduce(&self, _: u64, _: &mut Values<'_, ()>, out: &mut Output<u64>) -> Result<(), BoxError> {
        let mut objects = 0;
        for job in fs::read_dir(&self.store)? {
            let shuffle = job?.path().join("shuffle/0");
            objects += fs::read_dir(shuffle).map_or(0, Iterator::count);
        }
        out.push(objects as u64)
    }
}

async fn a_sort_stays_within_its_memory() {
    let folder = scratch("memory");
    let mut random = fastrand::Rng::with_seed(11);
    let records: Vec<u8> = (0..200 << 20).map(|_| random.u8(..)).collect();
    fs::write(folder.join("records"), &records[..records.len() / 100 * 100]).unwrap();
    drop(records);
    let store = format!("file:{}", folder.join("store").display());
    let executor = Executor::builder().backend("local").workers(2).store(store).build().unwrap();
    // Two partitions of 100 MB, in workers of 96 MB; the backend kills workers that need more.
    let input = Input::glob(folder.join("records")).unwrap().fixed(100);
    let sort = wren::sort(input).key(0..10).partitions(2).memory(96).on(&executor).quiet();
    let written = sort.write(folder.join("out").display().to_string()).await.unwrap();
    assert_eq!(written.records, (200 << 20) / 100);
    let mut last = vec![0; 10];
    for file in &written.files {
        for record in fs::read(file).unwrap().chunks(100) {
            assert!(last.as_slice() <= &record[..10]);
            last.copy_from_slice(&record[..10]);
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

/// Writes a text to a folder. Returns an executor with a store in the folder, and the splits of the text.
async fn text_and_store(folder: &Path) -> (Executor, Vec<Split>) {
    fs::write(folder.join("text"), text(200_000, 9)).unwrap();
    let store = format!("file:{}", folder.join("store").display());
    let executor = Executor::builder().backend("local").workers(2).store(store).build().unwrap();
    let splits = Input::glob(folder.join("text")).unwrap().split_size(50_000).splits().await.unwrap();
    (executor, splits)
}

async fn a_named_job_resumes_where_it_ended() {
    let folder = scratch("named");
    let (executor, splits) = text_and_store(&folder).await;
    let run = async || {
        let job = Fragile { notes: folder.join("notes"), fails: folder.join("fails") };
        wren::map_reduce(job, splits.clone()).named("fragile").partitions(2).on(&executor).quiet().await
    };
    fs::write(folder.join("fails"), "").unwrap();
    assert!(matches!(run().await, Err(Error::Returned { .. })));
    let mapped = notes(&folder.join("notes")).len();
    assert_eq!(mapped, splits.len());
    fs::remove_file(folder.join("fails")).unwrap();
    let total: u64 = run().await.unwrap().into_iter().sum();
    assert_eq!(total, fs::read_to_string(folder.join("text")).unwrap().lines().count() as u64);
    assert_eq!(notes(&folder.join("notes")).len(), mapped, "no split was mapped again");
    assert_eq!(run().await.unwrap().into_iter().sum::<u64>(), total);
}

/// A store may remove old objects and keep the records that name them.
async fn a_named_job_without_its_shuffle_maps_again() {
    let folder = scratch("gone");
    let (executor, splits) = text_and_store(&folder).await;
    let run = async || {
        let job = Fragile { notes: folder.join("notes"), fails: folder.join("fails") };
        wren::map_reduce(job, splits.clone()).named("fragile").partitions(2).on(&executor).quiet().await
    };
    fs::write(folder.join("fails"), "").unwrap();
    assert!(matches!(run().await, Err(Error::Returned { .. })));
    fs::remove_file(folder.join("fails")).unwrap();
    let shuffle = folder.join("store/fragile/shuffle/0");
    let one = fs::read_dir(&shuffle).unwrap().next().unwrap().unwrap().path();
    if one.is_dir() {
        fs::remove_dir_all(one).unwrap()
    } else {
        fs::remove_file(one).unwrap()
    }
    let total: u64 = run().await.unwrap().into_iter().sum();
    assert_eq!(total, fs::read_to_string(folder.join("text")).unwrap().lines().count() as u64);
    assert!(notes(&folder.join("notes")).len() > splits.len(), "the removed data was mapped again");
}

/// Counts lines. Its `reduce` fails while the file `fails` exists.
#[derive(Serialize, Deserialize)]
struct Fragile {
    notes: std::path::PathBuf,
    fails: std::path::PathBuf,
}

#[wren::mapreduce]
impl MapReduce for Fragile {
    type Input = Split;
    type Key = usize;
    type Value = u64;
    type Output = u64;

    fn map(&self, split: Split, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        note(&self.notes, split.range().start)?;
        for line in split.lines()? {
            emit.emit(&line?.len(), 1);
        }
        Ok(())
    }

    fn reduce(&self, _: usize, lines: &mut Values<'_, u64>, out: &mut Output<u64>) -> Result<(), BoxError> {
        if self.fails.exists() {
            return Err("not yet".into());
        }
        out.push(lines.sum())
    }
}

/// Fails in the way that its input names.
#[derive(Serialize, Deserialize)]
struct Fails;

#[wren::mapreduce(timeout = 1)]
impl MapReduce for Fails {
    type Input = String;
    type Key = u8;
    type Value = u8;
    type Output = ();

    fn map(&self, how: String, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        match how.as_str() {
            "returned" => return Err(Box::new("x".parse::<u8>().unwrap_err())),
            "panicked" => panic!("on purpose"),
            "timed out" => std::thread::sleep(Duration::from_secs(60)),
            _ => {}
        }
        emit.emit(&1, 1);
        Ok(())
    }

    fn reduce(&self, _: u8, _: &mut Values<'_, u8>, _: &mut Output<()>) -> Result<(), BoxError> {
        Err("in reduce".into())
    }
}

async fn every_kind_of_failure_has_its_error() {
    let folder = scratch("fails");
    let store = format!("file:{}", folder.display());
    let executor = Executor::builder().backend("local").workers(2).store(store).build().unwrap();
    let run = async |how: &str| wren::map_reduce(Fails, [how.to_owned()]).on(&executor).quiet().await.unwrap_err();
    let error = run("returned").await;
    assert!(error.to_string().contains("Fails::map") && error.to_string().contains("invalid digit"), "{error}");
    assert!(matches!(run("panicked").await, Error::Panicked { .. }));
    assert!(matches!(run("timed out").await, Error::TimedOut { .. }));
    let error = run("nothing").await;
    assert!(error.to_string().contains("Fails::reduce") && error.to_string().contains("in reduce"), "{error}");

    let unseen = Executor::builder().backend("local").workers(1).store("memory:").build().unwrap();
    let error = wren::map_reduce(Fails, ["".to_owned()]).on(&unseen).quiet().await.unwrap_err();
    assert!(error.to_string().contains("cannot access the store"), "{error}");
    let nowhere = wren::map_reduce(Fails, [String::new()]).on(&executor).quiet().write("/proc/none", Format::Tsv).await;
    assert!(matches!(&nowhere, Err(Error::Store(e)) if e.to_string().contains("/proc/none")), "{nowhere:?}");
    // Without input, there is no output.
    assert_eq!(wren::map_reduce(Fails, []).on(&executor).quiet().await, Ok(Vec::new()));
}

/// Puts even and odd numbers into separate partitions, and outputs them with their values.
#[derive(Serialize, Deserialize)]
struct EvenAndOdd;

#[wren::mapreduce]
impl MapReduce for EvenAndOdd {
    type Input = u64;
    type Key = i64;
    type Value = (u64, String);
    type Output = (i64, Vec<u64>);

    fn map(&self, task: u64, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        (-5..5).for_each(|key| (0..2).for_each(|i| emit.emit(&key, (2 * task + i, format!("{key}")))));
        Ok(())
    }

    fn partition(&self, key: i64, partitions: usize) -> usize {
        // For odd keys, the number is too large, so the last partition is used.
        if key % 2 == 0 { 0 } else { partitions + 3 }
    }

    fn reduce(
        &self,
        key: i64,
        values: &mut Values<'_, (u64, String)>,
        out: &mut Output<(i64, Vec<u64>)>,
    ) -> Result<(), BoxError> {
        let values: Vec<_> = values.take(if key == 1 { 2 } else { usize::MAX }).collect();
        assert!(values.iter().all(|(_, text)| *text == key.to_string()));
        out.push((key, values.into_iter().map(|(n, _)| n).collect()))
    }
}

async fn programs_choose_partitions() {
    let folder = scratch("partition");
    let store = format!("file:{}", folder.display());
    let executor = Executor::builder().backend("local").workers(2).store(store).build().unwrap();
    let groups = wren::map_reduce(EvenAndOdd, 0..3).partitions(3).on(&executor).quiet().await.unwrap();
    let keys: Vec<i64> = groups.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, [-4, -2, 0, 2, 4, -5, -3, -1, 1, 3], "in order within each partition");
    for (key, values) in groups {
        assert!(values.into_iter().eq(0..if key == 1 { 2 } else { 6 }), "in the order of the inputs");
    }
}

async fn logs_say_which_jobs_are_stages_of_one_computation() {
    let folder = scratch("stages");
    let store = format!("file:{}", folder.join("store").display());
    let executor = Executor::builder().backend("local").workers(2).store(store).directory(&folder).build().unwrap();
    let numbers = || wren::map_reduce(EvenAndOdd, 0..3).partitions(3).on(&executor).quiet();
    numbers().await.unwrap();
    // A named job of stages that all have their results runs again.
    for _ in 0..2 {
        numbers().named("parity").await.unwrap();
    }
    fs::write(folder.join("lines"), "b\na\n").unwrap();
    let sorted = wren::sort(Input::glob(folder.join("lines")).unwrap()).partitions(2).on(&executor).quiet();
    sorted.write(folder.join("sorted").display().to_string()).await.unwrap();
    wren::map(|n| super::add(n, n), 0..3).on(&executor).quiet().await.unwrap();

    let mut runs = BTreeMap::<_, Vec<_>>::new();
    let jobs = wren::history::jobs(&folder).unwrap();
    assert_eq!(jobs.iter().filter(|job| job.stage.is_none()).count(), 1, "only the map is no stage");
    for stage in jobs.into_iter().filter_map(|job| job.stage) {
        runs.entry((stage.of, stage.run)).or_default().push((stage.number, stage.name));
    }
    let mut runs: Vec<_> = runs.into_iter().map(|((of, _), stages)| (of, stages)).collect();
    for (of, stages) in &mut runs {
        stages.sort();
        let names: Vec<_> = stages.iter().map(|(number, name)| (*number, name.as_str())).collect();
        match of.as_str() {
            "wren::sort" => assert_eq!(names, [(1, "sample"), (2, "map"), (3, "reduce")]),
            _ => assert_eq!(names, [(1, "map"), (2, "reduce")], "{of}"),
        }
    }
    let of: Vec<_> = runs.iter().map(|(of, _)| of.rsplit("::").next().unwrap()).collect();
    assert_eq!(of, ["EvenAndOdd", "parity", "sort"]);
}

/// Labels each number with the smallest number that can be reached from it, over edges in both directions.
#[derive(Serialize, Deserialize)]
struct Components {
    notes: std::path::PathBuf,
    /// While this file exists, step 3 fails.
    fails: std::path::PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct Node {
    least: u64,
    others: Vec<u64>,
}

#[wren::bsp]
impl Bsp for Components {
    type Input = Vec<(u64, u64)>;
    type State = BTreeMap<u64, Node>;
    type Key = u64;
    type Message = Vec<u64>;
    type Summary = u64;
    type Output = (u64, u64);

    fn load(&self, edges: Vec<(u64, u64)>, send: &mut Outbox<'_, Self>) -> Result<(), BoxError> {
        for (a, b) in edges {
            send.send(&a, vec![b]);
            send.send(&b, vec![a]);
        }
        Ok(())
    }

    fn combine(&self, numbers: &mut Vec<u64>, more: Vec<u64>) {
        numbers.extend(more);
    }

    fn step(
        &self,
        step: &Step<u64>,
        nodes: &mut BTreeMap<u64, Node>,
        inbox: Inbox<'_, Self>,
        send: &mut Outbox<'_, Self>,
    ) -> Result<u64, BoxError> {
        note(&self.notes, step.number)?;
        if step.number == 3 && self.fails.exists() {
            return Err("not yet".into());
        }
        if step.number > 1 {
            assert_eq!(step.summaries.len(), step.partitions);
        }
        let mut changed = 0;
        inbox.each(|number, received| {
            let received: Vec<u64> = received.flatten().collect();
            let node = nodes.entry(number).or_insert_with(|| Node { least: number, others: received.clone() });
            let least = received.into_iter().fold(node.least, u64::min);
            if least < node.least || step.number == 1 {
                changed += 1;
                node.least = least;
                node.others.iter().for_each(|other| send.send(other, vec![least]));
            }
            Ok(())
        })?;
        Ok(changed)
    }

    fn finish(&self, nodes: BTreeMap<u64, Node>, out: &mut Output<(u64, u64)>) -> Result<(), BoxError> {
        nodes.into_iter().try_for_each(|(number, node)| out.push((number, node.least)))
    }
}

type Edges = Vec<(u64, u64)>;

/// Returns the edges of a graph with several components, and the expected label of each number.
fn graph(seed: u64) -> (Vec<Edges>, BTreeMap<u64, u64>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let edges: Vec<(u64, u64)> = (0..600)
        .map(|_| {
            let part = 100 * random.u64(..5);
            (part + random.u64(..100), part + random.u64(..100))
        })
        .collect();
    let mut labels: BTreeMap<u64, u64> = edges.iter().flat_map(|(a, b)| [(*a, *a), (*b, *b)]).collect();
    loop {
        let before = labels.clone();
        for (a, b) in &edges {
            let least = labels[a].min(labels[b]);
            labels.insert(*a, least);
            labels.insert(*b, least);
        }
        if labels == before {
            return (edges.chunks(100).map(<[_]>::to_vec).collect(), labels);
        }
    }
}

async fn steps_match_a_plain_program_despite_crashes() {
    let folder = scratch("bsp");
    for seed in 0..3 {
        let (edges, labels) = graph(seed);
        let job = Components { notes: folder.join("notes"), fails: folder.join("none") };
        let run = wren::bsp(job, edges).partitions(3).on(&faulty(&folder, seed)).quiet();
        assert_eq!(run.await.unwrap().into_iter().collect::<BTreeMap<_, _>>(), labels);
    }
    let store = FileStore::open(folder.join("store")).unwrap();
    let left = store.list("", None, 100).await.unwrap();
    assert!(left.iter().all(|key| !key.contains("shuffle")), "{left:?}");

    // Stops at the step that `until` chooses.
    let (edges, _) = graph(1);
    let job = Components { notes: folder.join("counted"), fails: folder.join("none") };
    let run = wren::bsp(job, edges).partitions(2).until(|step, changed| step == 2 && changed.len() == 2);
    run.on(&faulty(&folder, 9)).quiet().await.unwrap();
    assert_eq!(notes(&folder.join("counted")).into_iter().max(), Some(2));
}

async fn a_named_job_of_steps_resumes_at_its_last_step() {
    let folder = scratch("bsp-named");
    let (edges, labels) = graph(4);
    let store = format!("file:{}", folder.join("store").display());
    let executor = Executor::builder().backend("local").workers(2).store(store).build().unwrap();
    let run = async || {
        let job = Components { notes: folder.join("notes"), fails: folder.join("fails") };
        wren::bsp(job, edges.clone()).named("components").partitions(2).on(&executor).quiet().await
    };
    fs::write(folder.join("fails"), "").unwrap();
    assert!(matches!(run().await, Err(Error::Returned { .. })));
    fs::remove_file(folder.join("fails")).unwrap();
    fs::remove_file(folder.join("notes")).unwrap();
    assert_eq!(run().await.unwrap().into_iter().collect::<BTreeMap<_, _>>(), labels);
    assert_eq!(notes(&folder.join("notes")).into_iter().min(), Some(3), "steps 1 and 2 were not run again");
}
