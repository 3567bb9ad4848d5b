//! Divides the time of a call: decoding of the arguments, the function itself, encoding of the result.

use std::cell::Cell;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Blob;

/// Arguments that are shorter than this, in bytes, are decoded in less time than it takes to measure it. Their decoding
/// counts as part of the function.
const WORTH_TIMING: usize = 1 << 10;

/// The clock of one call. It reads the time only where that costs little compared to what it measures.
#[derive(Debug, Default)]
pub(crate) struct CallClock {
    /// Whether encoding is timed: the caller reads the time right after the call.
    times_encoding: bool,
    started: Option<Instant>,
    decoded: Cell<Option<Instant>>,
    computed: Cell<Option<Instant>>,
}

impl CallClock {
    /// Creates the clock of a call. `times_encoding` is whether the caller reads the time when the call has ended.
    #[inline]
    pub(crate) fn new(times_encoding: bool) -> Self {
        Self { times_encoding, ..Self::default() }
    }

    #[inline]
    pub(super) fn start(&mut self, args: &[u8], blobs: &[Arc<Blob>]) {
        if args.len() >= WORTH_TIMING || !blobs.is_empty() {
            self.started = Some(Instant::now());
        }
    }

    /// Records that the arguments are decoded.
    #[inline]
    pub(super) fn decoded(&self) {
        if self.started.is_some() {
            self.decoded.set(Some(Instant::now()));
        }
    }

    /// Records that the function has returned.
    #[inline]
    pub(super) fn computed(&self) {
        if self.times_encoding {
            self.computed.set(Some(Instant::now()));
        }
    }

    /// Returns the duration of decoding; zero if it was not measured, or if the arguments could not be decoded.
    #[inline]
    pub(crate) fn decoding(&self) -> Duration {
        let both = self.started.zip(self.decoded.get());
        both.map_or(Duration::ZERO, |(started, decoded)| decoded.saturating_duration_since(started))
    }

    /// Returns the duration of encoding of a call that has just ended; zero if it was not measured, or if the function
    /// returned no value.
    #[inline]
    pub(crate) fn encoding(&self, ended: Instant) -> Duration {
        self.computed.get().map_or(Duration::ZERO, |computed| ended.saturating_duration_since(computed))
    }
}

/// The time of some calls, besides the functions themselves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conversion {
    pub(crate) decode: Duration,
    pub(crate) encode: Duration,
}

impl Conversion {
    /// Divides a duration that includes the conversion: decoding, functions, encoding.
    pub(crate) fn divide(self, whole: Duration) -> (Duration, Duration, Duration) {
        let decode = self.decode.min(whole);
        let encode = self.encode.min(whole - decode);
        (decode, whole - decode - encode, encode)
    }
}

impl AddAssign for Conversion {
    fn add_assign(&mut self, other: Self) {
        self.decode = self.decode.saturating_add(other.decode);
        self.encode = self.encode.saturating_add(other.encode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_arguments_are_not_timed() {
        let mut clock = CallClock::new(false);
        clock.start(&[0; WORTH_TIMING - 1], &[]);
        clock.decoded();
        clock.computed();
        assert!(clock.started.is_none() && clock.decoded.get().is_none() && clock.computed.get().is_none());
        let mut clock = CallClock::new(true);
        clock.start(&[0; WORTH_TIMING], &[]);
        clock.decoded();
        clock.computed();
        assert!(clock.started.is_some() && clock.decoded.get().is_some() && clock.computed.get().is_some());
    }

    #[test]
    fn parts_never_exceed_the_whole() {
        let ms = Duration::from_millis;
        let conversion = Conversion { decode: ms(5), encode: ms(3) };
        assert_eq!(conversion.divide(ms(10)), (ms(5), ms(2), ms(3)));
        assert_eq!(conversion.divide(ms(6)), (ms(5), ms(0), ms(1)));
        assert_eq!(conversion.divide(ms(2)), (ms(2), ms(0), ms(0)));
    }
}
