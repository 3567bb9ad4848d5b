//! [`Blocks`]: large blocks of whole records. All other ways to read a split are built on them.

use std::fmt;
use std::io::Read;
use std::ops::Range;

use memchr::{memchr, memrchr};

use super::dialect::Dialect;
use super::quotes::{self, MARK, State};
use super::source::Source;
use crate::error::Result;

/// Number of bytes read at once: small enough that a block is still in the processor's cache when it is processed.
pub(super) const BLOCK: usize = 512 << 10;

/// Size of the smallest buffer, in bytes.
const SMALL: usize = 4 << 10;

/// Number of bytes read at once after the end of a split, to find the end of its last line.
const BEHIND: u64 = 16 << 10;

/// Maximum length of a line or record, in bytes. A block holds a whole line or record; while the buffer grows to this
/// size, it takes half as much memory in addition.
const LONGEST: usize = 128 << 20;

/// Where a block may end.
#[derive(Debug)]
pub(super) enum Cut {
    Anywhere,
    /// After a newline.
    Lines,
    /// After a multiple of this number of bytes.
    Fixed(u64),
    /// Before a CSV record.
    Csv(Dialect),
}

/// The blocks of a split, returned by [`Split::blocks`](super::Split::blocks).
///
/// A block contains whole lines or whole records. It is lent, not copied: it is valid until the next block is
/// requested. A block has about 512 KiB, or more if it contains a longer record, up to 128 MiB. A longer line or record
/// is an error.
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
    /// End of the split, if its last line may extend beyond it.
    line_end: Option<u64>,
    buffer: Vec<u8>,
    /// Range of the current block in the buffer. The bytes before it are no longer needed.
    block: Range<usize>,
    /// Number of bytes in the buffer that have been read from the input.
    filled: usize,
    /// Offset of the buffer's first byte in the file or, for a packed file, in its unpacked content.
    offset: u64,
    ended: bool,
    /// [`LONGEST`], except in tests.
    longest: usize,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocks({} at {})", self.source.path(), self.offset + self.block.start as u64)
    }
}

impl Blocks {
    /// Creates blocks of all bytes of `input`, which begins at `offset`. `expected` is the approximate number of bytes.
    pub(super) fn new(source: &Source, input: Box<dyn Read + Send>, cut: Cut, offset: u64, expected: u64) -> Self {
        // One byte more, so that the end of a short split is detected without a larger buffer.
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

    /// Keeps only the lines that begin in `range`. The input begins one byte before the range, unless the range begins
    /// with the file.
    pub(super) fn only_lines_of(mut self, range: &Range<u64>) -> Result<Self> {
        self.line_end = Some(range.end);
        if range.start == 0 {
            return Ok(self);
        }
        // A newline before this offset is followed by a line that begins in the range.
        let last = range.end - 1;
        loop {
            self.read()?;
            let before = usize::try_from(last - self.offset).unwrap_or(usize::MAX).min(self.filled);
            if let Some(newline) = memchr(b'\n', &self.buffer[..before]) {
                // An empty block after the bytes that belong to another split.
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

    /// Returns the next block, or `None` at the end of the split. A block is never empty.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if the file cannot be read, has shrunk since it was split or is damaged,
    /// or if a line or record is longer than 128 MiB.
    pub fn next_block(&mut self) -> Result<Option<&[u8]>> {
        Ok(if self.advance()? { Some(self.block()) } else { None })
    }

    /// Returns the offset of the current block in the file or, for a packed file, in its unpacked content.
    pub fn offset(&self) -> u64 {
        self.offset + self.block.start as u64
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the current block.
    pub(super) fn block(&self) -> &[u8] {
        &self.buffer[self.block.clone()]
    }

    /// Moves to the next block; returns false at the end.
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
                    "the line or record at byte {} is longer than {} MB, the maximum; read the file in pieces with \
                     `Split::reader`",
                    self.offset,
                    self.longest >> 20
                )));
            }
            let longer = self.buffer.len().saturating_mul(2).min(self.longest);
            self.buffer.resize(longer, 0);
        }
    }

    /// Reads once, at most to the end of the buffer, and stops after the split's last line.
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

    /// Returns the end of the last block in the buffer.
    fn last_end(&self) -> Result<usize> {
        if let Cut::Fixed(record) = self.cut {
            let left = self.filled as u64 % record;
            if left > 0 {
                let at = self.offset + self.filled as u64 - left;
                let reason = format!("the record at byte {at} has only {left} bytes instead of {record}");
                return Err(self.source.error(reason));
            }
        }
        Ok(self.filled)
    }

    /// Returns the end of the block in the buffer, or 0 if the buffer holds no whole record.
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
            // The cast is exact: the remainder is at most `self.filled`.
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
                // A block cannot end at the start of its own first record.
                looked.record.filter(|&record| read[..record] != *MARK || self.offset > 0).unwrap_or(0)
            }
        }
    }
}

/// Progress of the search for the end of a block, kept while the buffer grows.
#[derive(Debug)]
struct Looked {
    at: usize,
    state: State,
    /// Start of the last record found.
    record: Option<usize>,
}

impl Default for Looked {
    fn default() -> Self {
        Self { at: 0, state: State::RecordStart, record: None }
    }
}
