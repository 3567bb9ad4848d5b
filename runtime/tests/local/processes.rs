//! What programs and functions do with processes: they fork, exec, close descriptors, leave children behind.

use std::path::Path;

use libtest_mimic::Trial;

use super::drivers::{driver, executor_in};
use super::{add, scratch, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![a_fork_of_a_driver_gets_errors_and_does_no_harm, of_a_function_that_forks_the_worker_returns]
}

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(code: i32) -> !;
}

async fn a_fork_of_a_driver_gets_errors_and_does_no_harm() {
    driver("forks", &scratch("forks")).output();
}

/// What the driver does.
pub(crate) async fn fork_and_go_on(folder: &Path) -> wren::Result<()> {
    let executor = executor_in(folder);
    let stored = wren::put(&"stored".to_owned()).on(&executor).await?;
    assert_eq!(add(1, 2).on(&executor).await?, 3);
    let mut begun = Box::pin(add(3, 4).on(&executor));
    for round in 0..7 {
        let mut under_way = wren::map(|i| add(i, round), 0..200_000).on(&executor).quiet().stream();
        assert!(under_way.next().await.is_some());
        // SAFETY: the child calls what may fail there, takes no lock of its parent's, and ends.
        let child = unsafe { fork() };
        if child == 0 {
            in_the_fork(&executor, &stored, &mut begun).await;
            // SAFETY: nothing is to be cleaned up here that is not the parent's.
            unsafe { _exit(0) };
        }
        let mut sum = 0;
        let mut count = 1;
        while let Some((_, outcome)) = under_way.next().await {
            sum += outcome?;
            count += 1;
        }
        assert!(count == 200_000 && sum > 0);
        let again = wren::map(|i| add(i, round), 0..200_000).on(&executor).quiet().await?;
        assert!(again.into_iter().eq((0..200_000).map(|i| i + round)), "round {round}");
        let mut status = 0;
        // SAFETY: the status is a local variable.
        let waited = unsafe { waitpid(child, &raw mut status, 0) };
        assert_eq!((waited, status), (child, 0), "the fork gets its errors");
    }
    assert_eq!(begun.await?, 7);
    Ok(())
}

async fn in_the_fork(
    executor: &wren::Executor,
    stored: &wren::Ref<String>,
    begun: &mut (impl Future<Output = wren::Result<u64>> + Unpin),
) {
    let refused =
        |error: wren::Error| assert!(error.to_string().contains("is a fork of one that had called wren"), "{error}");
    let sums = || wren::map(|i| add(i, 1), 0..5).on(executor);
    refused(add(1, 2).await.unwrap_err());
    refused(add(1, 2).on(executor).await.unwrap_err());
    refused(begun.await.unwrap_err());
    refused(sums().await.unwrap_err());
    refused(sums().named("forked").await.unwrap_err());
    refused(sums().refs().await.unwrap_err());
    refused(sums().stream().next().await.unwrap().1.unwrap_err());
    refused(sums().start().await.unwrap_err());
    refused(wren::attach::<u64>("any").await.unwrap_err());
    refused(wren::put(&1).on(executor).await.unwrap_err());
    refused(stored.get().await.unwrap_err());
    refused(stored.get_blocking().unwrap_err());
    refused(wren::Executor::builder().build().unwrap_err());
    drop(executor.clone());
}

#[wren::remote]
fn fork_and_return() -> u32 {
    // SAFETY: a mistake: both processes go on.
    unsafe { fork() };
    std::process::id()
}

async fn of_a_function_that_forks_the_worker_returns() {
    let executor = wren::Executor::builder().backend("local").workers(2).build().unwrap();
    for _ in 0..20 {
        let pids = wren::gather((0..3).map(|_| fork_and_return())).on(&executor).quiet().await.unwrap();
        assert_eq!(pids.len(), 3);
    }
    let sums = wren::map(|i| add(i, 1), 0..100_000).on(&executor).quiet().await.unwrap();
    assert!(sums.into_iter().eq(1..100_001));
}
