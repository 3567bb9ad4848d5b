//! A record as it lies in a block: the lengths of key and value, as LEB128 numbers, then the key, then
//! the value. A record whose key is its beginning so lies there as it is.

/// A record, borrowed from a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    /// Key and value, without a gap.
    pub(crate) bytes: &'a [u8],
    key_len: usize,
}

impl<'a> Record<'a> {
    pub(super) const EMPTY: Self = Record { bytes: &[], key_len: 0 };

    pub(crate) fn key(&self) -> &'a [u8] {
        &self.bytes[..self.key_len]
    }

    pub(crate) fn value(&self) -> &'a [u8] {
        &self.bytes[self.key_len..]
    }

    /// Reads the record at the start of `block`; gives the bytes behind it too. `None` where the
    /// block ends inside it.
    #[inline]
    pub(super) fn read(block: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (key_len, value_len, rest) = match block {
            [key, value, rest @ ..] if key | value < 0x80 => (*key as usize, *value as usize, rest),
            _ => {
                let (key_len, rest) = number(block)?;
                let (value_len, rest) = number(rest)?;
                (key_len, value_len, rest)
            }
        };
        let (bytes, rest) = rest.split_at_checked(key_len.checked_add(value_len)?)?;
        Some((Record { bytes, key_len }, rest))
    }
}

/// The beginning of a key as a number: numbers compare as keys do, where they differ. Where they are
/// equal and [`is_whole`], so are the keys.
///
/// It has the first seven bytes, and in the lowest the key's length, or 8 for all longer ones: of keys
/// that begin alike, the shorter is the lesser.
#[inline]
pub(crate) fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first) & !0xff | 8,
        None => {
            let mut first = [0; 8];
            first[..key.len()].copy_from_slice(key);
            first[7] = key.len() as u8;
            u64::from_be_bytes(first)
        }
    }
}

/// Whether a prefix tells all of its key.
#[inline]
pub(crate) fn is_whole(prefix: u64) -> bool {
    prefix as u8 != 8
}

/// Appends a record whose value is `value`, in one or two parts.
#[inline]
pub(crate) fn write(key: &[u8], value: &[u8], block: &mut Vec<u8>) {
    if (key.len() | value.len()) < 0x80 {
        block.extend_from_slice(&[key.len() as u8, value.len() as u8]);
    } else {
        write_number(key.len(), block);
        write_number(value.len(), block);
    }
    block.extend_from_slice(key);
    block.extend_from_slice(value);
}

/// Appends a record whose key is the first `key_len` bytes of it.
#[inline]
pub(super) fn write_whole(record: &[u8], key_len: usize, block: &mut Vec<u8>) {
    let value_len = record.len() - key_len;
    if (key_len | value_len) < 0x80 {
        block.extend_from_slice(&[key_len as u8, value_len as u8]);
    } else {
        write_number(key_len, block);
        write_number(value_len, block);
    }
    block.extend_from_slice(record);
}

fn write_number(mut number: usize, block: &mut Vec<u8>) {
    while number >= 0x80 {
        block.push(number as u8 | 0x80);
        number >>= 7;
    }
    block.push(number as u8);
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0usize;
    for (i, byte) in bytes.iter().enumerate().take(9) {
        number |= usize::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((number, &bytes[i + 1..]));
        }
    }
    None
}
