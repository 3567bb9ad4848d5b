//! Finds the starts of CSV records. Newlines inside quotes do not end a record.
//!
//! The rules are those of the `csv` crate. A quote opens a quoted field only at the start of a field. Inside quotes, a
//! doubled quote stands for one quote. `\n`, `\r` and `\r\n` end records. Empty lines are not records. A comment begins
//! where a record could begin, and extends to the next `\n`, regardless of quotes in it.
//!
//! Outside quotes and comments, the state before a byte depends only on the previous byte. Therefore, a scan jumps from
//! quote to quote and checks the byte before each. It handles comments in the same way.

use std::ops::Range;

use memchr::{memchr, memchr2, memrchr2};
use serde::{Deserialize, Serialize};

use super::dialect::Dialect;

/// A byte order mark at the start of a file. It belongs to no field.
pub(super) const MARK: &[u8] = b"\xef\xbb\xbf";

/// The state of a scan before a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// After the end of a record, or before the first record.
    RecordStart,
    /// After a delimiter.
    FieldStart,
    /// Inside a field without quotes, or after the closing quote of a field.
    InField,
    Quoted,
    /// After a quote inside quotes: the first of two, or the closing one.
    Quote,
    Comment,
}

/// All states, each at the index of its discriminant.
pub(super) const STATES: [State; 6] =
    [State::RecordStart, State::FieldStart, State::InField, State::Quoted, State::Quote, State::Comment];

/// A stretch of text outside quotes and comments.
#[derive(Debug)]
pub(super) struct Plain {
    /// State before the first byte.
    state: State,
    at: Range<usize>,
    /// Whether an opening quote follows directly.
    opens: bool,
}

fn ends_record(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Scans `bytes`, passes every stretch outside quotes and comments to `plain`, and returns the state at the end.
pub(super) fn scan(csv: &Dialect, mut state: State, bytes: &[u8], mut plain: impl FnMut(Plain)) -> State {
    let mut at = 0;
    while at < bytes.len() {
        match state {
            State::Quoted => match csv.quote.and_then(|quote| memchr(quote, &bytes[at..])) {
                Some(i) => (state, at) = (State::Quote, at + i + 1),
                None => return state,
            },
            State::Quote if Some(bytes[at]) == csv.quote => (state, at) = (State::Quoted, at + 1),
            State::Quote => state = State::InField,
            State::Comment => match memchr(b'\n', &bytes[at..]) {
                Some(i) => (state, at) = (State::RecordStart, at + i + 1),
                None => return state,
            },
            outside => match next_open(csv, outside, bytes, at) {
                Some((open, inside)) => {
                    plain(Plain { state, at: at..open, opens: inside == State::Quoted });
                    (state, at) = (inside, open + 1);
                }
                None => {
                    plain(Plain { state, at: at..bytes.len(), opens: false });
                    return after(csv, bytes[bytes.len() - 1]);
                }
            },
        }
    }
    state
}

/// Returns the state after a byte that lies outside quotes and comments and opens neither.
fn after(csv: &Dialect, byte: u8) -> State {
    match byte {
        b'\n' | b'\r' => State::RecordStart,
        byte if byte == csv.delimiter => State::FieldStart,
        _ => State::InField,
    }
}

/// Finds the next opening quote or comment start after a position outside both. Returns its position, and the state
/// after it.
fn next_open(csv: &Dialect, state: State, bytes: &[u8], start: usize) -> Option<(usize, State)> {
    let mut at = start;
    loop {
        let rest = &bytes[at..];
        let found = at
            + match (csv.quote, csv.comment) {
                (Some(quote), Some(comment)) => memchr2(quote, comment, rest)?,
                (Some(byte), None) | (None, Some(byte)) => memchr(byte, rest)?,
                (None, None) => return None,
            };
        let before = if found == start { state } else { after(csv, bytes[found - 1]) };
        match before {
            State::RecordStart if Some(bytes[found]) == csv.comment => return Some((found, State::Comment)),
            State::RecordStart | State::FieldStart if Some(bytes[found]) == csv.quote => {
                return Some((found, State::Quoted));
            }
            _ => at = found + 1,
        }
    }
}

impl Plain {
    /// Returns the start of the first record in this stretch.
    fn first_record(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = self.at.start;
        if self.state != State::RecordStart {
            at += memchr2(b'\n', b'\r', &bytes[self.at.clone()])? + 1;
        }
        while at < self.at.end && ends_record(bytes[at]) {
            at += 1;
        }
        (at < self.at.end || self.opens).then_some(at)
    }

    /// Returns the starts of the first records in this stretch, at most `limit` of them.
    pub(super) fn first_records(mut self, bytes: &[u8], limit: usize) -> Vec<usize> {
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(record) = self.first_record(bytes)
        {
            found.push(record);
            if record == self.at.end {
                break;
            }
            self.at.start = record + 1;
            // The first byte of a record does not end one, so the next byte does not start a record.
            self.state = State::InField;
        }
        found
    }

    /// Returns the start of the last record in this stretch.
    pub(super) fn last_record(&self, bytes: &[u8]) -> Option<usize> {
        let Range { start, mut end } = self.at;
        let begins = self.state == State::RecordStart;
        if self.opens && (if end == start { begins } else { ends_record(bytes[end - 1]) }) {
            return Some(end);
        }
        while end > start && ends_record(bytes[end - 1]) {
            end -= 1;
        }
        match memrchr2(b'\n', b'\r', &bytes[start..end]) {
            Some(i) => Some(start + i + 1),
            None => (begins && start < end).then_some(start),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the state after one more byte.
    fn step(csv: &Dialect, state: State, byte: u8) -> State {
        let is_quote = Some(byte) == csv.quote;
        match state {
            State::Quoted if is_quote => State::Quote,
            State::Quoted => State::Quoted,
            State::Comment if byte != b'\n' => State::Comment,
            State::RecordStart if Some(byte) == csv.comment => State::Comment,
            State::Quote | State::RecordStart | State::FieldStart if is_quote => State::Quoted,
            _ => after(csv, byte),
        }
    }

    fn records(csv: &Dialect, mut state: State, bytes: &[u8]) -> (State, Vec<usize>) {
        let mut found = Vec::new();
        for (at, &byte) in bytes.iter().enumerate() {
            let before = state;
            state = step(csv, state, byte);
            if before == State::RecordStart && !ends_record(byte) && state != State::Comment {
                found.push(at);
            }
        }
        (state, found)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn jumping_between_quotes_matches_stepping(
            text in "[a,\"#\n\r]{0,40}",
            start in 0usize..STATES.len(),
            quote in prop::option::of(Just(b'"')),
            comment in prop::option::of(Just(b'#')),
        ) {
            let (bytes, csv) = (text.as_bytes(), Dialect { quote, comment, ..Dialect::default() });
            let (state, expected) = records(&csv, STATES[start], bytes);
            let (mut all, mut last) = (Vec::new(), None);
            let end = scan(&csv, STATES[start], bytes, |plain| {
                last = plain.last_record(bytes).or(last);
                all.extend(plain.first_records(bytes, usize::MAX));
            });
            prop_assert_eq!((end, last), (state, expected.last().copied()));
            prop_assert_eq!(all, expected);
        }
    }
}
