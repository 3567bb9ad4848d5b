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

/// Counts how often each word occurs.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Count;

#[cloud::mapreduce]
impl MapReduce for Count {
    type Input = String;
    type Key = str;
    type Value = u64;
    type Output = (String, u64);

    fn map(&self, text: String, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
        text.split(' ').for_each(|word| emit.emit(word, 1));
        Ok(())
    }

    fn reduce(&self, key: &str, values: &mut Values<'_, u64>, out: &mut Output<(String, u64)>) -> Result<(), BoxError> {
        out.push((key.to_owned(), values.sum()))
    }
}
