//! Large blocks of whole records: [`Blocks`], on which all other ways to read a split stand.

use std::fmt;
use std::io::Read;
use std::ops::Range;

use memchr::{memchr, memrchr};

use super::dialect::Dialect;
use super::quotes::{self, MARK, State};
use super::source::Source;
use crate::error::Result;

/// How much is read at once, in bytes: small enough that a block is in the processor's cache when
/// it is worked on.
pub(super) const BLOCK: usize = 512 << 10;

/// The smallest buffer.
const SMALL: usize = 4 << 10;

/// How much is read at once behind the end of a split, for the end of its last line.
const BEHIND: u64 = 16 << 10;

/// The longest line or record, in bytes: a block holds it as a whole, and while it grows to that, half of it once more.
const LONGEST: usize = 128 << 20;

/// Where a block may end.
#[derive(Debug)]
pub(super) enum Cut {
    /// Anywhere.
    Anywhere,
    /// Behind a newline.
    Lines,
    /// Behind so many bytes, or a multiple.
    Fixed(u64),
    /// Before a CSV record.
    Csv(Dialect),
}

/// The blocks of a split: what [`Split::blocks`](super::Split::blocks) gives.
///
/// A block holds whole lines, or whole records, and there is no other copy of it: it is valid until
/// the next is asked for. Blocks have about 512 KiB; one that holds a longer record is longer, up to 128 MiB. A line or
/// record beyond that is an error.
///
/// ```
/// #[wren::remote]
/// fn newlines(split: &wren::Split) -> wren::Result<usize> {
///     let mut blocks = split.blocks()?;
///     let mut newlines = 0;
///     while let Some(block) = blocks.next_block()? {
///         newlines += block.iter().filter(|byte| **byte == b'\n').count();
///     }
///     Ok(newlines)
/// }
///
/// # wren::block_on(async {
/// let splits = wren::Input::glob("Cargo.toml")?.split_size(500).splits().await?;
/// let newlines: usize = wren::map(|split| newlines(&split), splits).await?.iter().sum();
/// assert_eq!(newlines, std::fs::read_to_string("Cargo.toml").unwrap().lines().count());
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
pub struct Blocks {
    source: Source,
    input: Box<dyn Read + Send>,
    cut: Cut,
    /// The end of the split, where its last line may go on behind it.
    line_end: Option<u64>,
    buffer: Vec<u8>,
    /// The block in the buffer; what lies before it is done with.
    block: Range<usize>,
    /// Where what was read ends in the buffer.
    filled: usize,
    /// Where the buffer begins in the file, or in what the file unpacks to.
    offset: u64,
    ended: bool,
    /// [`LONGEST`], but in tests.
    longest: usize,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocks({} at {})", self.source.path(), self.offset + self.block.start as u64)
    }
}

impl Blocks {
    /// Blocks of all that `input` gives, which begins at `offset`; `expected` is about how much.
    pub(super) fn new(source: &Source, input: Box<dyn Read + Send>, cut: Cut, offset: u64, expected: u64) -> Self {
        // One more, so that the end of a short split is seen without another buffer.
        let size = usize::try_from(expected).unwrap_or(BLOCK).saturating_add(1).clamp(SMALL, BLOCK);
        Self {
            source: source.clone(),
            input,
            cut,
            line_end: None,
            buffer: vec![0; size],
            block: 0..0,
            filled: 0,
            offset,
            ended: false,
            longest: LONGEST,
        }
    }

    /// Leaves only the lines that begin in `range`. What is read begins one byte before it, unless
    /// it begins with the file.
    pub(super) fn only_lines_of(mut self, range: &Range<u64>) -> Result<Self> {
        self.line_end = Some(range.end);
        if range.start == 0 {
            return Ok(self);
        }
        // A line begins behind each newline before this.
        let last = range.end - 1;
        loop {
            self.read()?;
            let before = usize::try_from(last - self.offset).unwrap_or(usize::MAX).min(self.filled);
            if let Some(newline) = memchr(b'\n', &self.buffer[..before]) {
                // An empty block, behind what is another split's.
                self.block = newline + 1..newline + 1;
                return Ok(self);
            }
            self.offset += self.filled as u64;
            self.filled = 0;
            if self.ended || self.offset >= last {
                self.ended = true;
                return Ok(self);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn with_longest(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// The next block, or `None` at the end of the split. Never an empty one.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) where the file cannot be read, has shrunk since it was
    /// split, or is damaged, and where a line or record is longer than 128 MiB.
    pub fn next_block(&mut self) -> Result<Option<&[u8]>> {
        Ok(if self.advance()? { Some(self.block()) } else { None })
    }

    /// Where the present block begins, counted from the begin of the file, or, where the file is
    /// packed, of what it unpacks to.
    pub fn offset(&self) -> u64 {
        self.offset + self.block.start as u64
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The present block.
    pub(super) fn block(&self) -> &[u8] {
        &self.buffer[self.block.clone()]
    }

    /// Goes on to the next block; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool> {
        self.buffer.copy_within(self.block.end..self.filled, 0);
        self.offset += self.block.end as u64;
        self.filled -= self.block.end;
        self.block = 0..0;
        let mut looked_at = Looked::default();
        loop {
            while !self.ended && self.filled < self.buffer.len() {
                self.read()?;
            }
            let end = if self.ended { self.last_end()? } else { self.end_of_block(&mut looked_at) };
            self.block = 0..end;
            if end > 0 || self.ended {
                return Ok(end > 0);
            }
            if self.buffer.len() >= self.longest {
                return Err(self.source.error(format!(
                    "the line or record at byte {} is longer than {} MB, the longest that is read; read such a file in \
                     pieces, by `Split::reader`",
                    self.offset,
                    self.longest >> 20
                )));
            }
            let longer = self.buffer.len().saturating_mul(2).min(self.longest);
            self.buffer.resize(longer, 0);
        }
    }

    /// Reads once, up to the end of the buffer at most, and stops behind the last line.
    fn read(&mut self) -> Result<()> {
        let at = self.offset + self.filled as u64;
        let mut room = self.buffer.len() - self.filled;
        if let Some(end) = self.line_end {
            let most = if at < end { end - at } else { BEHIND };
            room = usize::try_from(most).unwrap_or(room).min(room);
        }
        let new = self.filled..self.filled + room;
        let got = loop {
            match self.input.read(&mut self.buffer[new.clone()]) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| self.source.explain(e))?,
            }
        };
        self.ended = got == 0;
        self.filled += got;
        if let Some(end) = self.line_end {
            let from = usize::try_from((end - 1).saturating_sub(at)).unwrap_or(usize::MAX).min(got);
            if let Some(newline) = memchr(b'\n', &self.buffer[new.start + from..self.filled]) {
                self.filled = new.start + from + newline + 1;
                self.ended = true;
            }
        }
        Ok(())
    }

    /// Where the last block ends.
    fn last_end(&self) -> Result<usize> {
        if let Cut::Fixed(record) = self.cut {
            let left = self.filled as u64 % record;
            if left > 0 {
                let at = self.offset + self.filled as u64 - left;
                let reason = format!("the record at byte {at} has {left} bytes, and not {record} as all others");
                return Err(self.source.error(reason));
            }
        }
        Ok(self.filled)
    }

    /// Where the block ends that is in the buffer; 0 where it has no whole record.
    fn end_of_block(&self, looked: &mut Looked) -> usize {
        let read = &self.buffer[..self.filled];
        match self.cut {
            Cut::Anywhere => self.filled,
            Cut::Lines => match memrchr(b'\n', &read[looked.at..]) {
                Some(newline) => looked.at + newline + 1,
                None => {
                    looked.at = self.filled;
                    0
                }
            },
            // A record that is longer than the address space does not fit into any block.
            Cut::Fixed(record) => self.filled - (self.filled as u64 % record) as usize,
            Cut::Csv(csv) => {
                if self.offset == 0 && looked.at == 0 && read.starts_with(MARK) {
                    looked.at = MARK.len();
                }
                let from = looked.at;
                let new = &read[from..];
                looked.state = quotes::scan(&csv, looked.state, new, |plain| {
                    looked.record = plain.last_record(new).map(|record| from + record).or(looked.record);
                });
                looked.at = self.filled;
                // The first record of a block is no place to end it.
                looked.record.filter(|&record| read[..record] != *MARK || self.offset > 0).unwrap_or(0)
            }
        }
    }
}

/// How far the search for the end of a block came, while its record did not end.
#[derive(Debug)]
struct Looked {
    at: usize,
    state: State,
    /// The last record that began.
    record: Option<usize>,
}

impl Default for Looked {
    fn default() -> Self {
        Self { at: 0, state: State::RecordStart, record: None }
    }
}
