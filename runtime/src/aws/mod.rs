//! AWS: clients, limits, prices, and the record of a deployment.

#[cfg(feature = "aws")]
mod batch_line;
#[cfg(feature = "aws")]
mod client;
pub mod deployment;
pub mod limits;
pub mod price;

#[cfg(feature = "aws")]
pub use batch_line::BatchLine;
#[cfg(feature = "aws")]
pub(crate) use client::{Task, lambda, runtime, spawn, spawn_detached};
#[cfg(feature = "aws")]
pub use client::{describe_error, s3, sdk_config};
