//! Shared parts of the examples.

pub mod digits;
