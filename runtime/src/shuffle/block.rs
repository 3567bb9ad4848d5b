//! Blocks of records, each with a checksum, compressed where that was asked for.
//!
//! A block is a header of 13 bytes and the records: their length, the length they are stored with and
//! the CRC-32 of what is stored, each a little-endian `u32`, and a byte that says how they are stored.

use std::borrow::Cow;

/// Length of a block's header, in bytes.
pub(super) const HEADER: usize = 13;

/// Stored as they are.
const PLAIN: u8 = 0;
/// Compressed by Zstandard.
const ZSTD: u8 = 1;

/// Zstandard's level. Of the fast ones it is the smallest at the rates of Lambda's network: `make bench`
/// (`benches/compression.rs`) tells what it takes and below which rate it pays, beside LZ4.
#[cfg(feature = "zstd")]
const LEVEL: i32 = 1;

/// A block under way: room for the header, then the records.
pub(super) fn begin(block: &mut Vec<u8>, capacity: usize) {
    block.reserve(capacity);
    block.extend_from_slice(&[0; HEADER]);
}

/// Completes a block that [`begin`] began and records were appended to.
pub(super) fn seal(mut block: Vec<u8>, compress: bool) -> Vec<u8> {
    let raw = block.len() - HEADER;
    if compress {
        // What does not become shorter by an eighth is not worth the time to unpack it: the buffer is too
        // small for that, and no error can have another cause.
        let mut packed = vec![0; HEADER + raw - raw / 8];
        if let Some(length) = compressed(&block[HEADER..], &mut packed[HEADER..]) {
            packed.truncate(HEADER + length);
            write_header(&mut packed, raw, ZSTD);
            return packed;
        }
    }
    write_header(&mut block, raw, PLAIN);
    block
}

fn write_header(block: &mut [u8], raw: usize, kind: u8) {
    let stored = block.len() - HEADER;
    let crc = crc32fast::hash(&block[HEADER..]);
    // Blocks are much shorter than 4 GiB, or hold one record that is shorter than that.
    block[..4].copy_from_slice(&(raw as u32).to_le_bytes());
    block[4..8].copy_from_slice(&(stored as u32).to_le_bytes());
    block[8..12].copy_from_slice(&crc.to_le_bytes());
    block[12] = kind;
}

/// Compresses records into `packed`, and gives their length there; `None` where it does not suffice.
#[cfg(feature = "zstd")]
fn compressed(records: &[u8], packed: &mut [u8]) -> Option<usize> {
    zstd::bulk::compress_to_buffer(records, packed, LEVEL).ok()
}

/// Without Zstandard, blocks stay as they are.
#[cfg(not(feature = "zstd"))]
fn compressed(_records: &[u8], _packed: &mut [u8]) -> Option<usize> {
    None
}

#[cfg(feature = "zstd")]
fn decompressed(stored: &[u8], length: usize) -> std::io::Result<Vec<u8>> {
    zstd::bulk::decompress(stored, length)
}

/// All workers of a job are one program, so that only damaged data leads here.
#[cfg(not(feature = "zstd"))]
fn decompressed(_stored: &[u8], _length: usize) -> std::io::Result<Vec<u8>> {
    Err(std::io::Error::other("this program was built without the feature `zstd`"))
}

/// What a header says.
pub(super) struct Header {
    raw: usize,
    /// Length of what follows the header.
    pub(super) stored: usize,
    crc: u32,
    kind: u8,
}

impl Header {
    /// Reads the header at the start of `bytes`, if all of it is there.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER>()?;
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        Some(Self { raw: number(0) as usize, stored: number(4) as usize, crc: number(8), kind: header[12] })
    }

    /// The records of the block whose stored bytes these are.
    ///
    /// # Errors
    /// In words, where they are not what was written.
    pub(super) fn open<'a>(&self, stored: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        if crc32fast::hash(stored) != self.crc {
            return Err("a block's checksum is not that of its bytes".to_owned());
        }
        match self.kind {
            PLAIN if self.raw == stored.len() => Ok(Cow::Borrowed(stored)),
            ZSTD => match decompressed(stored, self.raw) {
                Ok(raw) if raw.len() == self.raw => Ok(Cow::Owned(raw)),
                Ok(_) => Err("a block's header does not tell its length".to_owned()),
                Err(error) => Err(format!("a block does not unpack: {error}")),
            },
            _ => Err("a block's header is not one".to_owned()),
        }
    }
}
