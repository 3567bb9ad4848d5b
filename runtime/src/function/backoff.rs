//! Pauses before another attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The pauses before a call is run again after it returned `Err` or panicked. The first pause is at most `first`. Each
/// further pause is longer by a constant factor, up to a maximum.
///
/// Each pause is a random part of that time unless [`without_jitter`](Self::without_jitter) is set. This jitter keeps
/// calls that failed together from being run again together (Brooker, "Exponential Backoff and Jitter", AWS
/// Architecture Blog, 2015).
///
/// ```
/// use std::time::Duration;
///
/// #[wren::remote(retries = 5, backoff = wren::Backoff::new(Duration::from_millis(200)))]
/// fn fetch(url: &str) -> Result<String, String> {
///     Err(format!("{url} is busy"))
/// }
///
/// let patient = wren::Backoff::new(Duration::from_secs(1)).factor(3).longest(Duration::from_secs(60));
/// let call = fetch("https://example.org").backoff(patient);
/// # drop(call);
/// ```
///
/// Times are in whole milliseconds, up to 49 days; fractions of a millisecond are rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    // Every call carries a `Backoff`, so it is kept small.
    first_ms: u32,
    longest_ms: u32,
    factor: u16,
    jitter: bool,
}

const fn milliseconds(time: Duration) -> u32 {
    let ms = time.as_nanos().div_ceil(1_000_000);
    if ms > u32::MAX as u128 { u32::MAX } else { ms as u32 }
}

impl Backoff {
    /// Creates a backoff whose first pause is `first`. Each further pause is twice as long as the previous one, up to
    /// one minute.
    pub const fn new(first: Duration) -> Self {
        Self { first_ms: milliseconds(first), longest_ms: 60_000, factor: 2, jitter: true }
    }

    /// Makes each pause `factor` times as long as the previous one. With 1, all pauses are equally long; 0 means 1.
    pub const fn factor(mut self, factor: u16) -> Self {
        self.factor = if factor == 0 { 1 } else { factor };
        self
    }

    /// Limits each pause to `longest`.
    pub const fn longest(mut self, longest: Duration) -> Self {
        self.longest_ms = milliseconds(longest);
        self
    }

    /// Waits the whole time instead of a random part of it.
    pub const fn without_jitter(mut self) -> Self {
        self.jitter = false;
        self
    }

    /// Returns the pause after that many failures.
    pub(crate) fn pause(&self, failures: u32, random: &mut fastrand::Rng) -> Duration {
        let times = u32::from(self.factor).saturating_pow(failures.saturating_sub(1));
        let whole = Duration::from_millis(self.first_ms.saturating_mul(times).min(self.longest_ms).into());
        if self.jitter { whole.mul_f64(random.f64()) } else { whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let seconds = Duration::from_secs;
        let backoff = Backoff::new(seconds(1)).factor(3).longest(seconds(20));
        let mut random = fastrand::Rng::with_seed(1);
        let pauses = |backoff: Backoff, random: &mut _| [1, 2, 3, 4, u32::MAX].map(|n| backoff.pause(n, random));
        let whole = [1, 3, 9, 20, 20].map(seconds);
        assert_eq!(pauses(backoff.without_jitter(), &mut random), whole);
        for _ in 0..100 {
            assert!(pauses(backoff, &mut random).iter().zip(whole).all(|(pause, whole)| *pause <= whole));
        }
        let (a, b) = (backoff.pause(3, &mut random), backoff.pause(3, &mut random));
        assert_ne!(a, b, "each pause is a random part of its time");
        assert_eq!(Backoff::new(seconds(5)).factor(0).without_jitter().pause(9, &mut random), seconds(5));
        let longest = Backoff::new(Duration::MAX).longest(Duration::MAX).without_jitter();
        assert_eq!(longest.pause(9, &mut random), Duration::from_millis(u32::MAX.into()));
        let shortest = Backoff::new(Duration::from_nanos(1)).without_jitter();
        assert_eq!(shortest.pause(1, &mut random), Duration::from_millis(1));
    }
}
