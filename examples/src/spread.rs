//! Mean and standard deviation, for the tables that examples with measurements print.

use std::fmt;

/// Mean and standard deviation of a sample, in its unit.
///
/// A precision in a format string applies to both numbers: `12.5 (0.3)`. An empty sample is displayed as a dash.
///
/// ```
/// let spread = examples::spread::Spread::of([1.0, 2.0, 3.0]);
/// assert_eq!(format!("{spread:.1}"), "2.0 (1.0)");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Number of values.
    pub count: usize,
    /// Mean of the values; 0 if there are none.
    pub mean: f64,
    /// Standard deviation of the values, with `count - 1` in the denominator; 0 if there are fewer than two.
    pub std: f64,
}

impl Spread {
    /// Computes the spread of these values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        // Welford's recurrence avoids the difference of large sums.
        let (mut count, mut mean, mut squares) = (0usize, 0.0, 0.0);
        for value in values {
            count += 1;
            let from_old = value - mean;
            mean += from_old / count as f64;
            squares += from_old * (value - mean);
        }
        let std = if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 };
        Self { count, mean, std }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.pad("-");
        }
        let precision = f.precision().unwrap_or(2);
        let text = format!("{:.precision$} ({:.precision$})", self.mean, self.std);
        // The precision applies to the numbers, not to the text, so `Formatter::pad` would truncate it.
        match f.width() {
            Some(width) => write!(f, "{text:>width$}"),
            None => f.write_str(&text),
        }
    }
}

#[cfg(all(test, feature = "property-tests"))]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn few_values_have_no_deviation() {
        assert_eq!(Spread::of([]), Spread { count: 0, mean: 0.0, std: 0.0 });
        assert_eq!(Spread::of([7.0]), Spread { count: 1, mean: 7.0, std: 0.0 });
        assert_eq!(format!("{:.1}", Spread::of([])), "-");
        assert_eq!(format!("{:12.1}", Spread::of([7.0])), "   7.0 (0.0)");
    }

    proptest! {
        #[test]
        fn matches_two_passes(values in prop::collection::vec(-1e6..1e6f64, 2..100)) {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let spread = Spread::of(values);
            prop_assert!((spread.mean - mean).abs() < 1e-6);
            prop_assert!((spread.std - variance.sqrt()).abs() < 1e-6);
        }
    }
}
