//! The combining table of map and reduce tasks: one value for each key.

use std::hash::BuildHasher;
use std::mem::size_of;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::shuffle::prefetch;

/// Maximum length of keys that are held in the table itself, in bytes.
const SHORT: usize = 15;

/// Number of pairs that wait between the prefetch of their slot and its use.
const WAITING: usize = 8;

/// Initial number of slots of a table; a power of two.
const SLOTS: usize = 1 << 10;

/// Maps encoded keys to values.
///
/// Short keys, which are the most common, lie beside their values and are compared as two numbers, so that a lookup
/// touches one place in memory. That place is prefetched when a pair arrives and used a few pairs later, because most
/// of the cost of a lookup is the wait for memory. (Measured on the words of a text with half a million distinct words:
/// 45 to 60 ns per word in a `HashTable`, 40 in these slots, 23 with the prefetch.)
pub(super) struct Table<V> {
    /// Open addressing, linear probing.
    slots: Vec<Option<(Short, V)>>,
    used: usize,
    waiting: [Option<(Short, V)>; WAITING],
    next: usize,
    long: HashTable<(Long, V)>,
    /// The long keys, one after another.
    text: Vec<u8>,
    /// Maximum size of the table, in bytes.
    memory: usize,
    full: bool,
}

/// A key of at most [`SHORT`] bytes, padded with zeros, with its length in the last byte.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Short(u64, u64);

/// The position of a long key in `text`.
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
        // Overlapping reads, because copying `len` bytes would be a function call.
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
    /// Creates a table that is full at about `memory` bytes.
    pub(super) fn new(memory: usize) -> Self {
        Self {
            slots: empty(SLOTS),
            used: 0,
            waiting: std::array::from_fn(|_| None),
            next: 0,
            long: HashTable::new(),
            text: Vec::new(),
            memory,
            full: false,
        }
    }

    /// Adds a value; `combine` merges it with the existing value of the key. All calls must pass the same `combine`.
    #[inline]
    pub(super) fn add(&mut self, key: &[u8], value: V, combine: impl Fn(&mut V, V)) {
        let Some(short) = Short::of(key) else { return self.add_long(key, value, combine) };
        prefetch(&self.slots[short.hash() as usize & (self.slots.len() - 1)]);
        let turn = self.waiting[self.next % WAITING].replace((short, value));
        self.next += 1;
        if let Some((short, value)) = turn {
            self.put(short, value, combine);
        }
    }

    /// Puts a pair into its slot.
    #[inline]
    fn put(&mut self, short: Short, value: V, combine: impl Fn(&mut V, V)) {
        let mut at = short.hash() as usize;
        let mask = self.slots.len() - 1;
        loop {
            match &mut self.slots[at & mask] {
                Some((other, held)) if *other == short => return combine(held, value),
                Some(_) => at += 1,
                slot => {
                    *slot = Some((short, value));
                    self.used += 1;
                    if self.used == self.slots.len() / 4 * 3 {
                        self.grow();
                    }
                    return;
                }
            }
        }
    }

    /// Doubles the number of slots, or marks the table as full. The slots that are left are for the waiting pairs.
    #[cold]
    fn grow(&mut self) {
        // The old slots are kept until their pairs are moved.
        if self.bytes() + 2 * self.slots.len() * size_of::<Option<(Short, V)>>() > self.memory {
            self.full = true;
            return;
        }
        let more = empty(self.slots.len() * 2);
        let mask = more.len() - 1;
        for pair in std::mem::replace(&mut self.slots, more).into_iter().flatten() {
            let mut at = pair.0.hash() as usize;
            while self.slots[at & mask].is_some() {
                at += 1;
            }
            self.slots[at & mask] = Some(pair);
        }
    }

    /// Puts the waiting pairs into their slots.
    fn settle(&mut self, combine: impl Fn(&mut V, V)) {
        for ago in 0..WAITING {
            if let Some((short, value)) = self.waiting[(self.next + ago) % WAITING].take() {
                self.put(short, value, &combine);
            }
        }
    }

    fn add_long(&mut self, key: &[u8], value: V, combine: impl Fn(&mut V, V)) {
        let hash = FixedState::default().hash_one(key);
        let text = &self.text;
        let same = |(long, _): &(Long, V)| long.hash == hash && text[long.start..long.start + long.len] == *key;
        match self.long.entry(hash, same, |(long, _)| long.hash) {
            Entry::Occupied(mut entry) => combine(&mut entry.get_mut().1, value),
            Entry::Vacant(entry) => {
                entry.insert((Long { hash, start: text.len(), len: key.len() }, value));
                self.text.extend_from_slice(key);
                self.full |= self.bytes() > self.memory;
            }
        }
    }

    /// Whether the table must be drained before more is added.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Returns the size of the table, in bytes. Memory that values own beyond their own size is not counted.
    fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Option<(Short, V)>>()
            + self.long.capacity() * size_of::<(Long, V)>()
            + self.text.capacity()
    }

    /// Passes all keys and values to `take`, and empties the table. Its memory is kept for the next pairs.
    pub(super) fn drain<E>(
        &mut self,
        combine: impl Fn(&mut V, V),
        mut take: impl FnMut(&[u8], V) -> Result<(), E>,
    ) -> Result<(), E> {
        self.settle(combine);
        (self.used, self.full) = (0, false);
        for slot in &mut self.slots {
            if let Some((short, value)) = slot.take() {
                let (bytes, len) = short.bytes();
                take(&bytes[..len], value)?;
            }
        }
        for (long, value) in self.long.drain() {
            take(&self.text[long.start..long.start + long.len], value)?;
        }
        self.text.clear();
        Ok(())
    }
}

fn empty<V>(slots: usize) -> Vec<Option<(Short, V)>> {
    std::iter::repeat_with(|| None).take(slots).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_match_a_map(keys: Vec<u16>, long in 0usize..20, memory in prop_oneof![Just(0), Just(1 << 20)]) {
            let mut table = Table::new(memory);
            let mut map = HashMap::new();
            let mut counted = HashMap::new();
            let mut drain = |table: &mut Table<u64>| {
                let mut drained = std::collections::HashSet::new();
                table.drain(|sum, one| *sum += one, |key, count| {
                    assert!(drained.insert(key.to_vec()), "each key once");
                    *counted.entry(key.to_vec()).or_insert(0) += count;
                    Ok::<_, ()>(())
                }).unwrap();
            };
            for number in keys.iter().chain(&keys).flat_map(|key| (0..30).map(move |i| key % 700 + i)) {
                let key = [number.to_string().as_bytes(), &vec![7; if number % 3 == 0 { long } else { 0 }]].concat();
                table.add(&key, 1u64, |sum, one| *sum += one);
                *map.entry(key).or_insert(0u64) += 1;
                if table.is_full() {
                    drain(&mut table);
                }
            }
            drain(&mut table);
            prop_assert_eq!(counted, map);
        }
    }

    #[test]
    fn keys_of_all_lengths_are_distinct() {
        let keys: Vec<Vec<u8>> = (0..40).flat_map(|len| [vec![0; len], (0..len as u8).collect()]).collect();
        let distinct: std::collections::HashSet<_> = keys.iter().cloned().collect();
        let mut table = Table::new(1 << 20);
        keys.iter().for_each(|key| table.add(key, (), |(), ()| ()));
        let mut found = Vec::new();
        let drained = table.drain(
            |(), ()| (),
            |key, ()| {
                found.push(key.to_vec());
                Ok::<_, ()>(())
            },
        );
        drained.unwrap();
        assert_eq!(found.len(), distinct.len());
        assert_eq!(found.into_iter().collect::<std::collections::HashSet<_>>(), distinct);
    }
}
