//! Started jobs: their arguments in the store, their handle ([`Job`]), and their removal.

mod arguments;
mod claim;
mod finished;
mod handle;
mod remove;
mod running;
mod stored;

pub(crate) use arguments::stored_input;
pub use finished::JobProgress;
pub(crate) use finished::stored_result;
pub use handle::{Job, attach};
