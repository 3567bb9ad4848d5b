//! Remote functions and stages of a crate that depends on wren under the name `cloud`, without the option `crate`.

use cloud::mapreduce::{BoxError, Emitter, MapReduce, Output, Values};

/// Doubles a number.
///
/// # Errors
/// Returns an error if the result is too large.
#[cloud::remote]
pub fn double(x: u64) -> Result<u64, String> {
    x.checked_mul(2).ok_or_else(|| format!("{x} is too large"))
}

/// Sums numbers by their last digit.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Sums;

#[cloud::mapreduce]
impl MapReduce for Sums {
    type Input = u64;
    type Key = str;
    type Value = u64;
    type Output = u64;

    fn map(&self, n: u64, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        emit.emit(&(n % 10).to_string(), n);
        Ok(())
    }

    fn reduce(&self, _digit: &str, values: &mut Values<'_, u64>, out: &mut Output<u64>) -> Result<(), BoxError> {
        out.push(values.sum())
    }
}
