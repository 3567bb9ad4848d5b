//! Jobs: what came of their tasks ([`Port`]), what is kept of it ([`Kept`]), and the handle of one
//! that runs by itself ([`Job`]).

mod arguments;
mod handle;
mod kept;
mod manifest;
mod port;
mod record;

pub(crate) use arguments::stored_input;
pub(crate) use handle::stored_result;
pub use handle::{Job, JobProgress, attach};
pub(crate) use kept::{Keep, Kept, LookUp};
pub(crate) use port::{Outcome, Port};

/// A new job id: random, so that a store which splits its load by key prefix does so.
pub(crate) fn new_id() -> String {
    let mut random = fastrand::Rng::new();
    std::iter::repeat_with(|| random.choice(b"0123456789abcdefghjkmnpqrstvwxyz").map_or('0', |b| char::from(*b)))
        .take(12)
        .collect()
}
