//! Multiplication of square matrices, which comes close to the peak performance of a processor.

/// Number of rows of a tile of the product, which the innermost loop keeps in registers.
const ROWS: usize = 6;

/// Number of columns of a tile: two registers of AVX2.
const COLUMNS: usize = 8;

/// Length of the part of the common dimension that is multiplied at a time: its panel fits into the first-level cache.
const DEPTH: usize = 256;

/// Returns the number of operations in one product of `n` × `n` matrices: half are multiplications, half are additions.
pub fn operations(n: usize) -> f64 {
    2.0 * (n as f64).powi(3)
}

/// Adds the product of `a` and `b` to `c`; all are `n` × `n` matrices, row by row.
///
/// Uses AVX2 with fused multiplication and addition if the processor is x86-64 and supports it, and otherwise the
/// instructions that the program was compiled for.
///
/// # Panics
/// If a matrix has another size.
pub fn multiply(a: &[f64], b: &[f64], c: &mut [f64], n: usize) {
    assert!(a.len() == n * n && b.len() == n * n && c.len() == n * n, "expected three matrices of {n} × {n}");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features. There is no safe way to compile one program for
        // processors with and without them.
        unsafe { multiply_avx2(a, b, c, n) };
        return;
    }
    blocked(a, b, c, n, |x, y, sum| x * y + sum);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_avx2(a: &[f64], b: &[f64], c: &mut [f64], n: usize) {
    blocked(a, b, c, n, |x, y, sum| x.mul_add(y, sum));
}

/// Packs panels of both matrices in the order in which they are read, then computes one tile after the other.
#[inline(always)]
fn blocked(a: &[f64], b: &[f64], c: &mut [f64], n: usize, fma: impl Fn(f64, f64, f64) -> f64 + Copy) {
    for begin in (0..n).step_by(DEPTH) {
        let depth = DEPTH.min(n - begin);
        let left = pack::<ROWS>(n, depth, |row, k| a[row * n + begin + k]);
        let right = pack::<COLUMNS>(n, depth, |column, k| b[(begin + k) * n + column]);
        for (j, right) in right.chunks_exact(depth).enumerate() {
            for (i, left) in left.chunks_exact(depth).enumerate() {
                let tile = tile(left, right, fma);
                add(&tile, c, n, i * ROWS, j * COLUMNS);
            }
        }
    }
}

/// Packs `n` lines in groups of `WIDTH`, with zeros after the last line. The values of one `k` in a group are adjacent.
#[inline(always)]
fn pack<const WIDTH: usize>(n: usize, depth: usize, at: impl Fn(usize, usize) -> f64) -> Vec<[f64; WIDTH]> {
    let mut packed = vec![[0.0; WIDTH]; n.div_ceil(WIDTH) * depth];
    for (group, lines) in packed.chunks_exact_mut(depth).enumerate() {
        for (k, line) in lines.iter_mut().enumerate() {
            for (i, value) in line.iter_mut().enumerate() {
                if group * WIDTH + i < n {
                    *value = at(group * WIDTH + i, k);
                }
            }
        }
    }
    packed
}

#[inline(always)]
fn tile(left: &[[f64; ROWS]], right: &[[f64; COLUMNS]], fma: impl Fn(f64, f64, f64) -> f64) -> [[f64; COLUMNS]; ROWS] {
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for (left, right) in left.iter().zip(right) {
        for (sums, x) in sums.iter_mut().zip(left) {
            for (sum, y) in sums.iter_mut().zip(right) {
                *sum = fma(*x, *y, *sum);
            }
        }
    }
    sums
}

/// Adds the part of a tile that is inside the matrix.
#[inline(always)]
fn add(tile: &[[f64; COLUMNS]; ROWS], c: &mut [f64], n: usize, row: usize, column: usize) {
    let columns = COLUMNS.min(n - column);
    for (sums, c) in tile.iter().zip(c[row * n..].chunks_mut(n)) {
        c[column..column + columns].iter_mut().zip(sums).for_each(|(c, sum)| *c += sum);
    }
}

#[cfg(all(test, feature = "property-tests"))]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn assert_is_product(a: &[f64], b: &[f64], n: usize) {
        let mut fast = vec![1.0; n * n];
        let mut plain = fast.clone();
        multiply(a, b, &mut fast, n);
        blocked(a, b, &mut plain, n, |x, y, sum| x * y + sum);
        for (i, (fast, plain)) in fast.iter().zip(&plain).enumerate() {
            let expected = 1.0 + (0..n).map(|k| a[i / n * n + k] * b[k * n + i % n]).sum::<f64>();
            assert!((fast - expected).abs() < 1e-9 && (plain - expected).abs() < 1e-9, "at {i} of {n}");
        }
    }

    proptest! {
        #[test]
        fn tiles_that_stick_out_are_cut(n in 1usize..30, seed: u64) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut matrix = || (0..n * n).map(|_| random.f64() - 0.5).collect::<Vec<_>>();
            assert_is_product(&matrix(), &matrix(), n);
        }
    }

    #[test]
    fn the_common_dimension_is_taken_in_parts() {
        let n = DEPTH + 3;
        let mut random = fastrand::Rng::with_seed(1);
        let mut matrix = || (0..n * n).map(|_| random.f64() - 0.5).collect::<Vec<_>>();
        assert_is_product(&matrix(), &matrix(), n);
    }
}
