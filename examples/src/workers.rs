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

/// An executor of `most` workers.
///
/// # Errors
/// What making it gives, and where its backend has fewer.
pub fn executor(most: usize) -> Result<wren::Executor, Box<dyn std::error::Error>> {
    let executor = wren::Executor::builder().workers(most).build()?;
    if executor.workers() < most {
        return Err(format!("{most} workers are more than the {} there are", executor.workers()).into());
    }
    Ok(executor)
}
