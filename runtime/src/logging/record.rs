//! A record of a worker, as it travels to the driver.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Maximum length of the texts of a record, in bytes.
const LONGEST_TEXT: usize = 64 << 10;

/// Maximum number of fields of a record.
pub(super) const MOST_FIELDS: usize = 30;

/// A record of [`log`], or an event of [`tracing`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(super) source: Source,
    /// From 1, an error, to 5.
    pub(super) level: u8,
    pub(super) target: String,
    pub(super) message: String,
    pub(super) module: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    /// All fields except the message.
    pub(super) fields: Vec<(String, Value)>,
}

/// The crate that made a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Source {
    Log,
    /// `tracing`, with the name of the event.
    Tracing(String),
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Value {
    Text(String),
    /// The output of `Debug` or `Display`.
    Formatted(String),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Formatted(text) => f.write_str(text),
            Value::Unsigned(number) => number.fmt(f),
            Value::Signed(number) => number.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Bool(bool) => bool.fmt(f),
        }
    }
}

impl Record {
    /// Returns the record as one line of text, or several if its message has several.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{:5} {}: {}", self.log_level(), self.target, self.message);
        for (name, value) in &self.fields {
            // Writing to a string cannot fail.
            let _ = write!(text, " {name}={value}");
        }
        text
    }

    pub(super) fn log_level(&self) -> log::Level {
        match self.level {
            1 => log::Level::Error,
            2 => log::Level::Warn,
            3 => log::Level::Info,
            4 => log::Level::Debug,
            _ => log::Level::Trace,
        }
    }

    /// Limits the length of the record.
    pub(super) fn shorten(&mut self) {
        self.fields.truncate(MOST_FIELDS);
        let texts = self.fields.iter_mut().filter_map(|(_, value)| match value {
            Value::Text(text) | Value::Formatted(text) => Some(text),
            _ => None,
        });
        let mut left = LONGEST_TEXT;
        for text in [&mut self.message, &mut self.target].into_iter().chain(texts) {
            if text.len() > left {
                text.truncate(text.floor_char_boundary(left));
                text.push_str(" ..");
            }
            left = left.saturating_sub(text.len());
        }
    }
}
