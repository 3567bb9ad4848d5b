//! The cloud button for Rust: annotate a function, call it as if it were async, map it over ten
//! thousand inputs.
//!
//! ```
//! #[wren::remote]
//! fn square(x: u64) -> u64 {
//!     x * x
//! }
//!
//! #[wren::main]
//! async fn main() -> wren::Result<()> {
//!     let one = square(7).await?;
//!     let all = wren::map(square, 0..1_000).await?;
//!     assert_eq!((one, all[999]), (49, 998_001));
//!     Ok(())
//! }
//! ```
//!
//! `cargo run` runs the calls on a pool of worker processes of the same program: each call has a
//! process to itself while it runs, so that a crash is an error of that call and of no other. After
//! `cargo wren deploy`, the same program runs them on AWS Lambda.
//!
//! This is the tutorial in small. At length it is in
//! [the book](https://github.com/wren-rs/wren/blob/main/book/src/SUMMARY.md), with guides for those who
//! come from rayon, multiprocessing, PyWren or Lithops.
//!
//! # Errors
//!
//! An `Err` of the function is the error of its call. Other ways to fail are other variants of
//! [`Error`]: a panic, a worker that died, a limit that was passed. [`try_all`](Map::try_all) gives each
//! task's own outcome; what machines do wrong is tried again, what functions do wrong where `retries`
//! says so.
//!
//! ```
//! #[wren::remote(memory = 512, timeout = 60, retries = 1)]
//! fn parse(line: &str) -> Result<f64, std::num::ParseFloatError> {
//!     line.trim().parse()
//! }
//!
//! # wren::block_on(async {
//! let outcomes = wren::map(parse, ["1.5", "two", "3"]).try_all().await?;
//! let sum: f64 = outcomes.iter().flatten().sum();
//! assert_eq!(sum, 4.5);
//! assert!(matches!(&outcomes[1], Err(wren::Error::Returned { attempt, .. }) if attempt.task == 1));
//! # Ok::<(), wren::Error>(()) }).unwrap();
//! ```
//!
//! # Large data
//!
//! A large value that many calls capture is sent to each worker once. Results can stay in the store, as
//! [`Ref`]s, for other functions to fetch.
//!
//! ```
//! use wren::Ref;
//!
//! #[wren::remote]
//! fn simulate(seed: u64, model: &[f64]) -> Vec<f64> {
//!     model.iter().map(|x| x * seed as f64).collect()
//! }
//!
//! #[wren::remote]
//! fn summarize(outcome: &Ref<Vec<f64>>) -> wren::Result<f64> {
//!     Ok(outcome.get_blocking()?.iter().sum())
//! }
//!
//! # wren::block_on(async {
//! # let executor = wren::Executor::builder().store("memory:crate-doc").build()?;
//! let model = vec![0.5; 100_000];
//! let outcomes = wren::map(|seed| simulate(seed, &model), 0..4).on(&executor).refs().await?;
//! let sums = wren::map(summarize, &outcomes).on(&executor).await?;
//! assert_eq!(sums, [0.0, 50_000.0, 100_000.0, 150_000.0]);
//! # Ok::<(), wren::Error>(()) }).unwrap();
//! ```
//!
//! # Tests
//!
//! `square::local(7)` is the function as it was written. Under `cargo test` calls run on threads of the
//! test, with nothing to set up; [`block_on`] waits for one.
//!
//! # What there is
//!
//! - [`remote`] and [`main`]: the two annotations;
//! - [`map`], [`gather`]: many calls as one job; [`Map`] lists what can be said of it;
//! - `map_reduce` and `sort`: what is built on them, with all the data moved between workers;
//! - [`Input`]: files and objects, split into partitions that calls read;
//! - [`put`] and [`Ref`]: large values, stored once;
//! - [`kv()`] and [`kv::Params`]: small values that many functions read and change at once;
//! - [`Error`]: every way to fail, a variant each;
//! - [`history`]: what was written down of every job;
//! - `otel`: driver and workers as one trace of OpenTelemetry (feature `otel`);
//! - `sim`: what a job would take on AWS, simulated (feature `sim`);
//! - [`Executor`]: where calls run; [`faults`]: what happens when machines die.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(unix))]
compile_error!("wren runs on Linux and on macOS; on Windows, use it in WSL");

// Generated code and examples name the crate from outside.
extern crate self as wren;

mod attempt;
mod aws;
pub mod backend;
#[cfg(feature = "data")]
pub mod bsp;
mod calls;
#[doc(hidden)]
pub mod codec;
mod config;
pub mod conformance;
#[cfg(feature = "data")]
pub mod data;
mod error;
mod executor;
pub mod faults;
mod function;
pub mod history;
pub mod kv;
#[cfg(feature = "data")]
pub mod mapreduce;
mod platform;
#[doc(hidden)]
pub mod scheduler;
#[cfg(feature = "data")]
mod shuffle;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "data")]
mod sort;
mod start;
pub mod store;
mod terminal;

/// For plug-ins: `inventory::submit!` adds a [`backend::BackendScheme`], a [`store::StoreScheme`] or a
/// [`kv::KvScheme`].
pub use inventory;

pub use attempt::TaskBlock;
#[doc(hidden)]
pub use aws::deployment;
pub use aws::{limits, price};
#[cfg(feature = "data")]
pub use bsp::bsp;
pub use calls::{
    Call, Calls, Job, JobProgress, Map, MapStream, RemoteCall, StreamCalls, attach, gather, map, map_stream, put,
};
#[cfg(feature = "data")]
pub use data::{Input, Split};
pub use error::{Attempt, Cause, Error, ErrorValue, Failure, FailureClass, Result};
pub use executor::{Builder, Executor, block_on};
#[doc(hidden)]
pub use function::registry;
pub use function::{Backoff, INLINE_LIMIT, Limits};
#[cfg(feature = "otel")]
pub use history::otel;
pub use kv::kv;
#[cfg(feature = "data")]
pub use mapreduce::map_reduce;
pub use store::Ref;

#[cfg(feature = "data")]
pub use sort::{Sort, sort};
pub use start::init;
#[cfg(feature = "data")]
pub use wren_macros::{bsp, mapreduce};
pub use wren_macros::{main, remote};

/// What generated code uses. Not for programs: it changes without notice.
#[doc(hidden)]
pub mod __private {
    #[cfg(feature = "data")]
    pub use crate::bsp::{finish_entry, load_entry, step_entry};
    pub use crate::calls::{Call, call};
    pub use crate::error::Failure;
    pub use crate::error_failure;
    pub use crate::executor::run_async;
    pub use crate::function::registry::{REMOTE_FNS, Source};
    pub use crate::function::types::{Any, Borrowed, Owned, Reply, Sent, Told, Type, borrowed, owned, result};
    pub use crate::function::{ArgsDecoder, ArgsEncoder, Argument, Invoke, Output, RemoteFn, ResultType, Returned};
    #[cfg(feature = "data")]
    pub use crate::mapreduce::{Registered, map_entry, reduce_entry};
    pub use crate::start::{Exit, main, main_sync};
    pub use linkme;

    pub use crate::function::errors;

    /// For `cargo wren`, which finds AWS as programs do.
    #[cfg(feature = "aws")]
    pub mod aws {
        pub use crate::aws::{BatchLine, describe_error, s3, sdk_config};
    }
}
