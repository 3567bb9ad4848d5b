//! Finds where a CSV file can be split: at records, whose starts depend on all quotes before them.
//!
//! Each chunk of the file is scanned by itself, once for every state that the text before it may have left. Each scan
//! finds the first records of the chunk and the state at its end. Joined from the start of the file, the scans
//! determine the true state at the start of every chunk.

use std::io::Read;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::blocks::BLOCK;
use super::dialect::Dialect;
use super::quotes::{self, MARK, STATES, State};
use super::source::{Source, Stream};
use crate::error::Result;

/// Number of records reported per chunk. Two, because the first record of a file ends where the second begins.
const RECORDS: usize = 2;

/// The results of a scan, for each state before the chunk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Scanned {
    /// State after the chunk.
    ends: [State; STATES.len()],
    /// Offsets in the file of the chunk's first records.
    records: [Vec<u64>; STATES.len()],
}

/// Scans one chunk.
#[wren::remote]
pub(super) fn scan(source: &Source, len: u64, chunk: Range<u64>, csv: Dialect) -> Result<Scanned> {
    let mut tracks = Tracks::new(csv, chunk.start);
    let mut text = Stream::open(source, chunk.clone(), len)?.take(chunk.end - chunk.start);
    let mut buffer = vec![0; BLOCK];
    loop {
        match text.read(&mut buffer).map_err(|e| source.explain(e))? {
            0 => return Ok(tracks.found()),
            got => tracks.scan(&buffer[..got]),
        }
    }
}

/// The scans from all states, side by side. Scans that reach the same state continue as one.
struct Tracks {
    csv: Dialect,
    at: u64,
    /// Each current state, and the indices of the initial states that led to it.
    tracks: Vec<(State, Vec<usize>)>,
    records: [Vec<u64>; STATES.len()],
}

impl Tracks {
    fn new(csv: Dialect, at: u64) -> Self {
        let tracks = match at {
            // No text precedes the file.
            0 => vec![(State::RecordStart, (0..STATES.len()).collect())],
            _ => STATES.iter().enumerate().map(|(number, state)| (*state, vec![number])).collect(),
        };
        Self { csv, at, tracks, records: Default::default() }
    }

    fn scan(&mut self, text: &[u8]) {
        let mark = if self.at == 0 && text.starts_with(MARK) { MARK.len() } else { 0 };
        let (begin, text) = (self.at + mark as u64, &text[mark..]);
        for (state, from) in &mut self.tracks {
            let missing = from.iter().map(|&number| RECORDS - self.records[number].len()).max().unwrap_or(0);
            let mut new = Vec::new();
            *state = quotes::scan(&self.csv, *state, text, |plain| {
                if new.len() < missing {
                    new.extend(plain.first_records(text, missing - new.len()));
                }
            });
            for &number in &*from {
                let records = &mut self.records[number];
                let missing = RECORDS - records.len();
                records.extend(new.iter().take(missing).map(|&record| begin + record as u64));
            }
        }
        self.at = begin + text.len() as u64;
        for (state, from) in std::mem::take(&mut self.tracks) {
            match self.tracks.iter_mut().find(|(other, _)| *other == state) {
                Some((_, all)) => all.extend(from),
                None => self.tracks.push((state, from)),
            }
        }
    }

    fn found(self) -> Scanned {
        let mut ends = STATES;
        for (state, from) in self.tracks {
            from.iter().for_each(|&number| ends[number] = state);
        }
        Scanned { ends, records: self.records }
    }
}

/// Joins the scans of a file's chunks. Returns the ranges of its splits and the length of its first record.
pub(super) fn join(len: u64, scans: &[Scanned]) -> (Vec<Range<u64>>, u64) {
    let mut state = State::RecordStart;
    let mut begins = Vec::new();
    let mut records = Vec::new();
    for scan in scans {
        let found = &scan.records[state as usize];
        begins.extend(found.first());
        records.extend(found.iter().take(RECORDS - records.len().min(RECORDS)));
        state = scan.ends[state as usize];
    }
    match begins.first_mut() {
        // Empty lines and comments before the first record belong to it.
        Some(first) => *first = 0,
        None => begins.push(0),
    }
    let ends = begins.iter().skip(1).copied().chain([len]);
    let ranges = begins.iter().zip(ends).map(|(&begin, end)| begin..end).collect();
    (ranges, records.get(1).copied().unwrap_or(len))
}
