//! Reads marks, lengths and names, and knows where in the message it is.
//!
//! What is not asked of a visitor is done here and in `item.rs`, since `visit.rs` is compiled for each type that is read.

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
    /// Where values are read: in the message, or in the numbers of a table.
    place: Place<'de>,
    depth: usize,
    /// The array of a block of arrays that is to be read next, where the mark that stands apart is `ARRAY`.
    pub(super) next_array: Option<Block<'de>>,
    /// Read when the first struct or enum is met.
    names: Option<Box<Reading<'de>>>,
}

/// What is read, and how far.
#[derive(Clone, Copy)]
pub(super) struct Place<'de> {
    data: &'de [u8],
    at: usize,
    /// The marks of what is being read, where they stand apart: of one element of a table. `data` then has the numbers
    /// alone.
    marks: &'de [u8],
    marks_at: usize,
    is_table: bool,
}

impl<'de> Place<'de> {
    pub(super) fn table(marks: &'de [u8], data: &'de [u8]) -> Self {
        Self { data, at: 0, marks, marks_at: 0, is_table: true }
    }
}

impl<'de> Reader<'de> {
    #[inline]
    pub(super) fn new(message: &'de [u8]) -> Self {
        let place = Place { data: message, at: 0, marks: &[], marks_at: 0, is_table: false };
        Self { message, place, depth: 0, next_array: None, names: None }
    }

    /// Checks that the message ends here.
    #[inline]
    pub(super) fn finish(self) -> Result<()> {
        let end = self.names.map_or(self.message.len(), |names| names.at);
        if self.place.at == end { Ok(()) } else { Err(Error::new("its end is not where it should be")) }
    }

    #[inline(always)]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Place { data, at, .. } = &mut self.place;
        let bytes = data.get(*at..).and_then(|rest| rest.first_chunk()).ok_or_else(Error::cut_short)?;
        *at += N;
        Ok(*bytes)
    }

    #[inline]
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'de [u8]> {
        let Place { data, at, .. } = &mut self.place;
        let bytes = data.get(*at..).and_then(|rest| rest.get(..len)).ok_or_else(Error::cut_short)?;
        *at += len;
        Ok(bytes)
    }

    /// What is left where marks, lengths and indices are read.
    #[inline]
    pub(super) fn heads(&self) -> &'de [u8] {
        let Place { data, at, marks, marks_at, is_table } = self.place;
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

    /// The next mark.
    #[inline]
    pub(super) fn any_mark(&mut self) -> Result<u8> {
        self.head().map(|[mark]| mark)
    }

    /// The next mark but `Some`.
    #[inline]
    pub(super) fn mark(&mut self) -> Result<u8> {
        loop {
            let mark = self.any_mark()?;
            if mark != marks::SOME {
                return Ok(mark);
            }
        }
    }

    /// Takes the next mark, if it is this one.
    #[inline]
    pub(super) fn take_mark(&mut self, mark: u8) -> bool {
        let is_next = self.heads().first() == Some(&mark);
        if is_next {
            self.pass_heads(1);
        }
        is_next
    }

    /// Takes the next of the marks that stand apart, if it is this one.
    #[inline(always)]
    pub(super) fn take_apart(&mut self, mark: u8) -> bool {
        let is_next = self.place.marks.get(self.place.marks_at) == Some(&mark);
        if is_next {
            self.place.marks_at += 1;
        }
        is_next
    }

    /// Takes the head of a tuple whose marks stand apart, if that is next, and gives its length.
    #[inline(always)]
    pub(super) fn take_tuple_apart(&mut self) -> Option<usize> {
        let Some([marks::SEQ, len, ..]) = self.place.marks.get(self.place.marks_at..) else { return None };
        self.place.marks_at += 2;
        Some(usize::from(*len))
    }

    /// Takes the mark of a struct whose marks stand apart, if that is next, and gives its set of names.
    #[inline(always)]
    pub(super) fn take_struct_apart(&mut self) -> Option<u32> {
        let Some([marks::STRUCT, low, high, ..]) = self.place.marks.get(self.place.marks_at..) else { return None };
        self.place.marks_at += 3;
        Some(u16::from_le_bytes([*low, *high]).into())
    }

    /// Goes to the next element of a table.
    #[inline(always)]
    pub(super) fn next_of_table(&mut self) {
        self.place.marks_at = 0;
    }

    /// Begins to read what is so many levels deeper: one, or none where its value counts itself.
    #[inline]
    pub(super) fn deeper(&mut self, levels: usize) -> Result<()> {
        if self.depth + levels > MAX_DEPTH {
            return Err(too_deep());
        }
        self.depth += levels;
        Ok(())
    }

    /// Ends what was so many levels deeper, of which so many values were not read: they all have to be.
    #[inline]
    pub(super) fn shallower(&mut self, levels: usize, left: usize) -> Result<()> {
        self.depth -= levels;
        if left == 0 { Ok(()) } else { Err(too_many(left)) }
    }

    /// Begins to read a table, if that is one; gives what was read before.
    #[inline]
    pub(super) fn enter(&mut self, table: Option<Place<'de>>) -> Option<Place<'de>> {
        table.map(|table| std::mem::replace(&mut self.place, table))
    }

    /// Goes on with what was read before a table.
    #[inline]
    pub(super) fn leave(&mut self, before: Option<Place<'de>>) {
        if let Some(before) = before {
            self.place = before;
        }
    }

    /// A length behind its mark.
    #[inline]
    pub(super) fn length(&mut self, mark: u8, narrow: u8) -> Result<usize> {
        if mark == narrow {
            return self.head().map(|[len]| usize::from(len));
        }
        usize::try_from(u64::from_le_bytes(self.head()?)).map_err(|_| Error::cut_short())
    }

    /// How many values follow. Each takes a byte at least.
    #[inline]
    pub(super) fn count(&mut self, mark: u8, narrow: u8) -> Result<usize> {
        let count = self.length(mark, narrow)?;
        if count > self.heads().len() {
            return Err(Error::cut_short());
        }
        Ok(count)
    }

    /// The header of a long block behind its mark, which is a part of it.
    pub(super) fn block_header(&mut self) -> Result<BlockHeader> {
        let header = self.place.at.checked_sub(1).and_then(|at| self.place.data.get(at..)).and_then(BlockHeader::parse);
        self.place.at += BlockHeader::LEN - 1;
        header.ok_or_else(|| Error::new("a block of numbers in it is damaged"))
    }

    /// A string behind its mark; `None` of another value.
    #[inline]
    pub(super) fn string(&mut self, mark: u8) -> Result<Option<&'de str>> {
        let len = match mark {
            marks::TINY_STR..=marks::TINY_STR_END => usize::from(mark - marks::TINY_STR),
            marks::STR | marks::WIDE_STR => self.length(mark, marks::STR)?,
            _ => return Ok(None),
        };
        std::str::from_utf8(self.bytes(len)?).map(Some).map_err(|_| Error::new("a string in it is no UTF-8"))
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

    /// An index into the table of names.
    #[inline]
    pub(super) fn index(&mut self, mark: u8, narrow: u8) -> Result<u32> {
        self.read_names()?;
        if mark == narrow {
            return self.head().map(|bytes| u32::from(u16::from_le_bytes(bytes)));
        }
        self.head().map(u32::from_le_bytes)
    }

    /// The table of names, which [`index`](Self::index) has read.
    #[inline]
    pub(super) fn names(&mut self) -> Result<&mut Reading<'de>> {
        self.names.as_deref_mut().ok_or_else(|| Error::new("it has no table of field names"))
    }

    /// A name of a set of fields.
    fn field_name(&mut self, set: u32, at: usize) -> Result<&'de str> {
        self.names()?.set(set)?.get(at).copied().ok_or_else(|| Error::new("it has fewer names than fields"))
    }

    /// The key of the next entry of a map, of which so many are left; `None` where it stands before its value.
    pub(super) fn next_key(&mut self, keys: Keys<'de>, left: usize) -> Result<Option<&'de str>> {
        Ok(match keys {
            Keys::Written => None,
            Keys::Set(set, len) => Some(self.field_name(set, len - left)?),
            Keys::One(name) => Some(name),
        })
    }

    /// How many names a set has, if there is one; [`read_names`](Self::read_names) has read them.
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
    Error::new(format_args!("it has {left} elements more than its type takes"))
}

#[cold]
fn not_a_bool(byte: u8) -> Error {
    Error::new(format_args!("a `bool` in it is {byte}"))
}

#[cold]
fn too_deep() -> Error {
    Error::new(TooDeep)
}
