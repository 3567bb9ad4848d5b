//! Names of fields and variants, which a message contains only once.
//!
//! A struct refers to the names of its fields by an index into the message's table, so a million structs of one type
//! cost two bytes each for all their names. The table comes after the value, because only at the end of a struct is it
//! known which fields were skipped. The table contains the number of sets of names, and for each set the number of
//! names and each name with its length; all these numbers are LEB128. Eight bytes with the position of the table
//! follow. A message without structs and enums has no table.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::error::{Error, Result};

/// The names of a struct's fields, in the order of its values; or the name of a variant.
pub(super) type Set = SmallVec<[&'static str; 8]>;

/// The number of guesses that are remembered, by the name of a struct or variant.
const GUESSES: usize = 16;

/// The table of a message that is being written.
#[derive(Default)]
pub(super) struct Writing {
    sets: Vec<Set>,
    index: HashMap<Set, u32>,
    guesses: [Option<(&'static str, u32)>; GUESSES],
}

impl Writing {
    /// Returns the set that the last struct or variant with that name had.
    #[inline]
    pub(super) fn guess(&self, name: &'static str) -> Option<u32> {
        self.guesses[slot(name)].filter(|(known, _)| is_same(known, name)).map(|(_, set)| set)
    }

    /// Returns the name at position `at` of a set, if the set has that many names.
    #[inline]
    pub(super) fn name(&self, set: u32, at: usize) -> Option<&'static str> {
        self.sets[set as usize].get(at).copied()
    }

    pub(super) fn set(&self, set: u32) -> &Set {
        &self.sets[set as usize]
    }

    /// Returns the index of a set, and remembers it as the guess for `name`. Adds the set if it is new.
    pub(super) fn index(&mut self, name: &'static str, set: Set) -> Result<u32> {
        let index = match self.index.get(&set) {
            Some(index) => *index,
            None => {
                let index = u32::try_from(self.sets.len())
                    .map_err(|_| Error::new("it has more than 2^32 sets of field names"))?;
                self.sets.push(set.clone());
                self.index.insert(set, index);
                index
            }
        };
        self.guesses[slot(name)] = Some((name, index));
        Ok(index)
    }

    /// Appends the table to a message that starts at `start`.
    pub(super) fn append_to(&self, out: &mut Vec<u8>, start: usize) {
        let at = (out.len() - start) as u64;
        write_leb128(self.sets.len(), out);
        for set in &self.sets {
            write_leb128(set.len(), out);
            for name in set {
                write_leb128(name.len(), out);
                out.extend_from_slice(name.as_bytes());
            }
        }
        out.extend_from_slice(&at.to_le_bytes());
    }
}

/// Whether two names are equal. Compares addresses first: names are constants of the program, and equal names at
/// different addresses are rare.
#[inline]
pub(super) fn is_same(a: &str, b: &str) -> bool {
    a.len() == b.len() && (std::ptr::eq(a.as_ptr(), b.as_ptr()) || a == b)
}

#[inline]
fn slot(name: &str) -> usize {
    let address = name.as_ptr().addr();
    (address ^ (address >> 4) ^ name.len()) % GUESSES
}

/// The table of a message that is being read.
pub(super) struct Reading<'de> {
    names: Vec<&'de str>,
    sets: Vec<ReadSet>,
    /// Where the table starts in the message.
    pub(super) at: usize,
}

#[derive(Clone, Copy)]
struct ReadSet {
    first: usize,
    len: usize,
    /// The last result of [`Reading::is_by_position`].
    cached: Option<Cached>,
}

#[derive(Clone, Copy)]
struct Cached {
    fields: *const &'static str,
    visitor: *const u8,
    by_position: bool,
}

impl<'de> Reading<'de> {
    /// Reads the table at the end of a message.
    pub(super) fn of(message: &'de [u8]) -> Result<Self> {
        Self::parse(message).ok_or_else(|| Error::new("the table of field names is damaged"))
    }

    fn parse(message: &'de [u8]) -> Option<Self> {
        let (rest, at) = message.split_last_chunk::<8>()?;
        let at = usize::try_from(u64::from_le_bytes(*at)).ok()?;
        let mut rest = rest.get(at..)?;
        let count = read_leb128(&mut rest)?;
        let mut names = Vec::new();
        let mut sets = Vec::new();
        for _ in 0..count {
            let (first, len) = (names.len(), read_leb128(&mut rest)?);
            for _ in 0..len {
                let len = read_leb128(&mut rest)?;
                let (name, after) = rest.split_at_checked(len)?;
                names.push(std::str::from_utf8(name).ok()?);
                rest = after;
            }
            sets.push(ReadSet { first, len, cached: None });
        }
        rest.is_empty().then_some(Self { names, sets, at })
    }

    /// Returns the names of a set.
    #[inline]
    pub(super) fn set(&self, index: u32) -> Result<&[&'de str]> {
        let found = self.sets.get(index as usize).and_then(|set| self.names.get(set.first..set.first + set.len));
        found.ok_or_else(|| Error::new("a value refers to field names that are not in the table of field names"))
    }

    /// Whether the values of a set can be passed to a visitor by position, without their names. This requires that the
    /// names are those that the visitor wants, in its order, and that `#[derive(Deserialize)]` generated the visitor. A
    /// visitor written by hand may be able to read only maps. Only the name of its type distinguishes the two.
    #[inline(always)]
    pub(super) fn is_by_position(
        &mut self,
        index: u32,
        fields: &'static [&'static str],
        visitor: &'static str,
    ) -> bool {
        let Some(set) = self.sets.get_mut(index as usize) else { return false };
        if fields.len() != set.len {
            return false;
        }
        match set.cached {
            Some(cached)
                if std::ptr::eq(cached.fields, fields.as_ptr()) && std::ptr::eq(cached.visitor, visitor.as_ptr()) =>
            {
                cached.by_position
            }
            _ => {
                let by_position = visitor.contains("::__Visitor")
                    && self.names.get(set.first..set.first + set.len).is_some_and(|names| names == fields);
                set.cached = Some(Cached { fields: fields.as_ptr(), visitor: visitor.as_ptr(), by_position });
                by_position
            }
        }
    }
}

fn write_leb128(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_leb128(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let digit = usize::from(byte & 0x7f);
        value |= digit.checked_shl(shift).filter(|shifted| shifted >> shift == digit)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
