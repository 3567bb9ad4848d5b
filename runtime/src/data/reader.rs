//! [`Reader`]: a split as a stream of bytes.

use std::io::{self, BufRead, Read};

use super::blocks::Blocks;

/// Exactly the bytes of a split, returned by [`Split::reader`](super::Split::reader).
///
/// It is for parsers that take a [`Read`] or a [`BufRead`]. Its errors contain an [`Error`](crate::Error) that names
/// the file.
///
/// ```
/// use std::io::BufRead;
///
/// # wren::block_on(async {
/// let splits = wren::Input::glob("Cargo.toml")?.splits().await?;
/// let first = splits[0].reader()?.split(b'=').next().unwrap().unwrap();
/// assert_eq!(first, b"[package]\nname ");
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Reader {
    blocks: Blocks,
    /// Number of bytes of the current block that have been read.
    at: usize,
}

impl Reader {
    pub(super) fn new(blocks: Blocks) -> Self {
        Self { blocks, at: 0 }
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.blocks.block().len() {
            self.blocks.advance().map_err(io::Error::other)?;
            self.at = 0;
        }
        Ok(&self.blocks.block()[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.fill_buf()?;
        let got = rest.read(buffer)?;
        self.consume(got);
        Ok(got)
    }
}
