//! Large values that calls share: how often they are sent and decoded, and what the log says about it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wren::history::{Phase, Timeline};

use super::phases::{checked, length, logged};
use super::{executor, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        an_immutable_value_is_decoded_once_by_each_worker,
        a_value_that_can_change_is_decoded_for_each_call,
        collections_of_the_standard_library_arrive_unchanged,
        the_log_counts_shared_values_once_and_each_time_they_are_sent,
        conversions_have_phases_of_their_own,
    ]
}

/// How many values this process has decoded.
static DECODED: AtomicU64 = AtomicU64::new(0);

/// Counts how often it is decoded.
struct Counted(Vec<u8>);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()))
    }
}

#[derive(Serialize, Deserialize)]
struct Fixed {
    counted: Counted,
}

impl wren::Immutable for Fixed {}

#[derive(Serialize, Deserialize)]
struct Changing {
    counted: Counted,
    calls: Mutex<u64>,
}

fn large() -> Counted {
    Counted((0..200_000_u32).map(|i| i as u8).collect())
}

/// Returns how many values this worker has decoded so far.
#[wren::remote]
fn borrow_fixed(_task: u64, value: &Fixed) -> u64 {
    assert_eq!(value.counted.0.len(), 200_000);
    DECODED.load(Ordering::Relaxed)
}

async fn an_immutable_value_is_decoded_once_by_each_worker() {
    let executor = executor(1);
    let value = Fixed { counted: large() };
    for (job, chunk) in (1..).zip([1, 5, 40]) {
        let decoded = wren::map(|task| borrow_fixed(task, &value), 0..40).on(&executor).chunk(chunk).quiet();
        let decoded = decoded.await.unwrap();
        assert_eq!(decoded, [decoded[0]; 40], "with {chunk} calls in a batch");
        // The value of an earlier job may still be there, or may have been dropped.
        assert!((1..=job).contains(&decoded[0]), "{decoded:?}");
    }
}

/// Returns the number of calls that this value has seen, and how many values this worker has decoded so far.
#[wren::remote]
fn borrow_changing(_task: u64, value: &Changing) -> (u64, u64) {
    let mut calls = value.calls.lock().unwrap();
    *calls += 1;
    assert_eq!(value.counted.0.len(), 200_000);
    (*calls, DECODED.load(Ordering::Relaxed))
}

async fn a_value_that_can_change_is_decoded_for_each_call() {
    let executor = executor(1);
    let value = Changing { counted: large(), calls: Mutex::new(0) };
    let outcomes = wren::map(|task| borrow_changing(task, &value), 0..20).on(&executor).chunk(5).quiet();
    let want: Vec<_> = (1..=20).map(|decoded| (1, decoded)).collect();
    assert_eq!(outcomes.await.unwrap(), want);
}

#[allow(clippy::ptr_arg, reason = "vectors are decoded in another way than slices")]
#[wren::remote]
fn sizes(rows: &Vec<Vec<f64>>, names: &HashMap<String, u32>, numbers: &Vec<f32>, texts: &[String]) -> [usize; 4] {
    [rows.iter().map(Vec::len).sum(), names.values().sum::<u32>() as usize, numbers.len(), texts.concat().len()]
}

async fn collections_of_the_standard_library_arrive_unchanged() {
    let executor = executor(2);
    let rows = vec![vec![0.5; 1_000]; 30];
    let names: HashMap<_, _> = (0..10_000).map(|i| (format!("name {i}"), 1)).collect();
    let (numbers, texts) = (vec![1.5; 50_000], vec!["text".to_owned(); 30_000]);
    let found = wren::map(|_| sizes(&rows, &names, &numbers, &texts), 0..50).on(&executor).quiet().await.unwrap();
    assert_eq!(found, vec![[30_000, 10_000, 50_000, 120_000]; 50]);
    // The same bytes as another type.
    assert_eq!(rows_of(&rows).on(&executor).await.unwrap(), 30);
}

#[wren::remote]
fn rows_of(rows: &[Vec<f64>]) -> usize {
    rows.len()
}

#[wren::remote]
fn sum(from: usize, numbers: &[f64]) -> f64 {
    numbers[from..].iter().sum()
}

async fn the_log_counts_shared_values_once_and_each_time_they_are_sent() {
    let (executor, folder) = logged("local", 2);
    let numbers = vec![1.0; 300_000];
    // A block of numbers has a header of 16 bytes.
    let size = 8 * 300_000 + 16;
    let start = Instant::now();
    let sums = wren::map(|from: usize| sum(from, &numbers), 0..100).on(&executor).quiet().chunk(5).await.unwrap();
    assert_eq!(sums[7], 299_993.0);
    let spans = checked(&folder, start.elapsed());
    assert_eq!(spans.iter().map(|span| span.large_in).sum::<u64>(), 100 * size);
    assert!(spans.iter().all(|span| span.large_in == span.count() * size), "{spans:?}");
    let sent: u64 = spans.iter().map(|span| span.sent_values).sum();
    let mut workers: Vec<_> = spans.iter().map(|span| span.worker).collect();
    workers.sort_unstable();
    workers.dedup();
    // A worker may have been given a batch that another one took over.
    assert!((workers.len() as u64..=2).contains(&sent), "sent {sent} times to {workers:?}");
    assert_eq!(spans.iter().map(|span| span.sent_bytes).sum::<u64>(), sent * size);

    let job = wren::history::jobs(&folder).unwrap().remove(0);
    let driver = Timeline::read(&folder.join("jobs").join(job.id)).unwrap().driver;
    assert_eq!((driver.large_values, driver.large_bytes), (1, size));
}

/// Time that a [`Slow`] takes to be encoded, and to be decoded.
const PAUSE: Duration = Duration::from_millis(5);

struct Slow(Vec<u8>);

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        std::thread::sleep(PAUSE);
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::thread::sleep(PAUSE);
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()))
    }
}

#[wren::remote]
fn pass_through(value: Slow) -> Slow {
    value
}

async fn conversions_have_phases_of_their_own() {
    for backend in ["local", "inline"] {
        let (executor, folder) = logged(backend, 2);
        let start = Instant::now();
        let values = wren::map(|task| pass_through(Slow(vec![task; 2_000])), 0..8).on(&executor).quiet();
        let values = values.await.unwrap();
        assert!(values.iter().zip(0..).all(|(value, task)| value.0 == [task; 2_000]));
        let pause = PAUSE.as_micros() as u64;
        for span in checked(&folder, start.elapsed()) {
            for phase in [Phase::Decode, Phase::Encode] {
                // Both ends are rounded.
                assert!(length(&span, phase) + 1 >= span.count() * pause, "{backend}: {phase:?} of {span:?}");
            }
        }
        let job = wren::history::jobs(&folder).unwrap().remove(0);
        let driver = Timeline::read(&folder.join("jobs").join(job.id)).unwrap().driver;
        let least = 8.0 * PAUSE.as_secs_f64();
        assert!(driver.encode_s >= least && driver.decode_s >= least, "{backend}: {driver:?}");
    }
}
