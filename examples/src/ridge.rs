//! A linear classifier with ridge regression: minimizes the squares of errors and of weights. This is one system of
//! linear equations, which is solved with Cholesky's method.

/// A linear classifier of feature vectors.
#[derive(Debug, Clone)]
pub struct Ridge {
    /// For each class, the weights of the features, followed by a constant.
    weights: Vec<Vec<f64>>,
    means: Vec<f64>,
    /// One over the standard deviation of each feature; 0 for a constant feature.
    scales: Vec<f64>,
}

impl Ridge {
    /// Fits weights to samples, each a feature vector and its class, which is below `classes`. `penalty` is the
    /// weight of a squared weight relative to a squared error, per sample. Features are first normalized to mean 0
    /// and variance 1.
    ///
    /// # Errors
    /// If there are no samples, if their lengths differ, if a class is not below `classes`, or if the equations have
    /// no unique solution, which can happen with a penalty of 0.
    pub fn fit(samples: &[(&[f32], usize)], classes: usize, penalty: f64) -> Result<Self, String> {
        let Some(features) = samples.first().map(|(sample, _)| sample.len()) else {
            return Err("there are no samples to fit".to_owned());
        };
        if let Some((sample, class)) = samples.iter().find(|(s, class)| s.len() != features || *class >= classes) {
            return Err(format!(
                "a sample has {} features and class {class}, which does not match the other samples or the number of \
                 classes",
                sample.len()
            ));
        }
        let (means, scales) = standards(samples, features);
        let mut ridge = Self { weights: Vec::new(), means, scales };
        // The normal equations are (XᵀX + penalty · n) w = Xᵀy. Only the lower triangle of the matrix is used.
        let width = features + 1;
        let mut matrix = vec![0.0; width * width];
        let mut right = vec![vec![0.0; width]; classes];
        for (sample, class) in samples {
            let row = ridge.standardized(sample);
            for (i, value) in row.iter().enumerate() {
                for (sum, other) in matrix[i * width..].iter_mut().zip(&row[..=i]) {
                    *sum += value * other;
                }
            }
            for (c, right) in right.iter_mut().enumerate() {
                let target = if c == *class { 1.0 } else { -1.0 };
                right.iter_mut().zip(&row).for_each(|(sum, value)| *sum += target * value);
            }
        }
        // There is no penalty for the constant.
        for i in 0..features {
            matrix[i * width + i] += penalty * samples.len() as f64;
        }
        factorize(&mut matrix, width)?;
        ridge.weights = right.into_iter().map(|right| solve(&matrix, right)).collect();
        Ok(ridge)
    }

    /// Returns the class with the largest weighted sum.
    ///
    /// # Panics
    /// If the length of the sample differs from that of the fitted samples.
    pub fn classify(&self, sample: &[f32]) -> usize {
        assert_eq!(sample.len(), self.means.len(), "the sample has a wrong number of features");
        let row = self.standardized(sample);
        let scores: Vec<f64> = self.weights.iter().map(|w| dot(w, &row)).collect();
        (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0)
    }

    /// Returns the features in units of their standard deviation, followed by the constant 1.
    fn standardized(&self, sample: &[f32]) -> Vec<f64> {
        let standards = self.means.iter().zip(&self.scales);
        let features = sample.iter().zip(standards).map(|(x, (mean, scale))| (f64::from(*x) - mean) * scale);
        features.chain([1.0]).collect()
    }
}

/// Returns the mean of each feature, and one over its standard deviation.
fn standards(samples: &[(&[f32], usize)], features: usize) -> (Vec<f64>, Vec<f64>) {
    let n = samples.len() as f64;
    let column = |i: usize| samples.iter().map(move |(sample, _)| f64::from(sample[i]));
    let means: Vec<f64> = (0..features).map(|i| column(i).sum::<f64>() / n).collect();
    let variance = |i: usize| column(i).map(|x| (x - means[i]).powi(2)).sum::<f64>() / n;
    let scale = |variance: f64| if variance > 1e-12 { variance.sqrt().recip() } else { 0.0 };
    let scales = (0..features).map(|i| scale(variance(i))).collect();
    (means, scales)
}

/// Replaces the lower triangle of a symmetric matrix with `L`, where `LLᵀ` is the matrix.
fn factorize(matrix: &mut [f64], width: usize) -> Result<(), String> {
    for row in 0..width {
        for column in 0..=row {
            let [a, b] = [row, column].map(|r| &matrix[r * width..r * width + column]);
            let left = matrix[row * width + column] - dot(a, b);
            matrix[row * width + column] = if column < row {
                left / matrix[column * width + column]
            } else if left > 1e-12 * matrix[row * width + row] {
                left.sqrt()
            } else {
                return Err("the features are linearly dependent; use a larger penalty".to_owned());
            };
        }
    }
    Ok(())
}

/// Returns the solution `x` of `LLᵀx = right`.
fn solve(factor: &[f64], mut right: Vec<f64>) -> Vec<f64> {
    let width = right.len();
    for row in 0..width {
        let known = dot(&factor[row * width..row * width + row], &right[..row]);
        right[row] = (right[row] - known) / factor[row * width + row];
    }
    for row in (0..width).rev() {
        right[row] /= factor[row * width + row];
        let value = right[row];
        let below = &factor[row * width..row * width + row];
        right[..row].iter_mut().zip(below).for_each(|(x, l)| *x -= l * value);
    }
    right
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(all(test, feature = "property-tests"))]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_solution_solves(
            width in 1usize..8,
            values in prop::collection::vec(-1.0..1.0f64, 64),
            expected in prop::collection::vec(-1.0..1.0f64, 8),
        ) {
            // AAᵀ + 1 is symmetric and positive definite for every A.
            let a = |i: usize, j: usize| values[i * width + j];
            let mut matrix = vec![0.0; width * width];
            for i in 0..width {
                for j in 0..width {
                    let unit = if i == j { 1.0 } else { 0.0 };
                    matrix[i * width + j] = (0..width).map(|k| a(i, k) * a(j, k)).sum::<f64>() + unit;
                }
            }
            let right = matrix.chunks(width).map(|row| dot(row, &expected[..width])).collect();
            factorize(&mut matrix, width).unwrap();
            for (x, y) in solve(&matrix, right).iter().zip(&expected) {
                prop_assert!((x - y).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn separate_classes_are_found() {
        let mut random = fastrand::Rng::with_seed(1);
        let points: Vec<([f32; 3], usize)> = (0..300)
            .map(|i| {
                let mut point = [random.f32(), random.f32(), 7.0];
                point[0] += [0.0, 2.0, 4.0][i % 3];
                point[1] += [0.0, 2.0, 0.0][i % 3];
                (point, i % 3)
            })
            .collect();
        let samples: Vec<(&[f32], usize)> = points.iter().map(|(point, class)| (&point[..], *class)).collect();
        let ridge = Ridge::fit(&samples, 3, 1e-3).unwrap();
        assert!(samples.iter().all(|(sample, class)| ridge.classify(sample) == *class));
    }

    #[test]
    fn unfittable_data_is_an_error() {
        assert!(Ridge::fit(&[], 2, 0.1).is_err());
        assert!(Ridge::fit(&[(&[1.0], 0), (&[1.0, 2.0], 1)], 2, 0.1).is_err());
        assert!(Ridge::fit(&[(&[1.0], 2)], 2, 0.1).is_err());
        assert!(Ridge::fit(&[(&[1.0, 1.0], 0), (&[2.0, 2.0], 1)], 2, 0.0).is_err());
    }
}
