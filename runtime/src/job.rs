//! Jobs: what came of their tasks ([`Port`]), what is kept of it ([`Kept`]), and the handle of one
//! that runs by itself ([`Job`]).

mod arguments;
mod build;
mod handle;
mod kept;
mod lease;
mod manifest;
mod pending;
mod port;
mod record;
mod remove;
mod seeking;

pub(crate) use arguments::stored_input;
pub(crate) use handle::stored_result;
pub use handle::{Job, JobProgress, attach};
pub(crate) use kept::{Keep, Kept, LookUp};
pub(crate) use pending::Pending;
pub(crate) use port::{Outcome, Port};
pub(crate) use seeking::{Seeking, Sought, Submitted};
