//! A split as CSV records: [`Records`].

use std::fmt;
use std::io::{self, Cursor, Read};

use serde::de::DeserializeOwned;

use super::reader::Reader;
use super::source::Source;
use crate::error::{Error, Result};

/// How much the parser takes at once, in bytes.
const BUFFER: usize = 64 << 10;

type Text = io::Chain<Cursor<Vec<u8>>, Reader>;

/// The CSV records of a split, each as a `T`: what [`Split::records`](super::Split::records) gives.
///
/// A record that does not fit a `T` is an error, which names its place; the records behind it
/// follow. Behind an error of reading there is nothing.
pub struct Records<T> {
    source: Source,
    records: csv::DeserializeRecordsIntoIter<Text, T>,
    /// Where the parser's first byte lies in the file.
    base: i128,
    failed: bool,
}

impl<T> fmt::Debug for Records<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({})", self.source.path())
    }
}

impl<T: DeserializeOwned> Records<T> {
    /// Records of `text`, which begins at `offset` of the file. `first` is the file's first record,
    /// where that is not in `text`.
    pub(super) fn new(
        source: Source,
        first: Vec<u8>,
        text: Reader,
        offset: u64,
        delimiter: u8,
        headers: bool,
    ) -> Result<Self> {
        let base = i128::from(offset) - first.len() as i128;
        let has_first = !first.is_empty();
        // The parser sees the first record of the file in any case: by it, it knows how many fields
        // records have, and it takes a byte order mark for one only before it.
        let text = Cursor::new(first).chain(text);
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(headers)
            .buffer_capacity(BUFFER)
            .from_reader(text);
        if has_first && !headers {
            reader.read_byte_record(&mut csv::ByteRecord::new()).map_err(|e| explain(&source, base, e))?;
        }
        Ok(Self { source, records: reader.into_deserialize(), base, failed: false })
    }
}

impl<T: DeserializeOwned> Iterator for Records<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.failed {
            return None;
        }
        let record = self.records.next()?;
        self.failed = record.as_ref().is_err_and(csv::Error::is_io_error);
        Some(record.map_err(|e| explain(&self.source, self.base, e)))
    }
}

/// The parser counts from its own first byte; this counts from the file's.
fn explain(source: &Source, base: i128, error: csv::Error) -> Error {
    let place = error.position().map(|position| i128::from(position.byte()) + base);
    let place = place.map_or_else(|| "a record".to_owned(), |at| format!("the record at byte {at}"));
    match error.into_kind() {
        csv::ErrorKind::Io(error) => source.explain(error),
        csv::ErrorKind::Utf8 { err, .. } => source.error(format!("{place} is not UTF-8: {err}")),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            source.error(format!("{place} has {len} fields, and the first record has {expected_len}"))
        }
        csv::ErrorKind::Deserialize { err, .. } => source.error(format!("{place} does not fit: {err}")),
        other => source.error(format!("{place}: {other:?}")),
    }
}
