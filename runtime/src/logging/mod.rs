//! Carries records of the crates [`log`] and [`tracing`] from workers to the logger of their driver. A worker does not
//! run the body of `main`, where most programs install their logger, so without this its records would be lost.
//!
//! Before its first task, a worker installs a logger and a subscriber of its own, unless the program has installed
//! others before `wren::init()`. They [`collect`] the records that the driver's logger may want, judged by its maximum
//! level, which the driver sends with each batch. Each record travels as a [`frame`] in the worker's standard error. So
//! records and printed lines keep their order, belong to a task in the same way, and a worker that is ahead of its
//! driver waits. The driver takes the frames out of the output and passes the records [on](deliver).

mod callsite;
mod collect;
mod deliver;
pub(crate) mod frame;
mod record;

use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use tracing::Level;
use tracing::level_filters::LevelFilter;

pub(crate) use collect::collect;
#[cfg(feature = "otel")]
pub(crate) use collect::layer;
pub(crate) use deliver::{Destination, Origin};
pub(crate) use record::Record;

/// The maximum levels of the records that a driver wants from its workers: 0 for none, 1 for errors, up to 5.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
// One number, because it is part of each batch.
#[serde(from = "u32", into = "u32")]
pub(crate) struct Levels {
    log: u8,
    tracing: u8,
    /// Whether the driver exports spans, so that its workers do so too.
    pub(crate) exports_spans: bool,
}

/// The levels that this process passes on to its workers instead of its own, in the form of [`Levels::pack`].
static RELAYED: AtomicU32 = AtomicU32::new(0);

impl From<Levels> for u32 {
    fn from(levels: Levels) -> Self {
        levels.pack()
    }
}

impl From<u32> for Levels {
    fn from(packed: u32) -> Self {
        Self::unpack(packed).unwrap_or_default()
    }
}

impl Levels {
    /// Returns the levels for the workers of this process.
    pub(crate) fn for_workers(exports_spans: bool) -> Self {
        Self::relayed().unwrap_or_else(|| {
            let tracing = LevelFilter::current().into_level().map_or(0, |level| number_of(&level));
            Self { log: log::max_level() as u8, tracing, exports_spans }
        })
    }

    /// Returns the same level for both crates.
    pub(crate) fn both(level: log::LevelFilter) -> Self {
        Self { log: level as u8, tracing: level as u8, exports_spans: false }
    }

    /// Makes this process, which has no logger, pass on these levels to its workers, and print their records as lines.
    pub(crate) fn relay(self) {
        RELAYED.store(self.pack(), Ordering::Relaxed);
    }

    fn relayed() -> Option<Self> {
        Self::unpack(RELAYED.load(Ordering::Relaxed))
    }

    /// Returns the levels as a number other than 0.
    fn pack(self) -> u32 {
        u32::from_le_bytes([self.log, self.tracing, u8::from(self.exports_spans), 1])
    }

    fn unpack(packed: u32) -> Option<Self> {
        let [log, tracing, exports_spans, is_set] = packed.to_le_bytes();
        (is_set != 0).then_some(Self { log, tracing, exports_spans: exports_spans != 0 })
    }
}

/// Returns the level of `tracing` as a number, in the order of [`log::Level`].
fn number_of(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn levels_arrive_as_one_number() {
        let levels = Levels { log: 4, tracing: 3, exports_spans: true };
        for levels in [Levels::default(), levels, Levels::both(log::LevelFilter::Trace)] {
            let encoded = codec::encode(&levels).unwrap();
            assert!(encoded.len() <= 5);
            assert_eq!(codec::decode::<Levels>(&encoded).unwrap(), levels);
        }
    }
}
