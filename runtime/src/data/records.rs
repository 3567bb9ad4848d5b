//! [`Records`]: a split as CSV records.

use std::fmt;
use std::io::{self, Cursor, Read};
use std::marker::PhantomData;

use csv::StringRecord;
use serde::de::DeserializeOwned;

use super::dialect::Dialect;
use super::quotes::{self, MARK, State};
use super::reader::Reader;
use super::source::Source;
use crate::error::{Error, Result};

/// Size of the parser's buffer, in bytes.
const BUFFER: usize = 64 << 10;

/// Maximum number of characters of a field, and of columns of a header, in an error message.
const SHOWN: usize = 40;

type Text = Ended<io::Chain<Cursor<Vec<u8>>, Reader>>;

/// The CSV records of a split, each as a `T`; returned by [`Split::records`](super::Split::records).
///
/// A record that does not match `T` is an error that names the byte and the column; the records after it follow. After
/// a read error, the iterator ends.
pub struct Records<T> {
    source: Source,
    parser: csv::Reader<Text>,
    header: Option<StringRecord>,
    record: StringRecord,
    /// Offset of the parser's first byte, as if the file's first record directly preceded the text.
    base: i128,
    failed: bool,
    item: PhantomData<fn() -> T>,
}

/// Ends a comment that is still open at the end of the file. Otherwise, the parser would treat it as a record.
struct Ended<R> {
    text: R,
    /// The format and the state after the bytes read so far, if the format has comments.
    comments: Option<(Dialect, State)>,
    /// Whether nothing has been read yet.
    new: bool,
}

impl<R> Ended<R> {
    fn new(text: R, dialect: &Dialect) -> Self {
        Self { text, comments: dialect.comment.map(|_| (*dialect, State::RecordStart)), new: true }
    }
}

impl<R: Read> Read for Ended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.text.read(buffer)?;
        if let Some((dialect, state)) = &mut self.comments {
            let text = &buffer[..got];
            let text = if self.new { text.strip_prefix(MARK).unwrap_or(text) } else { text };
            *state = quotes::scan(dialect, *state, text, |_| ());
            if got == 0 && *state == State::Comment && !buffer.is_empty() {
                (buffer[0], *state) = (b'\n', State::RecordStart);
                return Ok(1);
            }
            self.new = false;
        }
        Ok(got)
    }
}

impl<T> fmt::Debug for Records<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({})", self.source.path())
    }
}

impl<T: DeserializeOwned> Records<T> {
    /// Creates the records of `text`, which begins at `offset` in the file. `first` is the file's first record if it is
    /// not in `text`, and otherwise empty.
    pub(super) fn new(source: Source, first: Vec<u8>, text: Reader, offset: u64, dialect: &Dialect) -> Result<Self> {
        let base = i128::from(offset) - first.len() as i128;
        let has_first = !first.is_empty();
        // The parser always gets the first record of the file: it takes the number of fields from that record, and
        // recognizes a byte order mark only before it.
        let text = Ended::new(Cursor::new(first).chain(text), dialect);
        let parser = dialect.parser().buffer_capacity(BUFFER).from_reader(text);
        let (header, record) = (None, StringRecord::new());
        let mut records = Self { source, parser, header, record, base, failed: false, item: PhantomData };
        if dialect.headers {
            let header = records.parser.headers().cloned();
            records.header = Some(header.map_err(|e| records.explain(e))?);
        } else if has_first {
            let skipped = records.parser.read_byte_record(&mut csv::ByteRecord::new());
            skipped.map_err(|e| records.explain(e))?;
        }
        Ok(records)
    }

    /// Converts an error of the parser. The parser counts bytes from its own first byte, and fields from 0; the result
    /// counts bytes from the start of the file, and columns from 1.
    fn explain(&self, error: csv::Error) -> Error {
        let source = &self.source;
        let position = error.position().or(self.record.position());
        let place = position.map(|position| i128::from(position.byte()) + self.base);
        let place = place.map_or_else(|| "a record".to_owned(), |at| format!("the record at byte {at}"));
        match error.into_kind() {
            csv::ErrorKind::Io(error) => source.explain(error),
            csv::ErrorKind::Utf8 { err, .. } => {
                let (column, at) = (self.column(err.field()), err.valid_up_to());
                source.error(format!("{place} is not UTF-8 in {column}, after {at} valid bytes"))
            }
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => source.error(format!(
                "{place} has {len} fields, but the first record has {expected_len} fields; correct it, or accept such \
                 records with `.flexible(true)`"
            )),
            csv::ErrorKind::Deserialize { err, .. } => {
                let at = err.field().and_then(|field| usize::try_from(field).ok());
                match (at, err.kind()) {
                    (_, csv::DeserializeErrorKind::UnexpectedEndOfRow) => {
                        let fields = self.record.len();
                        source.error(format!("{place} does not match the type: it has only {fields} fields"))
                    }
                    (Some(at), kind) => {
                        let value = shortened(self.record.get(at).unwrap_or_default().escape_debug());
                        source
                            .error(format!("{place} does not match the type: {} is `{value}`: {kind}", self.column(at)))
                    }
                    (None, kind) => source.error(format!("{place} does not match the type: {kind}{}", self.columns())),
                }
            }
            other => source.error(format!("{place}: {other:?}")),
        }
    }

    fn column(&self, index: usize) -> String {
        let number = index.saturating_add(1);
        match self.header.as_ref().and_then(|header| header.get(index)) {
            Some(name) => format!("column {number} (`{}`)", shortened(name.escape_debug())),
            None => format!("column {number}"),
        }
    }

    /// Returns the names of all columns, for an error that concerns none of them: a missing name may be among them in
    /// another spelling.
    fn columns(&self) -> String {
        let Some(header) = &self.header else { return String::new() };
        let names: Vec<_> =
            header.iter().take(SHOWN).map(|name| format!("`{}`", shortened(name.escape_debug()))).collect();
        let more = if header.len() > SHOWN { ", …" } else { "" };
        format!("; the columns are {}{more}", names.join(", "))
    }
}

impl<T: DeserializeOwned> Iterator for Records<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.failed {
            return None;
        }
        let read = match self.parser.read_record(&mut self.record) {
            Ok(false) => return None,
            Ok(true) => self.record.deserialize(self.header.as_ref()),
            Err(error) => Err(error),
        };
        self.failed = read.as_ref().is_err_and(csv::Error::is_io_error);
        Some(read.map_err(|e| self.explain(e)))
    }
}

fn shortened(characters: impl Iterator<Item = char>) -> String {
    let mut characters = characters.fuse();
    let text: String = characters.by_ref().take(SHOWN).collect();
    if characters.next().is_some() { text + "…" } else { text }
}
