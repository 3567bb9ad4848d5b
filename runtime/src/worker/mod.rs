//! Worker processes and workers on AWS Lambda.

#[cfg(feature = "aws")]
pub(crate) mod lambda;
pub(crate) mod process;
