//! Writes marks, lengths, indices and numbers.

use super::marks::{self, Kind, WIDE};
use super::numbers::BlockHeader;
use crate::platform;

/// Whether the length of a sequence or map with `expected` elements takes 8 bytes.
pub(super) fn is_wide(expected: usize) -> bool {
    expected > 255
}

/// Reserves room for `expected` elements of `len` bytes each, if there is enough memory.
pub(super) fn reserve(out: &mut Vec<u8>, len: usize, expected: usize) {
    let before = out.capacity();
    if out.try_reserve(len.saturating_mul(expected)).is_ok() && out.capacity() > before {
        platform::prefer_large_pages(out);
    }
}

/// Appends zeros that are overwritten later.
#[cold]
pub(super) fn zeros(out: &mut Vec<u8>, len: usize) {
    out.resize(out.len() + len, 0);
}

/// Writes a mark and an index into the table of names.
pub(super) fn put_index(out: &mut Vec<u8>, mark: u8, index: u32) {
    match u16::try_from(index) {
        Ok(index) => {
            let [low, high] = index.to_le_bytes();
            out.extend_from_slice(&[mark, low, high]);
        }
        Err(_) => {
            out.push(mark + WIDE);
            out.extend_from_slice(&index.to_le_bytes());
        }
    }
}

/// Fills in the index of a struct's names when it is known.
pub(super) fn set_index(out: &mut Vec<u8>, at: usize, index: u32) {
    match u16::try_from(index) {
        Ok(index) => out[at + 1..at + 3].copy_from_slice(&index.to_le_bytes()),
        Err(_) => {
            out[at] += WIDE;
            drop(out.splice(at + 1..at + 3, index.to_le_bytes()));
        }
    }
}

pub(super) fn length_len(wide: bool) -> usize {
    if wide { 9 } else { 2 }
}

pub(super) fn block_header_len(wide: bool) -> usize {
    if wide { BlockHeader::LEN } else { 2 }
}

pub(super) fn put_block_header(out: &mut Vec<u8>, kind: Kind, wide: bool) {
    if wide {
        out.extend_from_slice(&BlockHeader::flat(kind, 0).to_bytes());
    } else {
        out.extend_from_slice(&[marks::SHORT_BLOCK + kind as u8, 0]);
    }
}

/// Writes a mark and a length.
pub(super) fn put_length(out: &mut Vec<u8>, mark: u8, len: usize, wide: bool) {
    match u8::try_from(len) {
        Ok(len) if !wide => out.extend_from_slice(&[mark, len]),
        _ => {
            out.push(mark + WIDE);
            out.extend_from_slice(&(len as u64).to_le_bytes());
        }
    }
}

/// Fills in the length of a sequence or map when it is known.
pub(super) fn set_length(out: &mut Vec<u8>, at: usize, len: usize, wide: bool) {
    match (wide, u8::try_from(len)) {
        (true, _) => out[at + 1..at + 9].copy_from_slice(&(len as u64).to_le_bytes()),
        (false, Ok(len)) => out[at + 1] = len,
        (false, Err(_)) => {
            out[at] += WIDE;
            drop(out.splice(at + 1..at + 2, (len as u64).to_le_bytes()));
        }
    }
}

/// Writes a number with its own mark. `is_small`: whether it is an integer from 0 to 127.
pub(super) fn put_number(out: &mut Vec<u8>, kind: Kind, bytes: &[u8], is_small: bool) {
    if is_small {
        return out.push(bytes[0]);
    }
    let mut marked = [0; 9];
    marked[0] = marks::NUMBER + kind as u8;
    marked[1..=bytes.len()].copy_from_slice(bytes);
    out.extend_from_slice(&marked[..=bytes.len()]);
}

/// Writes a number of a block or table with its own mark.
pub(super) fn put_number_of_block(out: &mut Vec<u8>, kind: Kind, bytes: &[u8], exact: bool) {
    let is_whole = !exact && !matches!(kind, Kind::F32 | Kind::F64);
    match bytes {
        [value] if kind == Kind::Bool => out.push(marks::FALSE + value),
        [first, rest @ ..] => {
            let is_small = is_whole && *first <= marks::SMALL && rest.iter().all(|byte| *byte == 0);
            put_number(out, kind, bytes, is_small);
        }
        [] => {}
    }
}

pub(super) fn set_block_length(out: &mut Vec<u8>, at: usize, kind: Kind, count: usize, wide: bool) {
    match u8::try_from(count) {
        Ok(count) if !wide => out[at + 1] = count,
        _ => {
            let header = BlockHeader::flat(kind, count).to_bytes();
            drop(out.splice(at..at + block_header_len(wide), header));
        }
    }
}
