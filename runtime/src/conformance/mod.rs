//! Suites for authors of plug-ins: what every backend, every store and every key-value storage must do.

mod backend;
mod kv;
mod store;

pub use backend::backend;
pub use kv::{hammer, hammered, kv};
pub use store::{race, store};
