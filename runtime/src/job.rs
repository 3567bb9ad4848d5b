//! Jobs: what came of their tasks ([`Port`]), what is kept of it ([`Kept`]), and the handle of one
//! that runs by itself ([`Job`]).

mod arguments;
mod handle;
mod kept;
mod lease;
mod manifest;
mod pending;
mod port;
mod record;
mod remove;

pub(crate) use arguments::stored_input;
pub(crate) use handle::stored_result;
pub use handle::{Job, JobProgress, attach};
pub(crate) use kept::{Keep, Kept, LookUp};
pub(crate) use pending::Pending;
pub(crate) use port::{Outcome, Port};

use crate::platform;

/// A new job id: random, so that a store which splits its load by key prefix does so.
pub(crate) fn new_id() -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let random = platform::random();
    (0..12).map(|digit| char::from(DIGITS[(random >> (5 * digit)) as usize % DIGITS.len()])).collect()
}
