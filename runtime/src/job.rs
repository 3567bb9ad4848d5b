//! Jobs: what came of their tasks ([`Port`]), and the handle of one that runs by itself ([`Job`]).

mod log;
mod port;

pub(crate) use log::{JobLog, tally};
pub(crate) use port::{Outcome, Port};
