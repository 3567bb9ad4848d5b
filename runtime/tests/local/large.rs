//! Large values, which workers map into their memory: each call sees its own value.

use libtest_mimic::Trial;

use super::{executor, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        reused_memory_never_shows_another_value,
        a_value_captured_by_many_calls_reaches_all,
        mapped_arguments_do_not_count_as_call_memory,
        values_both_mapped_and_named_by_a_ref_stay,
    ]
}

const LEN: usize = 300_000;

#[wren::remote]
fn all_are(numbers: &[f64], want: f64) -> bool {
    numbers.len() == LEN && numbers.iter().all(|number| *number == want)
}

#[wren::remote]
fn sum_of(numbers: Vec<u32>, add: &[[f32; 3]]) -> (u64, f32) {
    (numbers.iter().map(|number| u64::from(*number)).sum(), add.iter().map(|point| point[2]).sum())
}

async fn reused_memory_never_shows_another_value() {
    let executor = executor(2);
    // One buffer, which changes between the calls.
    let mut numbers = vec![0.0; LEN];
    for i in 0..40 {
        numbers.fill(f64::from(i));
        assert!(all_are(&numbers, f64::from(i)).on(&executor).await.unwrap(), "call {i}");
    }
    // More values at once than workers keep mapped.
    let calls = (0..100).map(|i| all_are(&vec![f64::from(i); LEN], f64::from(i)));
    assert!(wren::gather(calls.collect::<Vec<_>>()).on(&executor).quiet().await.unwrap().into_iter().all(|ok| ok));
    // Calls that are dropped while their values are being sent.
    for i in 0..20 {
        let mut dropped = Box::pin(all_are(&vec![1.0; LEN], 1.0).on(&executor));
        // On a fast machine, it may have finished already.
        let _ = futures_util::poll!(&mut dropped);
        drop(dropped);
        let want = f64::from(i);
        assert!(all_are(&vec![want; LEN], want).on(&executor).await.unwrap(), "after {i} dropped calls");
    }
}

async fn a_value_captured_by_many_calls_reaches_all() {
    let executor = executor(2);
    let (numbers, points) = ((0..LEN as u32).collect::<Vec<_>>(), vec![[0.0, 0.0, 1.0]; 200_000]);
    let want = (u64::from(LEN as u32 - 1) * LEN as u64 / 2, 200_000.0);
    let sums = wren::map(|_| sum_of(numbers.clone(), &points), 0..50).on(&executor).quiet().await.unwrap();
    assert_eq!(sums, vec![want; 50]);
}

async fn mapped_arguments_do_not_count_as_call_memory() {
    let executor = executor(1);
    let numbers = vec![2.0; LEN * 100];
    for _ in 0..2 {
        assert!(!all_are(&numbers, 2.0).memory(64).on(&executor).await.unwrap(), "240 MB in a call that may use 64 MB");
    }
}

#[wren::remote]
fn len_of(value: wren::Ref<Vec<f64>>, numbers: &[f64]) -> wren::Result<usize> {
    Ok(value.get_blocking()?.len() + numbers.len())
}

async fn values_both_mapped_and_named_by_a_ref_stay() {
    let store = "memory:mapped-and-named";
    let executor = wren::Executor::builder().workers(1).store(store).build().unwrap();
    let numbers = vec![3.0; LEN];
    let value = wren::put(&numbers).on(&executor).await.unwrap();
    for i in 0..5 {
        assert_eq!(len_of(value.clone(), &numbers).on(&executor).await.unwrap(), 2 * LEN);
        let other = f64::from(i);
        assert!(all_are(&vec![other; LEN], other).on(&executor).await.unwrap());
    }
}
