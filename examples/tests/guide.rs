//! Tests that the book's guides show: of functions, of jobs, and of a
//! program when machines fail. They need no setup: under `cargo test`,
//! remote functions run on threads of the test program.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use wren::faults::Faults;
use wren::store::MemoryStore;
use wren::{Error, Executor};

/// The median of some numbers.
#[wren::remote]
fn median(numbers: &[f64]) -> Result<f64, String> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get(sorted.len() / 2)
        .copied()
        .ok_or_else(|| "there are no numbers".to_owned())
}

// ANCHOR: local
#[test]
fn the_median_is_the_middle_one() {
    assert_eq!(median::local(&[9.0, 1.0, 5.0]), Ok(5.0));
}
// ANCHOR_END: local

// ANCHOR: job
#[test]
fn a_job_gives_all_medians_in_order() -> wren::Result<()> {
    let inputs = [vec![3.0, 1.0, 2.0], vec![8.0]];
    let medians = wren::block_on(wren::map(
        |numbers: &Vec<f64>| median(numbers),
        &inputs,
    ))?;
    assert_eq!(medians, [2.0, 8.0]);
    Ok(())
}
// ANCHOR_END: job

// ANCHOR: tokio
#[tokio::test]
async fn impossible_inputs_fail_their_call() {
    let error = median(&[]).await.unwrap_err();
    let Error::Returned { message, .. } = error else { panic!("{error}") };
    assert_eq!(message, "there are no numbers");
}
// ANCHOR_END: tokio

// ANCHOR: faults
#[test]
fn results_are_right_despite_crashes() -> wren::Result<()> {
    let faults = Faults::seeded(7)
        .crash(0.2)
        .duplicate(0.1)
        .throttle(0.05)
        .delay(0.1, Duration::from_millis(20));
    let executor =
        Executor::builder().backend("inline").faults(faults).build()?;
    let job = wren::map(|x: u32| median(&[f64::from(x); 3]), 0..500)
        .on(&executor);
    let medians = wren::block_on(job)?;
    assert!(medians.into_iter().eq((0..500).map(f64::from)));
    Ok(())
}
// ANCHOR_END: faults

// ANCHOR: store
#[test]
fn a_named_job_resumes_after_lost_writes() -> wren::Result<()> {
    let kept: Arc<dyn wren::store::Store> = MemoryStore::named("guide");
    let job = |executor: &Executor| {
        wren::map(|x: u32| median(&[f64::from(x)]), 0..50)
            .named("medians")
            .on(executor)
    };

    let faulty =
        Faults::seeded(1).lose_write(1.0).around_store(kept.clone());
    let executor = Executor::builder()
        .backend("inline")
        .opened_store(faulty)
        .build()?;
    assert!(matches!(wren::block_on(job(&executor)), Err(Error::Store(_))));

    // The store works again: committed tasks are not computed again.
    let executor =
        Executor::builder().backend("inline").opened_store(kept).build()?;
    assert_eq!(wren::block_on(job(&executor))?.len(), 50);
    Ok(())
}
// ANCHOR_END: store
