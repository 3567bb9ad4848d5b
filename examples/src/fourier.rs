//! The Fourier transform of square images, with the radix-2 algorithm.

use std::f64::consts::PI;

/// A complex number: real and imaginary part.
pub type Complex = (f32, f32);

/// Transforms images of `size` × `size` values, `size` a power of two.
#[derive(Debug, Clone)]
pub struct Fourier {
    size: usize,
    /// `exp(-2πik/size)` for `k` below `size / 2`.
    roots: Vec<Complex>,
}

impl Fourier {
    /// Creates a transform for images with `size` rows and columns.
    ///
    /// # Panics
    /// If `size` is not a power of two.
    pub fn new(size: usize) -> Self {
        assert!(size.is_power_of_two(), "{size} is not a power of two");
        let angle = |k: usize| -2.0 * PI * k as f64 / size as f64;
        let roots = (0..size / 2).map(|k| (angle(k).cos() as f32, angle(k).sin() as f32)).collect();
        Self { size, roots }
    }

    /// Transforms an image of `size * size` values, row by row, in place.
    pub fn forward(&self, image: &mut [Complex]) {
        self.rows(image);
        self.transpose(image);
        self.rows(image);
        self.transpose(image);
    }

    /// Reverts [`forward`](Self::forward), in place.
    pub fn inverse(&self, image: &mut [Complex]) {
        // The inverse is the transform of the conjugate, conjugated and divided by the number of values.
        let scale = 1.0 / (self.size * self.size) as f32;
        image.iter_mut().for_each(|value| value.1 = -value.1);
        self.forward(image);
        image.iter_mut().for_each(|value| *value = (value.0 * scale, -value.1 * scale));
    }

    fn rows(&self, image: &mut [Complex]) {
        image.chunks_exact_mut(self.size).for_each(|row| self.row(row));
    }

    /// Cooley and Tukey's algorithm: puts the values into bit-reversed order, then applies butterflies of growing span.
    fn row(&self, row: &mut [Complex]) {
        let bits = self.size.trailing_zeros();
        for i in 0..self.size {
            let j = if bits == 0 { 0 } else { i.reverse_bits() >> (usize::BITS - bits) };
            if i < j {
                row.swap(i, j);
            }
        }
        let mut half = 1;
        while half < self.size {
            let step = self.size / (2 * half);
            for pair in row.chunks_exact_mut(2 * half) {
                let (low, high) = pair.split_at_mut(half);
                let roots = self.roots.iter().step_by(step);
                for ((a, b), root) in low.iter_mut().zip(high).zip(roots) {
                    let turned = (b.0 * root.0 - b.1 * root.1, b.0 * root.1 + b.1 * root.0);
                    *b = (a.0 - turned.0, a.1 - turned.1);
                    *a = (a.0 + turned.0, a.1 + turned.1);
                }
            }
            half *= 2;
        }
    }

    fn transpose(&self, image: &mut [Complex]) {
        for row in 0..self.size {
            for column in 0..row {
                image.swap(row * self.size + column, column * self.size + row);
            }
        }
    }
}

#[cfg(all(test, feature = "property-tests"))]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// Computes the transform by its definition.
    fn slow(size: usize, image: &[Complex]) -> Vec<Complex> {
        let value = |(u, v): (usize, usize)| {
            let mut sum = (0.0, 0.0);
            for (i, &(re, im)) in image.iter().enumerate() {
                let turns = ((i / size) * u + (i % size) * v) as f64 / size as f64;
                let (sin, cos) = (-2.0 * PI * turns).sin_cos();
                sum.0 += f64::from(re) * cos - f64::from(im) * sin;
                sum.1 += f64::from(re) * sin + f64::from(im) * cos;
            }
            (sum.0 as f32, sum.1 as f32)
        };
        (0..size * size).map(|i| value((i / size, i % size))).collect()
    }

    fn assert_near(a: &[Complex], b: &[Complex]) {
        for (a, b) in a.iter().zip(b) {
            assert!((a.0 - b.0).abs() < 1e-3 && (a.1 - b.1).abs() < 1e-3, "{a:?} is not {b:?}");
        }
    }

    proptest! {
        #[test]
        fn matches_the_definition_and_round_trips(
            power in 0u32..5,
            values in prop::collection::vec((-1.0..1.0f32, -1.0..1.0f32), 256),
        ) {
            let size = 1 << power;
            let image = &values[..size * size];
            let fourier = Fourier::new(size);
            let mut transformed = image.to_vec();
            fourier.forward(&mut transformed);
            assert_near(&transformed, &slow(size, image));
            fourier.inverse(&mut transformed);
            assert_near(&transformed, image);
        }
    }
}
