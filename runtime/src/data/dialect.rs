//! What CSV looks like: [`Dialect`].

use serde::{Deserialize, Serialize};

use super::input::Input;
use crate::error::{Error, Result};

/// How fields and records of CSV are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    /// What lines begin with that are none.
    pub(super) comment: Option<u8>,
    /// Whether the first record of a file is its header.
    pub(super) headers: bool,
    /// Whether white space around fields is dropped.
    pub(super) trim: bool,
    /// Whether records may have more or fewer fields than the first.
    pub(super) flexible: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { delimiter: b',', quote: Some(b'"'), comment: None, headers: true, trim: false, flexible: false }
    }
}

impl Dialect {
    /// Refuses bytes that mean two things.
    pub(super) fn check(&self) -> Result<()> {
        let bytes = [("quote fields", self.quote), ("begin comments", self.comment)];
        let bytes = bytes.into_iter().filter_map(|(what, byte)| Some((what, byte?)));
        let bytes: Vec<_> = [("separate fields", self.delimiter)].into_iter().chain(bytes).collect();
        for (index, &(what, byte)) in bytes.iter().enumerate() {
            let shown = byte.escape_ascii();
            if matches!(byte, b'\n' | b'\r') {
                return Err(Error::Config(format!("`{shown}` cannot {what}: it ends the records of CSV")));
            }
            if let Some((other, _)) = bytes[..index].iter().find(|(_, other)| *other == byte) {
                return Err(Error::Config(format!(
                    "`{shown}` cannot both {other} and {what}; take another byte for one of them, by `delimiter`, `quote` \
                     or `comment`"
                )));
            }
        }
        Ok(())
    }

    /// A parser of it.
    pub(super) fn parser(&self) -> csv::ReaderBuilder {
        let mut parser = csv::ReaderBuilder::new();
        parser.delimiter(self.delimiter).comment(self.comment).has_headers(self.headers).flexible(self.flexible);
        match self.quote {
            Some(quote) => parser.quote(quote),
            None => parser.quoting(false),
        };
        parser.trim(if self.trim { csv::Trim::All } else { csv::Trim::None });
        parser
    }
}

/// Settings of CSV.
impl Input {
    /// CSV, as [`csv`](Self::csv) says, with another delimiter, for instance `b'\t'`.
    pub fn delimiter(self, byte: u8) -> Self {
        self.dialect(|csv| csv.delimiter = byte)
    }

    /// CSV, as [`csv`](Self::csv) says, with other quotes, for instance `b'\''`; `None` where quotes are characters like
    /// any other.
    pub fn quote(self, byte: impl Into<Option<u8>>) -> Self {
        let byte = byte.into();
        self.dialect(|csv| csv.quote = byte)
    }

    /// CSV, as [`csv`](Self::csv) says, in which lines that begin with this byte are no records, for instance `b'#'`.
    pub fn comment(self, byte: u8) -> Self {
        self.dialect(|csv| csv.comment = Some(byte))
    }

    /// CSV, as [`csv`](Self::csv) says, of which the first record of a file is a header, or is not.
    pub fn headers(self, has: bool) -> Self {
        self.dialect(|csv| csv.headers = has)
    }

    /// CSV, as [`csv`](Self::csv) says, of which white space at both ends of a field is dropped, in headers too. A quote
    /// opens only where nothing is before it.
    pub fn trim(self, does: bool) -> Self {
        self.dialect(|csv| csv.trim = does)
    }

    /// CSV, as [`csv`](Self::csv) says, whose records may have more or fewer fields than the first. Otherwise such a
    /// record is an error.
    pub fn flexible(self, is: bool) -> Self {
        self.dialect(|csv| csv.flexible = is)
    }
}
