//! Decides what runs when: the queue, retries, concurrency, throttling, speculation, budgets.
//!
//! A state machine: calls and replies go in with the time, invocations and [`Update`]s come out.
//! It does no I/O, knows no backend and reads no clock.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{FlightId, Invocation, Reply, Timing};
use crate::block::Block;
use crate::error::Failure;

/// A moment, as the time since some fixed start.
pub type Time = Duration;

/// Names one job among all of a scheduler's.
pub type JobKey = u64;
