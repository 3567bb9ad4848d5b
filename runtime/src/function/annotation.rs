//! The limits of an annotation, which the compiler evaluates.
//!
//! `memory = 2 * GB` may be a number of any type, so it arrives here as `f64`, which holds every limit exactly.

use std::time::Duration;

/// Returns the memory limit of an annotation.
///
/// # Panics
/// If it is not a whole number greater than 0. The compiler evaluates this, and reports the panic as an error.
#[track_caller]
pub const fn memory_mb(mb: f64) -> u32 {
    assert!(
        mb >= 1.0 && mb <= u32::MAX as f64 && mb == (mb as u32) as f64,
        "`memory` must be a whole number of megabytes greater than 0, as in `memory = 2048`"
    );
    mb as u32
}

/// Returns the time limit of an annotation, rounded up to microseconds.
///
/// # Panics
/// If it is not greater than 0. The compiler evaluates this, and reports the panic as an error.
#[track_caller]
pub const fn timeout(seconds: f64) -> Duration {
    assert!(
        seconds > 0.0 && seconds.is_finite(),
        "`timeout` must be a number of seconds greater than 0, as in `timeout = 300`"
    );
    let micros = seconds * 1e6;
    // The conversion saturates at half a million years.
    let whole = micros as u64;
    Duration::from_micros(if (whole as f64) < micros { whole.saturating_add(1) } else { whole })
}

/// Returns whether a limit is above a maximum.
pub const fn exceeds(limit: f64, maximum: u32) -> bool {
    limit > maximum as f64
}

/// Names constants that are deprecated if a limit is above the maximum of AWS Lambda. The use of a deprecated item is
/// the only warning that generated code can cause.
#[derive(Debug)]
pub struct AboveLambda<const IS_ABOVE: bool>;

#[allow(missing_docs)]
impl AboveLambda<false> {
    pub const MEMORY: () = ();
    pub const TIMEOUT: () = ();
}

#[allow(missing_docs)]
impl AboveLambda<true> {
    #[deprecated = "`memory` is in megabytes, and AWS Lambda has at most 10,240; write less, or put \
                    `#[allow(deprecated)]` on a function that never runs there"]
    pub const MEMORY: () = ();
    #[deprecated = "`timeout` is in seconds, and AWS Lambda has at most 900; write less, or put \
                    `#[allow(deprecated)]` on a function that never runs there"]
    pub const TIMEOUT: () = ();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::limits::{MAX_MEMORY_MB, MAX_TIMEOUT_S};

    #[test]
    fn times_are_rounded_up() {
        let cases = [(300.0, 300_000_000), (0.5, 500_000), (1e-6, 1), (1e-9, 1), (0.1 + 0.2, 300_001)];
        for (seconds, micros) in cases {
            assert_eq!(timeout(seconds), Duration::from_micros(micros), "{seconds}");
        }
        assert_eq!(timeout(1e15), Duration::from_micros(u64::MAX));
    }

    #[test]
    fn limits_that_are_not_numbers_are_refused() {
        for mb in [0.0, -1.0, 0.5, 2048.5, 1e10, f64::NAN, f64::INFINITY] {
            assert!(std::panic::catch_unwind(|| memory_mb(mb)).is_err(), "{mb}");
        }
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(std::panic::catch_unwind(|| timeout(seconds)).is_err(), "{seconds}");
        }
        assert_eq!(memory_mb(4_294_967_295.0), u32::MAX);
    }

    #[test]
    fn the_warnings_have_the_current_maximum() {
        assert_eq!((MAX_MEMORY_MB, MAX_TIMEOUT_S), (10_240, 900), "change the texts of `AboveLambda<true>` too");
        assert!(exceeds(10_241.0, MAX_MEMORY_MB) && !exceeds(10_240.0, MAX_MEMORY_MB));
    }
}
