//! The combining table of a map task: one value for each key.

use std::hash::BuildHasher;
use std::mem::size_of;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Keys of up to this many bytes are held in the table itself.
const SHORT: usize = 15;

/// Maps encoded keys to values. Short keys, which most are, lie beside their values and are compared
/// as two numbers: a look-up then touches one place in memory.
pub(super) struct Table<V> {
    short: HashTable<(Short, V)>,
    long: HashTable<(Long, V)>,
    /// The long keys, one behind the other.
    text: Vec<u8>,
}

/// A key of at most [`SHORT`] bytes: they, zeros, and their number in the last byte.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Short(u64, u64);

/// Where a key lies in `text`.
struct Long {
    hash: u64,
    start: usize,
    len: usize,
}

impl Short {
    #[inline]
    fn of(key: &[u8]) -> Option<Self> {
        let len = key.len();
        let tag = (len as u64) << 56;
        // Reads that overlap: a copy of `len` bytes would be a call.
        if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
            if len > SHORT {
                return None;
            }
            let above = if len == 8 { 0 } else { u64::from_le_bytes(*last) >> (8 * (16 - len)) };
            return Some(Short(u64::from_le_bytes(*first), above | tag));
        }
        if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            let [first, last] = [first, last].map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
            return Some(Short(first | last << (8 * (len - 4)), tag));
        }
        let bytes = key.iter().rev().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte));
        Some(Short(bytes, tag))
    }

    #[inline]
    fn hash(self) -> u64 {
        // The 128-bit product of two numbers, each mixed with a constant, folded to 64 bits.
        let product = u128::from(self.0 ^ 0x9e37_79b9_7f4a_7c15) * u128::from(self.1 ^ 0xd6e8_feb8_6659_fd93);
        (product >> 64) as u64 ^ product as u64
    }

    fn bytes(self) -> ([u8; 16], usize) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.1.to_le_bytes());
        let len = usize::from(std::mem::take(&mut bytes[15]));
        (bytes, len)
    }
}

impl<V> Table<V> {
    pub(super) fn new() -> Self {
        Self { short: HashTable::new(), long: HashTable::new(), text: Vec::new() }
    }

    /// Adds a value: `combine` merges it with the one that the key has.
    #[inline]
    pub(super) fn add(&mut self, key: &[u8], value: V, combine: impl FnOnce(&mut V, V)) {
        let Some(short) = Short::of(key) else { return self.add_long(key, value, combine) };
        match self.short.entry(short.hash(), |(other, _)| *other == short, |(other, _)| other.hash()) {
            Entry::Occupied(mut entry) => combine(&mut entry.get_mut().1, value),
            Entry::Vacant(entry) => {
                entry.insert((short, value));
            }
        }
    }

    fn add_long(&mut self, key: &[u8], value: V, combine: impl FnOnce(&mut V, V)) {
        let hash = FixedState::default().hash_one(key);
        let text = &self.text;
        let same = |(long, _): &(Long, V)| long.hash == hash && text[long.start..long.start + long.len] == *key;
        match self.long.entry(hash, same, |(long, _)| long.hash) {
            Entry::Occupied(mut entry) => combine(&mut entry.get_mut().1, value),
            Entry::Vacant(entry) => {
                entry.insert((Long { hash, start: text.len(), len: key.len() }, value));
                self.text.extend_from_slice(key);
            }
        }
    }

    /// Bytes that it holds, and that it would hold for a moment if it grew. What values own beyond
    /// their own size is not counted.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        // A table grows to twice its size while the old one is still there.
        let grown = |len: usize, capacity: usize| if len == capacity { 3 * capacity } else { capacity };
        grown(self.short.len(), self.short.capacity()) * size_of::<(Short, V)>()
            + grown(self.long.len(), self.long.capacity()) * size_of::<(Long, V)>()
            + self.text.capacity()
    }

    /// Gives all keys and values to `take`, and is empty then; its memory stays for the next.
    pub(super) fn drain<E>(&mut self, mut take: impl FnMut(&[u8], V) -> Result<(), E>) -> Result<(), E> {
        for (short, value) in self.short.drain() {
            let (bytes, len) = short.bytes();
            take(&bytes[..len], value)?;
        }
        for (long, value) in self.long.drain() {
            take(&self.text[long.start..long.start + long.len], value)?;
        }
        self.text.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_counts_as_a_map_does(keys: Vec<Vec<u8>>, repeated in 0usize..40) {
            let mut table = Table::new();
            let mut map = HashMap::new();
            for key in keys.iter().chain(keys.iter().take(repeated)) {
                table.add(key, 1u64, |sum, one| *sum += one);
                *map.entry(key.clone()).or_insert(0u64) += 1;
            }
            let mut counted = HashMap::new();
            table.drain(|key, count| {
                assert!(counted.insert(key.to_vec(), count).is_none(), "each key once");
                Ok::<_, ()>(())
            }).unwrap();
            prop_assert_eq!(counted, map);
        }
    }

    #[test]
    fn keys_of_every_length_are_told_apart() {
        let keys: Vec<Vec<u8>> = (0..40).flat_map(|len| [vec![0; len], (0..len as u8).collect()]).collect();
        let distinct: std::collections::HashSet<_> = keys.iter().cloned().collect();
        let mut table = Table::new();
        keys.iter().for_each(|key| table.add(key, (), |(), ()| ()));
        let mut found = Vec::new();
        let drained = table.drain(|key, ()| {
            found.push(key.to_vec());
            Ok::<_, ()>(())
        });
        drained.unwrap();
        assert_eq!(found.len(), distinct.len());
        assert_eq!(found.into_iter().collect::<std::collections::HashSet<_>>(), distinct);
    }
}
