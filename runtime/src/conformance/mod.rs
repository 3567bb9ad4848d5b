//! Test suites for authors of plug-ins: the behavior required of every backend, store and key-value storage.

mod backend;
mod kv;
mod store;

pub use backend::backend;
pub use kv::{check_stress, kv, stress};
pub use store::{race, store};
