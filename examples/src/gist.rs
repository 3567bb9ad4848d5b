//! A descriptor of images, similar to GIST: the strength of each orientation at each scale, in each part of
//! the image.
//!
//! A. Oliva, A. Torralba, *Modeling the Shape of the Scene: A Holistic Representation of the Spatial
//! Envelope*, International Journal of Computer Vision 42(3), 2001, describe it as the energies of
//! a bank of Gabor-like filters, averaged over a 4 × 4 grid. The filters are Gaussians in polar
//! coordinates of the frequency plane: filter `(s, o)` multiplies the frequency of `r` cycles per
//! pixel in the direction `a` by
//!
//! ```text
//! exp(-10 w (r / f - 1)² - 2 v π (a - πo / 8)²)      f = 0.3 / 1.85^s,  w = 0.35,  v = 16 · 8² / 32²
//! ```
//!
//! with the constants of the code that the authors published (LMgist), in which 4 scales of 8
//! orientations each make 512 numbers. Unlike that code, this module does not whiten the image first. It only
//! normalizes the mean to 0 and the contrast to 1, so that brightness does not matter.

use std::f64::consts::{PI, TAU};

use crate::fourier::{Complex, Fourier};

/// Number of rows and of columns of the images.
pub const SIZE: usize = 128;

/// Number of scales of the filters, each at a lower frequency than the one before.
pub const SCALES: usize = 4;

/// Number of orientations of the filters at each scale.
pub const ORIENTATIONS: usize = 8;

/// Number of rows and of columns of the grid over which energies are averaged.
pub const GRID: usize = 4;

/// Number of values in a descriptor.
pub const FEATURES: usize = SCALES * ORIENTATIONS * GRID * GRID;

/// The filters. They are expensive to make, and can be used for any number of images.
#[derive(Debug, Clone)]
pub struct Gist {
    fourier: Fourier,
    /// The filters by scale, then by orientation; each has a factor for every frequency.
    filters: Vec<Vec<f32>>,
}

impl Default for Gist {
    fn default() -> Self {
        Self::new()
    }
}

impl Gist {
    /// Makes the filters.
    pub fn new() -> Self {
        let filter = |scale: usize, orientation: usize| {
            let frequency = 0.3 / 1.85f64.powi(scale as i32);
            let direction = PI * orientation as f64 / ORIENTATIONS as f64;
            (0..SIZE * SIZE).map(|i| passes(frequency, direction, i / SIZE, i % SIZE) as f32).collect()
        };
        let filters = (0..SCALES).flat_map(|s| (0..ORIENTATIONS).map(move |o| filter(s, o))).collect();
        Self { fourier: Fourier::new(SIZE), filters }
    }

    /// Describes an image of `SIZE * SIZE` grey values, row by row: [`FEATURES`] energies, by scale,
    /// then by orientation, then by the cells of the grid, row by row.
    ///
    /// # Panics
    /// If the image has another size.
    pub fn describe(&self, image: &[f32]) -> Vec<f32> {
        assert_eq!(image.len(), SIZE * SIZE, "an image of {SIZE} × {SIZE}");
        let mut spectrum = normalized(image);
        self.fourier.forward(&mut spectrum);
        let mut features = Vec::with_capacity(FEATURES);
        let mut filtered = vec![(0.0, 0.0); SIZE * SIZE];
        for filter in &self.filters {
            for ((filtered, value), factor) in filtered.iter_mut().zip(&spectrum).zip(filter) {
                *filtered = (value.0 * factor, value.1 * factor);
            }
            self.fourier.inverse(&mut filtered);
            features.extend(averages(&filtered));
        }
        features
    }
}

/// The factor of a filter for the frequency in this row and column of a transform.
fn passes(frequency: f64, direction: f64, row: usize, column: usize) -> f64 {
    // The upper half of a transform's frequencies are the negative ones.
    let signed = |i: usize| if i < SIZE / 2 { i as f64 } else { i as f64 - SIZE as f64 };
    let (x, y) = (signed(column) / SIZE as f64, signed(row) / SIZE as f64);
    // The smallest angle between the two directions.
    let turn = (y.atan2(x) - direction + PI).rem_euclid(TAU) - PI;
    let v = 16.0 * (ORIENTATIONS as f64 / 32.0).powi(2);
    // Not `hypot`: since glibc 2.35 it is a new symbol, which Amazon Linux 2023 lacks.
    let radial = (x * x + y * y).sqrt() / frequency - 1.0;
    (-10.0 * 0.35 * radial * radial - 2.0 * v * PI * turn * turn).exp()
}

/// Normalizes an image to mean 0 and variance 1; an image of one colour becomes all zeros.
fn normalized(image: &[f32]) -> Vec<Complex> {
    let mean = image.iter().sum::<f32>() / image.len() as f32;
    let variance = image.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / image.len() as f32;
    let scale = if variance > 1e-6 { variance.sqrt().recip() } else { 0.0 };
    image.iter().map(|v| ((v - mean) * scale, 0.0)).collect()
}

/// Computes the mean magnitude in each cell of the grid.
fn averages(filtered: &[Complex]) -> [f32; GRID * GRID] {
    const CELL: usize = SIZE / GRID;
    let mut sums = [0.0; GRID * GRID];
    for (i, value) in filtered.iter().enumerate() {
        let cell = (i / SIZE / CELL) * GRID + i % SIZE / CELL;
        sums[cell] += (value.0 * value.0 + value.1 * value.1).sqrt();
    }
    sums.map(|sum| sum / (CELL * CELL) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stripes with a frequency in cycles per pixel, whose waves have this direction.
    fn stripes(frequency: f64, direction: f64) -> Vec<f32> {
        let (sin, cos) = direction.sin_cos();
        let phase = |i: usize| TAU * frequency * ((i % SIZE) as f64 * cos + (i / SIZE) as f64 * sin);
        (0..SIZE * SIZE).map(|i| phase(i).sin() as f32).collect()
    }

    /// The scale and the orientation of the filter with the largest energy.
    fn strongest(features: &[f32]) -> (usize, usize) {
        let sums: Vec<f32> = features.chunks(GRID * GRID).map(|cells| cells.iter().sum()).collect();
        let best = (0..sums.len()).max_by(|&a, &b| sums[a].total_cmp(&sums[b])).unwrap();
        (best / ORIENTATIONS, best % ORIENTATIONS)
    }

    #[test]
    fn each_filter_sees_its_own_stripes_best() {
        let gist = Gist::new();
        for scale in 0..SCALES {
            for orientation in 0..ORIENTATIONS {
                let frequency = 0.3 / 1.85f64.powi(scale as i32);
                let image = stripes(frequency, PI * orientation as f64 / ORIENTATIONS as f64);
                assert_eq!(strongest(&gist.describe(&image)), (scale, orientation));
            }
        }
    }

    #[test]
    fn energies_are_where_the_stripes_are() {
        let mut image = stripes(0.3, 0.0);
        // Only the upper left quarter keeps its stripes.
        let kept = |i: usize| i / SIZE < SIZE / 2 && i % SIZE < SIZE / 2;
        image.iter_mut().enumerate().filter(|(i, _)| !kept(*i)).for_each(|(_, v)| *v = 0.0);
        let features = Gist::new().describe(&image);
        let cells = &features[..GRID * GRID];
        assert!(cells[0] > 10.0 * cells[GRID * GRID - 6], "{cells:?}");
    }

    #[test]
    fn brightness_and_contrast_do_not_count() {
        let gist = Gist::new();
        let image = stripes(0.1, 1.0);
        let brighter: Vec<f32> = image.iter().map(|v| 3.0 * v + 10.0).collect();
        let (a, b) = (gist.describe(&image), gist.describe(&brighter));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3));
        assert_eq!(gist.describe(&[5.0; SIZE * SIZE]), vec![0.0; FEATURES]);
    }
}
