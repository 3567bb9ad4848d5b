//! [`Dialect`]: the format of a CSV input.

use serde::{Deserialize, Serialize};

use super::input::Input;
use crate::error::{Error, Result};

/// The format of a CSV input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    /// First byte of comment lines.
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
    /// Rejects a byte that has two meanings.
    pub(super) fn check(&self) -> Result<()> {
        let bytes = [("quote fields", self.quote), ("start comments", self.comment)];
        let bytes = bytes.into_iter().filter_map(|(role, byte)| Some((role, byte?)));
        let bytes: Vec<_> = [("separate fields", self.delimiter)].into_iter().chain(bytes).collect();
        for (index, &(role, byte)) in bytes.iter().enumerate() {
            let shown = byte.escape_ascii();
            if matches!(byte, b'\n' | b'\r') {
                return Err(Error::Config(format!("`{shown}` cannot {role}: it ends CSV records; use another byte")));
            }
            if let Some((other, _)) = bytes[..index].iter().find(|(_, other)| *other == byte) {
                return Err(Error::Config(format!(
                    "`{shown}` cannot both {other} and {role}; change one of them with `delimiter`, `quote` or \
                     `comment`"
                )));
            }
        }
        Ok(())
    }

    /// Returns a parser for this format.
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

/// CSV settings.
impl Input {
    /// Reads CSV, see [`csv`](Self::csv), with this delimiter, such as `b'\t'`.
    pub fn delimiter(self, byte: u8) -> Self {
        self.dialect(|csv| csv.delimiter = byte)
    }

    /// Reads CSV, see [`csv`](Self::csv), with this quote, such as `b'\''`. With `None`, no character is a quote.
    pub fn quote(self, byte: impl Into<Option<u8>>) -> Self {
        let byte = byte.into();
        self.dialect(|csv| csv.quote = byte)
    }

    /// Reads CSV, see [`csv`](Self::csv), and skips comments: lines that begin with this byte, such as `b'#'`.
    pub fn comment(self, byte: u8) -> Self {
        self.dialect(|csv| csv.comment = Some(byte))
    }

    /// Reads CSV, see [`csv`](Self::csv). Sets whether the first record of each file is a header.
    pub fn headers(self, has: bool) -> Self {
        self.dialect(|csv| csv.headers = has)
    }

    /// Reads CSV, see [`csv`](Self::csv). Sets whether white space at both ends of a field is dropped, in headers too.
    /// A quote opens a quoted field only if nothing precedes it, not even white space.
    pub fn trim(self, does: bool) -> Self {
        self.dialect(|csv| csv.trim = does)
    }

    /// Reads CSV, see [`csv`](Self::csv). Sets whether records may have more or fewer fields than the first. Otherwise,
    /// such a record is an error.
    pub fn flexible(self, is: bool) -> Self {
        self.dialect(|csv| csv.flexible = is)
    }
}
