//! [`Lines`]: a split, line by line.

use std::ops::Range;

use memchr::memchr;

use super::blocks::Blocks;
use super::quotes::MARK;
use crate::error::Result;

/// The lines of a split, returned by [`Split::lines`](super::Split::lines).
///
/// As an iterator, it yields `String`s. [`next_line`](Self::next_line) lends each line in place, and does not require
/// UTF-8. Lines do not include the `\n` or `\r\n` that ends them.
///
/// ```
/// #[wren::remote]
/// fn longest(split: &wren::Split) -> wren::Result<usize> {
///     let mut lines = split.lines()?;
///     let mut longest = 0;
///     while let Some(line) = lines.next_line()? {
///         longest = longest.max(line.len());
///     }
///     Ok(longest)
/// }
///
/// # wren::block_on(async {
/// let splits = wren::Input::glob("src/*.rs")?.splits().await?;
/// let longest = wren::map(|split| longest(&split), splits).await?;
/// assert!(longest.iter().all(|&line| line > 10 && line < 200));
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Lines {
    blocks: Blocks,
    /// Start of the next line in the current block.
    at: usize,
    failed: bool,
}

impl Lines {
    pub(super) fn new(blocks: Blocks) -> Self {
        Self { blocks, at: 0, failed: false }
    }

    /// Returns the next line, or `None` at the end of the split. The line is valid until the next line is requested.
    ///
    /// # Errors
    /// The errors of [`Blocks::next_block`].
    #[inline]
    pub fn next_line(&mut self) -> Result<Option<&[u8]>> {
        Ok(match self.next_place()? {
            Some(place) => Some(&self.blocks.block()[place]),
            None => None,
        })
    }

    /// Returns the range of the next line in the current block.
    #[inline]
    fn next_place(&mut self) -> Result<Option<Range<usize>>> {
        if self.at == self.blocks.block().len() {
            let more = self.blocks.advance();
            self.at = 0;
            if !more? {
                return Ok(None);
            }
            if self.blocks.offset() == 0 && self.blocks.block().starts_with(MARK) {
                self.at = MARK.len();
                return self.next_place();
            }
        }
        let begin = self.at;
        let rest = &self.blocks.block()[begin..];
        let Some(newline) = memchr(b'\n', rest) else {
            // A lone `\r` at the end of a file does not end a line.
            self.at += rest.len();
            return Ok(Some(begin..self.at));
        };
        self.at += newline + 1;
        let end = if rest[..newline].ends_with(b"\r") { newline - 1 } else { newline };
        Ok(Some(begin..begin + end))
    }

    /// Returns the offset of the next line in the file or, for a packed file, in its unpacked content.
    pub fn offset(&self) -> u64 {
        self.blocks.offset() + self.at as u64
    }

    fn next_string(&mut self) -> Result<Option<String>> {
        let Some(place) = self.next_place()? else { return Ok(None) };
        let begin = place.start;
        match std::str::from_utf8(&self.blocks.block()[place]) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(error) => {
                let at = self.blocks.offset() + (begin + error.valid_up_to()) as u64;
                let reason = format!("it is not UTF-8 at byte {at}; use `next_line` to read lines as bytes");
                Err(self.blocks.source().error(reason))
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<String>;

    /// Returns the next line.
    ///
    /// A line that is not UTF-8 is an error that names the byte; the lines after it follow. After any other error, the
    /// iterator ends.
    fn next(&mut self) -> Option<Result<String>> {
        if self.failed {
            return None;
        }
        let at = self.offset();
        let line = self.next_string().transpose();
        self.failed = matches!(line, Some(Err(_))) && self.offset() == at;
        line
    }
}
