//! Pauses before something is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a call waits before it is run again after it returned `Err` or panicked: after the first failure up to
/// `first`, after each further one a number of times longer, and never longer than a longest.
///
/// With jitter, as it is unless [`without_jitter`](Self::without_jitter) says otherwise, each pause is a random part
/// of that, so that what failed together does not come back together (Brooker, "Exponential Backoff and Jitter", AWS
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
/// Times are in whole milliseconds, up to 49 days; what is between two is rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    // Every call carries it: it is kept small.
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
    /// Begins with `first` and doubles, up to a minute.
    pub const fn new(first: Duration) -> Self {
        Self { first_ms: milliseconds(first), longest_ms: 60_000, factor: 2, jitter: true }
    }

    /// Makes each pause `factor` times as long as the one before; 1 keeps them as they are, and 0 is taken for 1.
    pub const fn factor(mut self, factor: u16) -> Self {
        self.factor = if factor == 0 { 1 } else { factor };
        self
    }

    /// Makes no pause longer than `longest`.
    pub const fn longest(mut self, longest: Duration) -> Self {
        self.longest_ms = milliseconds(longest);
        self
    }

    /// Waits the whole time, and not a random part of it.
    pub const fn without_jitter(mut self) -> Self {
        self.jitter = false;
        self
    }

    /// The pause after so many failures.
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
        assert_ne!(a, b, "pauses are random parts");
        assert_eq!(Backoff::new(seconds(5)).factor(0).without_jitter().pause(9, &mut random), seconds(5));
        let longest = Backoff::new(Duration::MAX).longest(Duration::MAX).without_jitter();
        assert_eq!(longest.pause(9, &mut random), Duration::from_millis(u32::MAX.into()));
        let shortest = Backoff::new(Duration::from_nanos(1)).without_jitter();
        assert_eq!(shortest.pause(1, &mut random), Duration::from_millis(1));
    }
}
