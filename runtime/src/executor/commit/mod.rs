//! Results in the store: of named jobs, of started jobs, and of `refs`. A result is committed by a write that succeeds
//! only if no result exists yet.

pub(crate) mod build;
mod committer;
pub(crate) mod lease;
mod lookups;
pub(crate) mod manifest;
pub(crate) mod record;

pub(crate) use committer::{EarlierResults, LookUp, ResultCommitter, ResultPolicy};
pub(crate) use lookups::{Lookup, PendingLookups, Submitted};
