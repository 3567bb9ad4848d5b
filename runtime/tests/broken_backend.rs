//! If a backend panics, all current and later calls of its executor end with an error.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wren::backend::{Backend, BackendScheme, Batch, BatchId, Reply};
use wren::{Error, Executor};

/// Limit of a call, so that one that never ends fails its test.
const LIMIT: Duration = Duration::from_secs(60);

inventory::submit! {
    BackendScheme { scheme: "panics", open: |rest, _| Ok(Box::new(Panics { in_poll: rest == "poll", left: 3 })) }
}

/// A backend that runs some batches and then panics.
#[derive(Debug)]
struct Panics {
    in_poll: bool,
    left: u32,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

impl Backend for Panics {
    fn slots(&self) -> usize {
        4
    }

    fn workers(&self) -> usize {
        4
    }

    fn invoke(&mut self, batch: Batch, now: Duration, replies: &mut Vec<Reply>) {
        CALLS.fetch_add(1, Ordering::SeqCst);
        self.left = self.left.saturating_sub(1);
        assert!(self.left > 0 || self.in_poll, "invoke fails on purpose");
        if self.left > 0 {
            replies.extend(batch.tasks.clone().map(|task| batch.run_task(task, now)));
        }
    }

    fn cancel(&mut self, _batch: BatchId, _now: Duration) {}

    fn poll(&mut self, _now: Duration, _replies: &mut Vec<Reply>) -> Option<Duration> {
        assert!(self.left > 0, "poll fails on purpose");
        None
    }
}

#[wren::remote]
fn double(x: u64) -> u64 {
    2 * x
}

fn assert_broken<T: std::fmt::Debug>(ended: Result<wren::Result<T>, tokio::time::error::Elapsed>) {
    match ended.expect("the call ends") {
        Err(Error::Backend(why)) => assert!(why.contains("on purpose") && why.contains("panicked"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_call_ends_with_an_error() {
    for place in ["invoke", "poll"] {
        wren::block_on(async {
            let executor = Executor::builder().backend(format!("panics:{place}")).store("memory:").build().unwrap();
            let limit = |future| tokio::time::timeout(LIMIT, future);
            let waiting = executor.clone();
            let waiter = std::thread::spawn(move || {
                wren::block_on(async move {
                    let map = wren::map(double, 0..).on(&waiting).quiet().stream();
                    let mut map = std::pin::pin!(map);
                    let last = async {
                        loop {
                            match map.next().await {
                                Some((_, Ok(_))) => {}
                                Some((_, Err(error))) => return Err::<(), _>(error),
                                None => panic!("the stream is endless"),
                            }
                        }
                    };
                    tokio::time::timeout(LIMIT, last).await
                })
            });
            assert_broken(waiter.join().unwrap());
            assert_broken(limit(double(1).on(&executor)).await);
            let map = async { wren::map(double, 0..5).on(&executor).await };
            assert_broken(tokio::time::timeout(LIMIT, map).await);
            let named = async { wren::map(double, 0..5).on(&executor).named("x").await };
            assert_broken(tokio::time::timeout(LIMIT, named).await);
            let started = async { wren::map(double, 0..5).on(&executor).start().await?.wait().await };
            assert_broken(tokio::time::timeout(LIMIT, started).await);
        });
    }
    assert!(CALLS.load(Ordering::SeqCst) >= 2);
}

/// The number of attempts does not overflow.
#[test]
fn a_call_may_be_retried_forever() {
    #[wren::remote]
    fn fails_twice(_x: u64) -> Result<u64, String> {
        static TRIED: AtomicU64 = AtomicU64::new(0);
        match TRIED.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err("not yet".to_owned()),
            tried => Ok(tried),
        }
    }
    let executor = Executor::builder().backend("inline").store("memory:").build().unwrap();
    assert_eq!(wren::block_on(fails_twice(1).retries(u32::MAX).on(&executor)), Ok(2));
}
