//! Started jobs: their arguments in the store, their handle ([`Job`]), and their removal.

mod arguments;
mod claimed;
mod handle;
mod over;
mod remove;
mod running;
mod stored;

pub(crate) use arguments::stored_input;
pub use handle::{Job, attach};
pub use over::JobProgress;
pub(crate) use over::stored_result;
