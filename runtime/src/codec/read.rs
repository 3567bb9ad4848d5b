//! Reads marks, lengths and names, and keeps track of the position in the message.
//!
//! Code that does not need a visitor is here and in `item.rs`, because `visit.rs` is compiled again for each type that
//! is read.

use super::access::Keys;
use super::error::{Error, Result};
use super::item::Block;
use super::marks;
use super::names::Reading;
use super::numbers::BlockHeader;
use super::{MAX_DEPTH, TooDeep};

/// Reads one message.
pub(super) struct Reader<'de> {
    message: &'de [u8],
    /// Where values are read from: the message, or the numbers of a table.
    place: Position<'de>,
    depth: usize,
    /// The next array of a block of arrays, if the mark of the table is `ARRAY`.
    pub(super) next_array: Option<Block<'de>>,
    /// The table of names, which is read at the first struct or enum.
    names: Option<Box<Reading<'de>>>,
}

/// The bytes that are being read, and the position in them.
#[derive(Clone, Copy)]
pub(super) struct Position<'de> {
    data: &'de [u8],
    at: usize,
    /// In a table, the marks of one element; `data` then contains only the numbers. Empty outside of tables.
    marks: &'de [u8],
    marks_at: usize,
    is_table: bool,
}

impl<'de> Position<'de> {
    pub(super) fn table(marks: &'de [u8], data: &'de [u8]) -> Self {
        Self { data, at: 0, marks, marks_at: 0, is_table: true }
    }
}

impl<'de> Reader<'de> {
    #[inline]
    pub(super) fn new(message: &'de [u8]) -> Self {
        let place = Position { data: message, at: 0, marks: &[], marks_at: 0, is_table: false };
        Self { message, place, depth: 0, next_array: None, names: None }
    }

    /// Checks that the message ends here.
    #[inline]
    pub(super) fn finish(self) -> Result<()> {
        let end = self.names.map_or(self.message.len(), |names| names.at);
        if self.place.at == end { Ok(()) } else { Err(Error::new("the value does not end where it should")) }
    }

    #[inline(always)]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Position { data, at, .. } = &mut self.place;
        let bytes = data.get(*at..).and_then(|rest| rest.first_chunk()).ok_or_else(Error::cut_short)?;
        *at += N;
        Ok(*bytes)
    }

    #[inline]
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'de [u8]> {
        let Position { data, at, .. } = &mut self.place;
        let bytes = data.get(*at..).and_then(|rest| rest.get(..len)).ok_or_else(Error::cut_short)?;
        *at += len;
        Ok(bytes)
    }

    /// Returns the unread bytes of the place where marks, lengths and indices are.
    #[inline]
    pub(super) fn heads(&self) -> &'de [u8] {
        let Position { data, at, marks, marks_at, is_table } = self.place;
        let (heads, at) = if is_table { (marks, marks_at) } else { (data, at) };
        heads.get(at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn pass_heads(&mut self, len: usize) {
        if self.place.is_table {
            self.place.marks_at += len;
        } else {
            self.place.at += len;
        }
    }

    #[inline]
    pub(super) fn head<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = *self.heads().first_chunk().ok_or_else(Error::cut_short)?;
        self.pass_heads(N);
        Ok(bytes)
    }

    /// Reads the next mark.
    #[inline]
    pub(super) fn any_mark(&mut self) -> Result<u8> {
        self.head().map(|[mark]| mark)
    }

    /// Reads the next mark other than `Some`.
    #[inline]
    pub(super) fn mark(&mut self) -> Result<u8> {
        loop {
            let mark = self.any_mark()?;
            if mark != marks::SOME {
                return Ok(mark);
            }
        }
    }

    /// Takes the next mark if it is `mark`.
    #[inline]
    pub(super) fn take_mark(&mut self, mark: u8) -> bool {
        let is_next = self.heads().first() == Some(&mark);
        if is_next {
            self.pass_heads(1);
        }
        is_next
    }

    /// Takes the next mark of a table's element if it is `mark`.
    #[inline(always)]
    pub(super) fn take_apart(&mut self, mark: u8) -> bool {
        let is_next = self.place.marks.get(self.place.marks_at) == Some(&mark);
        if is_next {
            self.place.marks_at += 1;
        }
        is_next
    }

    /// Takes the head of a tuple in a table's element, if it is next, and returns the length of the tuple.
    #[inline(always)]
    pub(super) fn take_tuple_apart(&mut self) -> Option<usize> {
        let Some([marks::SEQ, len, ..]) = self.place.marks.get(self.place.marks_at..) else { return None };
        self.place.marks_at += 2;
        Some(usize::from(*len))
    }

    /// Takes the head of a struct in a table's element, if it is next, and returns the index of the struct's set of
    /// names.
    #[inline(always)]
    pub(super) fn take_struct_apart(&mut self) -> Option<u32> {
        let Some([marks::STRUCT, low, high, ..]) = self.place.marks.get(self.place.marks_at..) else { return None };
        self.place.marks_at += 3;
        Some(u16::from_le_bytes([*low, *high]).into())
    }

    /// Moves to the next element of a table.
    #[inline(always)]
    pub(super) fn next_of_table(&mut self) {
        self.place.marks_at = 0;
    }

    /// Enters a value that is `levels` deeper: 1, or 0 if the value inside it counts as a level.
    #[inline]
    pub(super) fn deeper(&mut self, levels: usize) -> Result<()> {
        if self.depth + levels > MAX_DEPTH {
            return Err(too_deep());
        }
        self.depth += levels;
        Ok(())
    }

    /// Leaves a value that was `levels` deeper. All values inside it must have been read: fails if `left` is not 0.
    #[inline]
    pub(super) fn shallower(&mut self, levels: usize, left: usize) -> Result<()> {
        self.depth -= levels;
        if left == 0 { Ok(()) } else { Err(too_many(left)) }
    }

    /// Starts to read a table, if there is one, and returns the place before it.
    #[inline]
    pub(super) fn enter(&mut self, table: Option<Position<'de>>) -> Option<Position<'de>> {
        table.map(|table| std::mem::replace(&mut self.place, table))
    }

    /// Continues at the place before a table.
    #[inline]
    pub(super) fn leave(&mut self, before: Option<Position<'de>>) {
        if let Some(before) = before {
            self.place = before;
        }
    }

    /// Reads a length after its mark.
    #[inline]
    pub(super) fn length(&mut self, mark: u8, narrow: u8) -> Result<usize> {
        if mark == narrow {
            return self.head().map(|[len]| usize::from(len));
        }
        usize::try_from(u64::from_le_bytes(self.head()?)).map_err(|_| Error::cut_short())
    }

    /// Reads the number of values that follow. Each takes at least one byte.
    #[inline]
    pub(super) fn count(&mut self, mark: u8, narrow: u8) -> Result<usize> {
        let count = self.length(mark, narrow)?;
        if count > self.heads().len() {
            return Err(Error::cut_short());
        }
        Ok(count)
    }

    /// Reads the header of a long block after its mark, which is part of the header.
    pub(super) fn block_header(&mut self) -> Result<BlockHeader> {
        let header = self.place.at.checked_sub(1).and_then(|at| self.place.data.get(at..)).and_then(BlockHeader::parse);
        self.place.at += BlockHeader::LEN - 1;
        header.ok_or_else(|| Error::new("a block of numbers is damaged"))
    }

    /// Reads a string after its mark; returns `None` for any other value.
    #[inline]
    pub(super) fn string(&mut self, mark: u8) -> Result<Option<&'de str>> {
        let len = match mark {
            marks::TINY_STR..=marks::TINY_STR_END => usize::from(mark - marks::TINY_STR),
            marks::STR | marks::WIDE_STR => self.length(mark, marks::STR)?,
            _ => return Ok(None),
        };
        std::str::from_utf8(self.bytes(len)?).map(Some).map_err(|_| Error::new("a string is not valid UTF-8"))
    }

    #[inline]
    pub(super) fn bool(&mut self) -> Result<bool> {
        let [byte] = self.array()?;
        if byte > 1 {
            return Err(not_a_bool(byte));
        }
        Ok(byte == 1)
    }

    pub(super) fn read_names(&mut self) -> Result<()> {
        if self.names.is_none() {
            self.names = Some(Box::new(Reading::of(self.message)?));
        }
        Ok(())
    }

    /// Reads an index into the table of names.
    #[inline]
    pub(super) fn index(&mut self, mark: u8, narrow: u8) -> Result<u32> {
        self.read_names()?;
        if mark == narrow {
            return self.head().map(|bytes| u32::from(u16::from_le_bytes(bytes)));
        }
        self.head().map(u32::from_le_bytes)
    }

    /// Returns the table of names, which [`index`](Self::index) has read.
    #[inline]
    pub(super) fn names(&mut self) -> Result<&mut Reading<'de>> {
        self.names.as_deref_mut().ok_or_else(|| Error::new("the table of field names is missing"))
    }

    /// Returns a name of a set of fields.
    fn field_name(&mut self, set: u32, at: usize) -> Result<&'de str> {
        self.names()?.set(set)?.get(at).copied().ok_or_else(|| Error::new("a struct has fewer names than fields"))
    }

    /// Returns the key of the next entry of a map with `left` unread entries; `None` if the key is written before its
    /// value.
    pub(super) fn next_key(&mut self, keys: Keys<'de>, left: usize) -> Result<Option<&'de str>> {
        Ok(match keys {
            Keys::Written => None,
            Keys::Set(set, len) => Some(self.field_name(set, len - left)?),
            Keys::One(name) => Some(name),
        })
    }

    /// Returns the number of names in a set, if the set exists. [`read_names`](Self::read_names) must be called first.
    pub(super) fn set_len(&self, set: u32) -> Option<usize> {
        Some(self.names.as_deref()?.set(set).ok()?.len())
    }

    pub(super) fn variant_name(&mut self, mark: u8, narrow: u8) -> Result<&'de str> {
        let index = self.index(mark, narrow)?;
        self.field_name(index, 0)
    }
}

#[cold]
fn too_many(left: usize) -> Error {
    Error::new(format_args!("a value has {left} more elements than its type accepts"))
}

#[cold]
fn not_a_bool(byte: u8) -> Error {
    Error::new(format_args!("a `bool` has the value {byte}, which is neither 0 nor 1"))
}

#[cold]
fn too_deep() -> Error {
    Error::new(TooDeep)
}
