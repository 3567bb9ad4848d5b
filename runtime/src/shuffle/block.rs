//! Blocks of records, each with a checksum, and optionally compressed.
//!
//! A block is a header of 13 bytes and the records. The header has the length of the records, their stored length and
//! the CRC-32 of the stored bytes, each as a little-endian `u32`, and a byte for the storage format.

use std::borrow::Cow;

/// Length of a block's header, in bytes.
pub(super) const HEADER: usize = 13;

/// Storage format: uncompressed.
const PLAIN: u8 = 0;
/// Storage format: compressed with Zstandard.
const ZSTD: u8 = 1;

/// Zstandard's level. Of the fast levels, it produces the smallest blocks at the rates of Lambda's network.
/// `make bench` (`benches/compression.rs`) measures how long it takes and below which rate it pays off, beside LZ4.
#[cfg(feature = "zstd")]
const LEVEL: i32 = 1;

/// Starts a block, with room for the header. The records are appended to it.
pub(super) fn begin(block: &mut Vec<u8>, capacity: usize) {
    block.reserve(capacity);
    block.extend_from_slice(&[0; HEADER]);
}

/// Completes a block that [`begin`] started and to which records were appended.
pub(super) fn seal(mut block: Vec<u8>, compress: bool) -> Vec<u8> {
    let raw = block.len() - HEADER;
    if compress {
        // A block that does not become shorter by an eighth is not worth the time to decompress it. The buffer is too
        // small for such a block, and no error can have another cause.
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

/// Compresses records into `packed`, and returns their compressed length, or `None` if `packed` is too small.
#[cfg(feature = "zstd")]
fn compressed(records: &[u8], packed: &mut [u8]) -> Option<usize> {
    zstd::bulk::compress_to_buffer(records, packed, LEVEL).ok()
}

/// Without Zstandard, blocks stay uncompressed.
#[cfg(not(feature = "zstd"))]
fn compressed(_records: &[u8], _packed: &mut [u8]) -> Option<usize> {
    None
}

#[cfg(feature = "zstd")]
fn decompressed(stored: &[u8], length: usize) -> std::io::Result<Vec<u8>> {
    zstd::bulk::decompress(stored, length)
}

/// All workers of a job run the same program, so only damaged data leads here.
#[cfg(not(feature = "zstd"))]
fn decompressed(_stored: &[u8], _length: usize) -> std::io::Result<Vec<u8>> {
    Err(std::io::Error::other("this program was built without the feature `zstd`"))
}

/// The content of a header.
pub(super) struct Header {
    raw: usize,
    /// Number of stored bytes after the header.
    pub(super) stored: usize,
    crc: u32,
    kind: u8,
}

impl Header {
    /// Reads the header at the start of `bytes`, if it is complete.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER>()?;
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        Some(Self { raw: number(0) as usize, stored: number(4) as usize, crc: number(8), kind: header[12] })
    }

    /// Returns the records of the block with these stored bytes.
    ///
    /// # Errors
    /// A description, if the bytes differ from those that were written.
    pub(super) fn open<'a>(&self, stored: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        if crc32fast::hash(stored) != self.crc {
            return Err("a block's checksum does not match its bytes".to_owned());
        }
        match self.kind {
            PLAIN if self.raw == stored.len() => Ok(Cow::Borrowed(stored)),
            ZSTD => match decompressed(stored, self.raw) {
                Ok(raw) if raw.len() == self.raw => Ok(Cow::Owned(raw)),
                Ok(_) => Err("a block's header has the wrong length".to_owned()),
                Err(error) => Err(format!("cannot decompress a block: {error}")),
            },
            _ => Err("a block's header is invalid".to_owned()),
        }
    }
}
