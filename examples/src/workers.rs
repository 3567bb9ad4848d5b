//! The numbers of workers in a measurement.

/// Returns 1, 2, 4, .. below `most`, and `most`.
///
/// ```
/// assert_eq!(examples::workers::counts(6), [1, 2, 4, 6]);
/// ```
pub fn counts(most: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < most);
    powers.chain([most]).collect()
}

/// Creates an executor with `most` workers.
///
/// # Errors
/// If the executor cannot be created, or if its backend has fewer workers.
pub fn executor(most: usize) -> Result<wren::Executor, Box<dyn std::error::Error>> {
    let executor = wren::Executor::builder().workers(most).build()?;
    if executor.workers() < most {
        return Err(format!("cannot measure with {most} workers: the backend has only {}", executor.workers()).into());
    }
    Ok(executor)
}
