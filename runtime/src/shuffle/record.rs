//! The format of a record in a block: the lengths of key and value as LEB128 numbers, then the key, then the value. So
//! a record that starts with its key is stored as it is.

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

    /// Reads the record at the start of `block`. Returns it with the bytes after it, or `None` if the block ends inside
    /// the record.
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

/// Returns the first bytes of a key as a number. If two numbers differ, they compare like their keys. If they are equal
/// and [`is_whole`], the keys are equal.
///
/// The number has the first seven bytes of the key, and in its lowest byte the key's length, or 8 for all longer keys:
/// of two keys that start alike, the shorter one is less.
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

/// Whether a prefix contains its whole key.
#[inline]
pub(crate) fn is_whole(prefix: u64) -> bool {
    prefix as u8 != 8
}

/// Appends a record with this key and value.
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

/// Appends a record whose key is its first `key_len` bytes.
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
