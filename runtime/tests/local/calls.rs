//! Calls, maps, streams and refs that succeed.

use std::time::Duration;

use libtest_mimic::Trial;
use wren::Executor;

use super::{add, executor, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        the_backend_conforms,
        calls_run_in_other_processes,
        a_map_gives_results_in_order,
        large_values_arrive_whole,
        faults_do_not_change_results,
        a_stream_over_an_endless_iterator_is_bounded,
        a_ref_is_stored_once_and_reaches_workers,
        nested_calls_do_not_block_a_full_pool,
    ]
}

#[wren::remote]
fn pid() -> u32 {
    std::process::id()
}

#[wren::remote]
fn name_in_ps() -> String {
    std::fs::read_to_string("/proc/self/comm").unwrap_or_default()
}

#[wren::remote]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// Sleeps for `ms`, then returns twice the length of `bytes`. Fails if `bytes` is empty.
#[wren::remote]
fn probe(ms: u64, bytes: &[u8]) -> Result<u64, String> {
    std::thread::sleep(Duration::from_millis(ms));
    if bytes.is_empty() { Err("no bytes".to_owned()) } else { Ok(2 * bytes.len() as u64) }
}

async fn the_backend_conforms() {
    wren::conformance::backend("local", probe).unwrap();
}

async fn calls_run_in_other_processes() {
    let executor = executor(2);
    let other = pid().on(&executor).await.unwrap();
    assert_ne!(other, std::process::id());
    assert_eq!(add(2, 40).on(&executor).await.unwrap(), 42);
    if cfg!(target_os = "linux") {
        assert!(name_in_ps().on(&executor).await.unwrap().starts_with("wren-worker-"));
    }
}

async fn a_map_gives_results_in_order() {
    let executor = executor(2);
    for n in [0, 1, 2, 10, 1_000, 100_000] {
        let sums = wren::map(|i| add(i, 1), 0..n).on(&executor).quiet().await.unwrap();
        assert!(sums.into_iter().eq(1..=n), "{n} tasks");
    }
}

async fn large_values_arrive_whole() {
    let executor = executor(2);
    let value = |i: usize| (0..i * 1_000_003).map(|b| (b * i) as u8).collect::<Vec<u8>>();
    let values = wren::map(|i| echo(value(i)), 0..12).on(&executor).quiet().await.unwrap();
    assert!(values.into_iter().enumerate().all(|(i, v)| v == value(i)));
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

    let sums = wren::map(|i| add(i, 7), 0..100_000).on(&executor).quiet().named("faulty").await.unwrap();
    assert!(sums.into_iter().eq(7..100_007));
    let committed = wren::Job::<u64>::attach(executor.clone(), "faulty").unwrap();
    assert_eq!(committed.progress().unwrap().done, 100_000, "each task is committed");
    let keys = executor.store().list("faulty/done/", None, usize::MAX).await.unwrap();
    assert!(keys.len() < 20_000, "small results share keys, but there are {} keys", keys.len());
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
        // If a value contains refs, their values are available too.
        let named = wren::put(&vec![model.clone()]).on(&executor).await.unwrap();
        let outer = wren::put(&Some(named)).on(&executor).await.unwrap();
        let sum = weigh_named(outer, 2).on(&executor).await.unwrap();
        assert_eq!(sum, 2.0 * weights.iter().sum::<f64>());
    }
}

type Named = Option<wren::Ref<Vec<wren::Ref<Vec<f64>>>>>;

#[wren::remote]
fn weigh_named(outer: wren::Ref<Named>, factor: u64) -> wren::Result<f64> {
    let models = outer.get_blocking()?.map(|named| named.get_blocking()).transpose()?.unwrap_or_default();
    models.into_iter().map(|model| Ok(model.get_blocking()?.iter().sum::<f64>() * factor as f64)).sum()
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
    // Makes remote calls from inside a remote function, on every level.
    let calls = [n - 1, n - 2].map(stub_of_fibonacci);
    wren::block_on(wren::gather(calls)).unwrap().iter().sum()
}

fn stub_of_fibonacci(n: u32) -> wren::Call<u64> {
    // Inside `fibonacci`, this name is the original function, which would not make a remote call.
    fibonacci(n)
}

async fn nested_calls_do_not_block_a_full_pool() {
    let executor = executor(2);
    let all = wren::map(|_| fibonacci(8), 0..6).on(&executor).quiet().await.unwrap();
    assert_eq!(all, [21; 6]);
}
