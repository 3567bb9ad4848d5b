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

use crate::platform;

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ID_LEN: usize = 12;

/// Whether it is as [`new_id`] gives it.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(|byte| DIGITS.contains(&byte))
}

/// A new job id: random, so that a store which splits its load by key prefix does so.
pub(crate) fn new_id() -> String {
    let random = platform::random();
    (0..ID_LEN).map(|digit| char::from(DIGITS[(random >> (5 * digit)) as usize % DIGITS.len()])).collect()
}
