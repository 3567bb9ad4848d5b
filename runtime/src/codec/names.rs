//! Names of fields and variants, which a message has once.
//!
//! A struct names its fields by an index into the message's table, and so a million structs of one type cost two bytes
//! each for all their names. The table stands behind the value, for only when a struct ends is it known which fields
//! were not skipped: how many sets of names, and for each how many names, and each name with its length, all as LEB128;
//! then, in eight bytes, where the table begins. A message without structs and enums has no table.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::error::{Error, Result};

/// Field names of a struct, in the order of its values; of a variant, its own name.
pub(super) type Set = SmallVec<[&'static str; 8]>;

/// How many guesses are remembered, by a struct's or a variant's name.
const GUESSES: usize = 16;

/// The table of a message that is being written.
#[derive(Default)]
pub(super) struct Writing {
    sets: Vec<Set>,
    index: HashMap<Set, u32>,
    guesses: [Option<(&'static str, u32)>; GUESSES],
}

impl Writing {
    /// The set that a struct or variant of that name had the last time.
    #[inline]
    pub(super) fn guess(&self, name: &'static str) -> Option<u32> {
        self.guesses[slot(name)].filter(|(known, _)| is_same(known, name)).map(|(_, set)| set)
    }

    /// A set's name, of those there are.
    #[inline]
    pub(super) fn name(&self, set: u32, at: usize) -> Option<&'static str> {
        self.sets[set as usize].get(at).copied()
    }

    pub(super) fn set(&self, set: u32) -> &Set {
        &self.sets[set as usize]
    }

    /// The set's index, for a struct or variant of that name.
    pub(super) fn index(&mut self, name: &'static str, set: Set) -> Result<u32> {
        let index = match self.index.get(&set) {
            Some(index) => *index,
            None => {
                let index =
                    u32::try_from(self.sets.len()).map_err(|_| Error::new("it has over 2^32 sets of fields"))?;
                self.sets.push(set.clone());
                self.index.insert(set, index);
                index
            }
        };
        self.guesses[slot(name)] = Some((name, index));
        Ok(index)
    }

    /// Appends the table to a message that begins at `start`.
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

/// Names are constants of the program: one that lies elsewhere may be equal, but is seldom met.
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
    /// Where the table begins.
    pub(super) at: usize,
}

#[derive(Clone, Copy)]
struct ReadSet {
    first: usize,
    len: usize,
    /// What was found when it was last asked whether values may be given by position.
    asked: Option<Asked>,
}

#[derive(Clone, Copy)]
struct Asked {
    fields: *const &'static str,
    visitor: *const u8,
    by_position: bool,
}

impl<'de> Reading<'de> {
    /// Reads the table at the end of a message.
    pub(super) fn of(message: &'de [u8]) -> Result<Self> {
        Self::parse(message).ok_or_else(|| Error::new("its table of field names is damaged"))
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
            sets.push(ReadSet { first, len, asked: None });
        }
        rest.is_empty().then_some(Self { names, sets, at })
    }

    /// The names of a set.
    #[inline]
    pub(super) fn set(&self, index: u32) -> Result<&[&'de str]> {
        let found = self.sets.get(index as usize).and_then(|set| self.names.get(set.first..set.first + set.len));
        found.ok_or_else(|| Error::new("it names fields that its table does not have"))
    }

    /// Whether a set's values may be given to a visitor one after the other, without their names: the names are those
    /// that it wants, in its order, and it was made by `#[derive(Deserialize)]`. A visitor written by hand may know how
    /// to read a map only, and nothing but its type's name tells the two apart.
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
        match set.asked {
            Some(asked)
                if std::ptr::eq(asked.fields, fields.as_ptr()) && std::ptr::eq(asked.visitor, visitor.as_ptr()) =>
            {
                asked.by_position
            }
            _ => {
                let by_position = visitor.contains("::__Visitor")
                    && self.names.get(set.first..set.first + set.len).is_some_and(|names| names == fields);
                set.asked = Some(Asked { fields: fields.as_ptr(), visitor: visitor.as_ptr(), by_position });
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
