//! Numbers over time, in memory of a fixed size.

use std::collections::VecDeque;

/// Maximum number of intervals of a series: more than a terminal has columns.
const MOST: usize = 240;

/// A number for each of some intervals of equal length since the start of a job. When the job has lasted longer than
/// the intervals cover, each becomes twice as long.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Length of an interval, in seconds.
    interval: f64,
    values: Vec<f64>,
    /// Combines two numbers of the same interval.
    combine: fn(f64, f64) -> f64,
}

impl Series {
    /// A series of sums.
    pub(super) fn sums() -> Self {
        Self { interval: 1.0, values: Vec::new(), combine: |a, b| a + b }
    }

    /// A series of maxima.
    pub(super) fn maxima() -> Self {
        Self { interval: 1.0, values: Vec::new(), combine: f64::max }
    }

    /// Adds a number at `t` seconds.
    pub(super) fn add(&mut self, t: f64, value: f64) {
        // A conversion to an integer saturates, and the log contains no times beyond three hundred years.
        while (t / self.interval) as usize >= MOST {
            let combine = self.combine;
            self.values = self.values.chunks(2).map(|pair| pair.iter().copied().fold(0.0, combine)).collect();
            self.interval *= 2.0;
        }
        let index = (t / self.interval) as usize;
        if self.values.len() <= index {
            self.values.resize(index + 1, 0.0);
        }
        self.values[index] = (self.combine)(self.values[index], value);
    }

    /// Returns the complete intervals, as numbers per second, for at most `columns` columns.
    pub(super) fn per_second(&self, until: f64, columns: usize) -> Vec<f64> {
        self.columns(until, columns).into_iter().map(|value| value / self.interval).collect()
    }

    /// Returns the complete intervals, for at most `columns` columns. If there are more intervals, a column shows the
    /// mean of several.
    pub(super) fn columns(&self, until: f64, columns: usize) -> Vec<f64> {
        let complete = ((until / self.interval) as usize).clamp(1, MOST);
        let mut values = self.values.clone();
        values.resize(complete, 0.0);
        if values.len() <= columns {
            return values;
        }
        let place = |column: usize| column * values.len() / columns.max(1);
        let mean = |column: usize| {
            let part = &values[place(column)..place(column + 1)];
            part.iter().sum::<f64>() / part.len() as f64
        };
        (0..columns).map(mean).collect()
    }
}

/// Seconds over which the current rate is measured.
const RECENT: u64 = 10;

/// The rate of the last seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent(VecDeque<(u64, u64)>);

impl Recent {
    /// Counts `count` events at `t` seconds.
    pub(super) fn add(&mut self, t: f64, count: u64) {
        let second = t as u64;
        match self.0.back_mut() {
            // The lines of a log are in order, except for those of two threads at the same moment.
            Some((last, sum)) if *last >= second => *sum = sum.saturating_add(count),
            _ => self.0.push_back((second, count)),
        }
        while self.0.front().is_some_and(|(first, _)| first + RECENT < second) {
            self.0.pop_front();
        }
    }

    /// Returns the number of events per second in the last seconds before `now`.
    pub(super) fn rate(&self, now: f64) -> f64 {
        let from = (now - RECENT as f64).max(0.0);
        let count: u64 = self.0.iter().filter(|(second, _)| *second as f64 >= from).map(|(_, count)| count).sum();
        count as f64 / (now - from).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_covers_any_time_in_a_fixed_number_of_intervals() {
        let mut sums = Series::sums();
        let mut maxima = Series::maxima();
        for second in 0..10_000_u32 {
            sums.add(f64::from(second), 3.0);
            maxima.add(f64::from(second), f64::from(second % 5));
        }
        assert!(sums.values.len() <= MOST && sums.interval == 64.0);
        assert!(sums.per_second(9_984.0, 500).iter().all(|rate| *rate == 3.0));
        assert_eq!(maxima.columns(9_984.0, 10), [4.0; 10]);
        // The latest time that a log may contain.
        sums.add(1e10, 1.0);
        assert!(sums.values.len() <= MOST);
    }

    #[test]
    fn an_interval_that_has_not_ended_is_not_shown() {
        let mut sums = Series::sums();
        for t in [0.1, 0.2, 1.5, 2.1] {
            sums.add(t, 1.0);
        }
        assert_eq!(sums.per_second(2.2, 80), [2.0, 1.0]);
        assert_eq!(sums.per_second(4.0, 80), [2.0, 1.0, 1.0, 0.0]);
        assert_eq!(sums.per_second(4.0, 2), [1.5, 0.5]);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut recent = Recent::default();
        assert_eq!(recent.rate(3.0), 0.0);
        (0..100).for_each(|second| recent.add(f64::from(second), 7));
        assert!(recent.0.len() <= 12);
        assert_eq!(recent.rate(100.0), 7.0);
        assert_eq!(recent.rate(200.0), 0.0);
    }
}
