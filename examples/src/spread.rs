//! Mean and standard deviation, as the tables of the measuring examples give them.

use std::fmt;

/// Mean and standard deviation of a sample, in its unit.
///
/// Shown with a precision, which both numbers get: `12.5 (0.3)`; an empty sample is a dash.
///
/// ```
/// let spread = examples::spread::Spread::of([1.0, 2.0, 3.0]);
/// assert_eq!(format!("{spread:.1}"), "2.0 (1.0)");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// How many values there were.
    pub count: usize,
    /// Their mean; 0 where there were none.
    pub mean: f64,
    /// Their standard deviation, with `count - 1` in the denominator; 0 where there were fewer than two.
    pub std: f64,
}

impl Spread {
    /// Of these values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        // Welford's recurrence: no difference of large sums.
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
        // The precision is of the numbers, not of the text.
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
        fn is_what_two_passes_give(values in prop::collection::vec(-1e6..1e6f64, 2..100)) {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let spread = Spread::of(values);
            prop_assert!((spread.mean - mean).abs() < 1e-6);
            prop_assert!((spread.std - variance.sqrt()).abs() < 1e-6);
        }
    }
}
