//! Jobs: what came of their tasks ([`OutcomeQueue`]), what is kept of it ([`ResultCommitter`]), and the handle of one
//! that runs by itself ([`Job`]).

mod arguments;
mod handle;
mod remove;

pub(crate) use arguments::stored_input;
pub(crate) use handle::stored_result;
pub use handle::{Job, JobProgress, attach};
