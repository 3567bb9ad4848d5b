//! AWS: clients, limits, prices, and the record of a deployment.

#[cfg(feature = "aws")]
mod client;
pub mod deployment;
pub mod limits;
pub mod price;

#[cfg(feature = "aws")]
pub(crate) use client::{Task, lambda, runtime, spawn, spawn_last_words};
#[cfg(feature = "aws")]
pub use client::{s3, sdk_config, words};
