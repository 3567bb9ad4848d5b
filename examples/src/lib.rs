//! Shared parts of the examples.

pub mod digits;
pub mod fourier;
pub mod gist;
pub mod matrix;
pub mod ridge;
pub mod spread;
#[cfg(feature = "images")]
pub mod views;
pub mod workers;
