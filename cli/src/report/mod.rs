//! What a job's log tells of it.

#[allow(dead_code, reason = "until the command writes it")]
pub(crate) mod page;
