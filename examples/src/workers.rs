//! How many workers a measurement is taken with.

/// 1, 2, 4, .. below `most`, and `most`.
///
/// ```
/// assert_eq!(examples::workers::counts(6), [1, 2, 4, 6]);
/// ```
pub fn counts(most: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < most);
    powers.chain([most]).collect()
}
