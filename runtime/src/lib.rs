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
//! `cargo run` runs the calls on a pool of worker processes of the same program. Each call has a process to itself
//! while it runs, so a crash is an error of that call only. After `cargo wren deploy`, the same program runs the calls
//! on AWS Lambda.
//!
//! This is a short tutorial. [The book](https://github.com/wren-rs/wren/blob/main/book/src/SUMMARY.md) has the full
//! one, with guides for users of rayon, multiprocessing, PyWren and Lithops.
//!
//! # Errors
//!
//! If the function returns `Err`, its call fails with [`Error::Returned`]. Other failures are other variants of
//! [`Error`]: a panic, a worker that died, an exceeded limit. [`try_all`](Map::try_all) returns each task's own
//! outcome. Failures of machines are retried; failures of functions are retried only if `retries` is set.
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
//! `square::local(7)` calls the function directly, as it was written. Under `cargo test`, calls run on threads of the
//! test process, without any setup; [`block_on`] waits for a call.
//!
//! # Overview
//!
//! - [`remote`] and [`main`]: the two annotations;
//! - [`map`], [`gather`]: many calls as one job; [`Map`] lists the options;
//! - `map_reduce` and `sort`: jobs that move data between workers, built on them;
//! - [`Input`]: files and objects, split into partitions that calls read;
//! - [`put`] and [`Ref`]: large values, stored once;
//! - [`kv()`] and [`kv::Params`]: small values that many functions read and change concurrently;
//! - [`Error`]: every failure, one variant for each;
//! - [`history`]: the recorded history of every job;
//! - `otel`: driver and workers as one OpenTelemetry trace (feature `otel`);
//! - `sim`: a simulation of the time and cost of a job on AWS (feature `sim`);
//! - [`Executor`]: runs the calls; [`faults`]: injects faults, to test what happens when machines die.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(unix))]
compile_error!("wren runs on Linux and on macOS; on Windows, use it in WSL");

// Generated code and examples refer to the crate by its external name.
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
mod logging;
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

/// For plug-ins: `inventory::submit!` registers a [`backend::BackendScheme`], a [`store::StoreScheme`] or a
/// [`kv::KvScheme`].
pub use inventory;

pub use attempt::TaskBlock;
#[doc(hidden)]
pub use aws::deployment;
pub use aws::{limits, price};
#[cfg(feature = "data")]
pub use bsp::bsp;
pub use calls::{
    Call, Job, JobProgress, Map, MapStream, RemoteCall, StreamCalls, attach, gather, map, map_stream, put,
};
#[cfg(feature = "data")]
pub use data::{Input, Split};
pub use error::{Attempt, Cause, Error, ErrorValue, Failure, FailureClass, Result};
pub use executor::{Builder, Executor, block_on};
#[doc(hidden)]
pub use function::registry;
pub use function::{Backoff, INLINE_LIMIT, Immutable, Limits, Timeout};
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

/// Items for generated code. Programs must not use them: they change without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::aws::limits;
    #[cfg(feature = "data")]
    pub use crate::bsp::{finish_entry, load_entry, step_entry};
    pub use crate::calls::{Call, call};
    pub use crate::error::Failure;
    pub use crate::error_failure;
    pub use crate::executor::run_async;
    pub use crate::function::annotation;
    pub use crate::function::registry::{REMOTE_FNS, Source};
    pub use crate::function::types::{
        Any, Borrowed, EachTime, Once, Owned, Reply, ResultForm, ResultType, Type, must_be_result,
    };
    pub use crate::function::{ArgsDecoder, ArgsEncoder, Invoke, Output, RemoteFn};
    pub use crate::function::{Argument, BorrowedArgument, OutsideProcess, Reportable, Returned, ShortArray, Unshared};
    #[cfg(feature = "data")]
    pub use crate::mapreduce::{Registered, map_entry, reduce_entry};
    pub use crate::start::{Exit, main, main_sync};
    pub use linkme;

    pub use crate::function::errors;

    /// For `cargo wren`, which connects to AWS in the same way as programs.
    #[cfg(feature = "aws")]
    pub mod aws {
        pub use crate::aws::{BatchLine, describe_error, s3, sdk_config};
    }
}
