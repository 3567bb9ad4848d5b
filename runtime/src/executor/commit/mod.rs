//! Results in the store: of named jobs, of started jobs, and of `refs`. A result is committed by a write that succeeds
//! only if no result exists yet.

pub(crate) mod build;
mod committer;
pub(crate) mod lease;
pub(crate) mod manifest;
pub(crate) mod record;
mod seeking;

pub(crate) use committer::{Known, LookUp, ResultCommitter, ResultPolicy};
pub(crate) use seeking::{Seeking, Sought, Submitted};
