//! Where CSV records begin: newlines inside quotes end none.
//!
//! The rules are those of the `csv` crate: a quote opens only at the begin of a field; inside
//! quotes a doubled one stands for itself; `\n`, `\r` and `\r\n` end records; empty lines are none.
//!
//! Outside quotes, the state before a byte follows from the byte before it alone. So a scan jumps
//! from quote to quote, and looks at what stands before each.

use std::ops::Range;

use memchr::{memchr, memchr2, memrchr2};
use serde::{Deserialize, Serialize};

/// What a byte order mark at the begin of a file looks like; it belongs to no field.
pub(super) const MARK: &[u8] = b"\xef\xbb\xbf";

/// What is known of the text before a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// A record ended, or none has begun.
    RecordStart,
    /// The delimiter came.
    FieldStart,
    /// A field without quotes has begun, or one with quotes was closed.
    InField,
    Quoted,
    /// A quote came inside quotes: the first of two, or the closing one.
    Quote,
}

/// All states, each at the index that is its number.
pub(super) const STATES: [State; 5] =
    [State::RecordStart, State::FieldStart, State::InField, State::Quoted, State::Quote];

/// A stretch of text outside quotes.
#[derive(Debug)]
pub(super) struct Plain {
    /// Before its first byte.
    state: State,
    at: Range<usize>,
    /// Whether an opening quote stands at its end.
    opens: bool,
}

fn ends_record(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Goes over `bytes`, tells of every stretch outside quotes, and gives the state behind them.
pub(super) fn scan(delimiter: u8, mut state: State, bytes: &[u8], mut plain: impl FnMut(Plain)) -> State {
    let mut at = 0;
    while at < bytes.len() {
        match state {
            State::Quoted => match memchr(b'"', &bytes[at..]) {
                Some(i) => (state, at) = (State::Quote, at + i + 1),
                None => return state,
            },
            State::Quote if bytes[at] == b'"' => (state, at) = (State::Quoted, at + 1),
            State::Quote => state = State::InField,
            outside => match opening_quote(delimiter, outside, bytes, at) {
                Some(quote) => {
                    plain(Plain { state, at: at..quote, opens: true });
                    (state, at) = (State::Quoted, quote + 1);
                }
                None => {
                    plain(Plain { state, at: at..bytes.len(), opens: false });
                    return after(delimiter, bytes[bytes.len() - 1]);
                }
            },
        }
    }
    state
}

/// The state behind a byte that lies outside quotes and opens none.
fn after(delimiter: u8, byte: u8) -> State {
    match byte {
        b'\n' | b'\r' => State::RecordStart,
        byte if byte == delimiter => State::FieldStart,
        _ => State::InField,
    }
}

/// The next quote that opens, from a place outside quotes on.
fn opening_quote(delimiter: u8, state: State, bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let quote = at + memchr(b'"', &bytes[at..])?;
        let before = if quote == start { state } else { after(delimiter, bytes[quote - 1]) };
        if before != State::InField {
            return Some(quote);
        }
        at = quote + 1;
    }
}

impl Plain {
    /// Where the first record of this stretch begins.
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

    /// Where the first records of this stretch begin, `limit` of them at most.
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
            // Its first byte ends no record, so that none begins behind it.
            self.state = State::InField;
        }
        found
    }

    /// Where the last record of this stretch begins.
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

    /// The same, a byte at a time.
    fn step(state: State, byte: u8) -> State {
        match (state, byte) {
            (State::Quoted, b'"') => State::Quote,
            (State::Quoted, _) | (State::Quote | State::RecordStart | State::FieldStart, b'"') => State::Quoted,
            (_, byte) => after(b',', byte),
        }
    }

    fn records(mut state: State, bytes: &[u8]) -> (State, Vec<usize>) {
        let mut found = Vec::new();
        for (at, &byte) in bytes.iter().enumerate() {
            if state == State::RecordStart && !ends_record(byte) {
                found.push(at);
            }
            state = step(state, byte);
        }
        (state, found)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn jumping_from_quote_to_quote_finds_what_stepping_finds(text in "[a,\"\n\r]{0,40}", start in 0usize..5) {
            let bytes = text.as_bytes();
            let (state, expected) = records(STATES[start], bytes);
            let (mut all, mut last) = (Vec::new(), None);
            let end = scan(b',', STATES[start], bytes, |plain| {
                last = plain.last_record(bytes).or(last);
                all.extend(plain.first_records(bytes, usize::MAX));
            });
            prop_assert_eq!((end, last), (state, expected.last().copied()));
            prop_assert_eq!(all, expected);
        }
    }
}
