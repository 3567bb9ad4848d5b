//! Started jobs: their arguments in the store, their handle ([`Job`]), and their removal.

mod arguments;
mod handle;
mod remove;

pub(crate) use arguments::stored_input;
pub(crate) use handle::stored_result;
pub use handle::{Job, JobProgress, attach};
