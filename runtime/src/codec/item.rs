//! Reads values after their marks, up to the point where a visitor takes over, and skips values.

use super::access::Keys;
use super::error::{Error, Result};
use super::marks::{self, Kind};
use super::numbers::{BlockHeader, Dims};
use super::read::{Position, Reader};
use super::rows;

/// A value after its mark, up to the point where a visitor takes over.
pub(super) enum Item<'de> {
    Unit,
    None,
    /// `Some(())` or `Some(None)`. Without this variant, a visitor that accepts any type would see only the inner
    /// value.
    Some,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    U128(u128),
    I128(i128),
    Char(char),
    Str(&'de str),
    Bytes(&'de [u8]),
    Sequence(Sequence<'de>),
    Map(Map<'de>),
}

/// The head of a sequence.
pub(super) struct Sequence<'de> {
    pub(super) left: usize,
    /// The place of its elements, if they are separate from their marks.
    pub(super) table: Option<Position<'de>>,
    pub(super) arrays: Option<Arrays<'de>>,
}

/// The head of a map, of a struct as a map with the names of its fields, or of a variant as a map with its name.
pub(super) struct Map<'de> {
    pub(super) left: usize,
    pub(super) keys: Keys<'de>,
    /// The number of nesting levels that it counts as.
    pub(super) levels: usize,
}

impl<'de> Sequence<'de> {
    /// Returns a sequence of `left` values, each after its mark.
    pub(super) fn of_values(left: usize) -> Self {
        Self { left, table: None, arrays: None }
    }

    /// Returns bytes as a sequence of numbers.
    pub(super) fn of_bytes(data: &'de [u8]) -> Self {
        Block { kind: Kind::U8, dims: Dims::default(), data }.sequence()
    }
}

impl<'de> Item<'de> {
    fn signed(value: impl Into<i64>) -> Self {
        let value = value.into();
        u64::try_from(value).map_or(Self::Signed(value), Self::Unsigned)
    }
}

/// Numbers of one kind, as the message contains them.
pub(super) struct Block<'de> {
    kind: Kind,
    dims: Dims,
    data: &'de [u8],
}

/// The arrays of a block, the kind of their numbers, and the lengths of the arrays within them.
pub(super) struct Arrays<'de> {
    arrays: std::slice::ChunksExact<'de, u8>,
    kind: Kind,
    dims: Dims,
}

impl<'de> Block<'de> {
    /// Returns its elements, if they are arrays.
    fn arrays(&self) -> Option<Arrays<'de>> {
        let [first, second, third] = self.dims;
        if first == 0 {
            return None;
        }
        let dims = [second, third, 0];
        let len = BlockHeader { kind: self.kind, dims, count: first.into() }.data_len()?;
        Some(Arrays { arrays: self.data.chunks_exact(len), kind: self.kind, dims })
    }

    /// Returns the numbers as a sequence. They are read one by one, as the elements of a table with one column.
    fn sequence(self) -> Sequence<'de> {
        // Short arrays are read like the tuples of a table.
        if let [len, 0, 0] = self.dims
            && let Some(marks) = self.kind.marks_of_array(len)
        {
            let left = self.data.len() / (self.kind.size() * usize::from(len));
            return Sequence { left, table: Some(Position::table(marks, self.data)), arrays: None };
        }
        let arrays = self.arrays();
        let (marks, left) = match &arrays {
            Some(arrays) => (marks::ARRAY_MARKS, arrays.arrays.len()),
            None => (self.kind.marks(), self.data.len() / self.kind.size()),
        };
        Sequence { left, table: Some(Position::table(marks, self.data)), arrays }
    }
}

impl<'de> Iterator for Arrays<'de> {
    type Item = Block<'de>;

    fn next(&mut self) -> Option<Block<'de>> {
        self.arrays.next().map(|data| Block { kind: self.kind, dims: self.dims, data })
    }
}

impl<'de> Reader<'de> {
    fn char(&mut self) -> Result<char> {
        let code = u32::from_le_bytes(self.array()?);
        char::from_u32(code).ok_or_else(|| {
            Error::new(format_args!("a `char` has the value {code:#x}, which is not a Unicode scalar value"))
        })
    }

    /// Returns the number of levels that a variant counts as: none if its value counts as one.
    fn levels_of_variant(&self) -> usize {
        match self.heads().first() {
            Some(&(marks::SEQ..=marks::WIDE_STRUCT | marks::ROWS | marks::SHORT_BLOCK..=u8::MAX)) => 0,
            _ => 1,
        }
    }

    /// Returns a struct as a map.
    pub(super) fn map_of_set(&mut self, set: u32) -> Result<Map<'de>> {
        let left = self.names()?.set(set)?.len();
        Ok(Map { left, keys: Keys::Set(set, left), levels: 1 })
    }

    fn block(&mut self, mark: u8) -> Result<Block<'de>> {
        let (kind, dims, count) = match Kind::of_mark(mark, marks::SHORT_BLOCK) {
            Some(kind) => (kind, Dims::default(), self.array().map(|[count]| usize::from(count))?),
            None => {
                let header = self.block_header()?;
                (header.kind, header.dims, header.count)
            }
        };
        let size = BlockHeader { kind, dims, count }.data_len().ok_or_else(Error::cut_short)?;
        Ok(Block { kind, dims, data: self.bytes(size)? })
    }

    /// Reads the head of a table: the number of elements, the marks of one element, and the numbers of all elements.
    fn rows(&mut self) -> Result<Sequence<'de>> {
        let left = usize::try_from(u64::from_le_bytes(self.head()?)).map_err(|_| Error::cut_short())?;
        let [marks] = self.head()?;
        let marks = self.bytes(marks.into())?;
        if marks.contains(&marks::STRUCT) {
            self.read_names()?;
        }
        let len = rows::row_len(marks, |set| self.set_len(set.into()))
            .ok_or_else(|| Error::new("the shape of a sequence is damaged"))?;
        let numbers = self.bytes(left.checked_mul(len).ok_or_else(Error::cut_short)?)?;
        Ok(Sequence { left, table: Some(Position::table(marks, numbers)), arrays: None })
    }

    /// Reads the head of a sequence after its mark.
    pub(super) fn sequence_head(&mut self, mark: u8) -> Result<Sequence<'de>> {
        match mark {
            marks::SEQ | marks::WIDE_SEQ => self.count(mark, marks::SEQ).map(Sequence::of_values),
            marks::BYTES | marks::WIDE_BYTES => {
                let len = self.length(mark, marks::BYTES)?;
                self.bytes(len).map(Sequence::of_bytes)
            }
            marks::ARRAY => {
                let array = self.next_array.take().ok_or_else(|| Error::new("a value starts with an invalid byte"))?;
                Ok(array.sequence())
            }
            marks::ROWS => self.rows(),
            _ => self.block(mark).map(Block::sequence),
        }
    }

    /// Reads a value after its mark, as serde_json would present it.
    pub(super) fn item(&mut self, mark: u8) -> Result<Item<'de>> {
        if let Some(kind) = Kind::of_mark(mark, marks::NUMBER) {
            return self.number(kind);
        }
        if let Some(text) = self.string(mark)? {
            return Ok(Item::Str(text));
        }
        Ok(match mark {
            0..=marks::SMALL => Item::Unsigned(u64::from(mark)),
            marks::UNIT => Item::Unit,
            marks::NONE => Item::None,
            // A visitor that accepts any type sees `Some(x)` as `x`, as in JSON; but `Some(None)` and `Some(())` are
            // not `None`.
            marks::SOME => {
                let heads = self.heads();
                let within = heads.iter().position(|mark| *mark != marks::SOME).ok_or_else(Error::cut_short)?;
                if matches!(heads[within], marks::UNIT | marks::NONE) {
                    return Ok(Item::Some);
                }
                self.pass_heads(within + 1);
                return self.item(heads[within]);
            }
            marks::FALSE => Item::Bool(false),
            marks::TRUE => Item::Bool(true),
            marks::CHAR => Item::Char(self.char()?),
            marks::BYTES | marks::WIDE_BYTES => {
                let len = self.length(mark, marks::BYTES)?;
                Item::Bytes(self.bytes(len)?)
            }
            marks::MAP | marks::WIDE_MAP => {
                let left = self.count(mark, marks::MAP)?;
                Item::Map(Map { left, keys: Keys::Written, levels: 1 })
            }
            marks::STRUCT | marks::WIDE_STRUCT => {
                let set = self.index(mark, marks::STRUCT)?;
                Item::Map(self.map_of_set(set)?)
            }
            marks::UNIT_VARIANT | marks::WIDE_UNIT_VARIANT => Item::Str(self.variant_name(mark, marks::UNIT_VARIANT)?),
            marks::VARIANT | marks::WIDE_VARIANT => {
                let keys = Keys::One(self.variant_name(mark, marks::VARIANT)?);
                Item::Map(Map { left: 1, keys, levels: self.levels_of_variant() })
            }
            marks::U128 => Item::U128(u128::from_le_bytes(self.array()?)),
            marks::I128 => Item::I128(i128::from_le_bytes(self.array()?)),
            _ => Item::Sequence(self.sequence_head(mark)?),
        })
    }

    /// Reads a number after its mark or in a table. Integers that are not negative become unsigned, as in JSON.
    fn number(&mut self, kind: Kind) -> Result<Item<'de>> {
        Ok(match kind {
            Kind::Bool => Item::Bool(self.bool()?),
            Kind::U8 => Item::Unsigned(u8::from_le_bytes(self.array()?).into()),
            Kind::U16 => Item::Unsigned(u16::from_le_bytes(self.array()?).into()),
            Kind::U32 => Item::Unsigned(u32::from_le_bytes(self.array()?).into()),
            Kind::U64 => Item::Unsigned(u64::from_le_bytes(self.array()?)),
            Kind::I8 => Item::signed(i8::from_le_bytes(self.array()?)),
            Kind::I16 => Item::signed(i16::from_le_bytes(self.array()?)),
            Kind::I32 => Item::signed(i32::from_le_bytes(self.array()?)),
            Kind::I64 => Item::signed(i64::from_le_bytes(self.array()?)),
            Kind::F32 => Item::F32(f32::from_le_bytes(self.array()?)),
            Kind::F64 => Item::F64(f64::from_le_bytes(self.array()?)),
        })
    }

    /// Reads the next value, without any `Some` before it.
    pub(super) fn next_item(&mut self) -> Result<Item<'de>> {
        let mark = self.mark()?;
        self.item(mark)
    }

    /// Returns the index of a struct's set of names, or the mark of any other value.
    pub(super) fn struct_head(&mut self) -> Result<Result<u32, u8>> {
        match self.mark()? {
            mark @ (marks::STRUCT | marks::WIDE_STRUCT) => self.index(mark, marks::STRUCT).map(Ok),
            mark => Ok(Err(mark)),
        }
    }

    /// Reads bytes after their mark, or a block of bytes as bytes. Reads any other value as [`item`](Self::item) does.
    pub(super) fn bytes_or_item(&mut self, mark: u8) -> Result<Item<'de>> {
        if mark < marks::SHORT_BLOCK || mark == marks::ARRAY {
            return self.item(mark);
        }
        let block = self.block(mark)?;
        let is_bytes = block.kind == Kind::U8 && block.dims == Dims::default();
        Ok(if is_bytes { Item::Bytes(block.data) } else { Item::Sequence(block.sequence()) })
    }

    /// Skips a value, without recursion.
    pub(super) fn skip(&mut self) -> Result<()> {
        let mut left = 1_u64;
        while left > 0 {
            left -= 1;
            let mark = self.any_mark()?;
            let (len, within) = self.extent(mark)?;
            self.bytes(len)?;
            left = left.checked_add(within).ok_or_else(Error::cut_short)?;
        }
        Ok(())
    }

    /// Returns the length of a value after its mark, without the values inside it, and the number of values inside it.
    fn extent(&mut self, mark: u8) -> Result<(usize, u64)> {
        if let Some(kind) = Kind::of_mark(mark, marks::NUMBER) {
            return Ok((kind.size(), 0));
        }
        Ok(match mark {
            0..=marks::SMALL | marks::UNIT | marks::NONE | marks::FALSE | marks::TRUE => (0, 0),
            marks::TINY_STR..=marks::TINY_STR_END => (usize::from(mark - marks::TINY_STR), 0),
            marks::SOME => (0, 1),
            marks::CHAR => (4, 0),
            marks::STR | marks::WIDE_STR => (self.length(mark, marks::STR)?, 0),
            marks::BYTES | marks::WIDE_BYTES => (self.length(mark, marks::BYTES)?, 0),
            marks::SEQ | marks::WIDE_SEQ => (0, self.count(mark, marks::SEQ)? as u64),
            marks::MAP | marks::WIDE_MAP => (0, 2 * self.count(mark, marks::MAP)? as u64),
            marks::STRUCT | marks::WIDE_STRUCT => {
                let set = self.index(mark, marks::STRUCT)?;
                (0, self.names()?.set(set)?.len() as u64)
            }
            marks::UNIT_VARIANT | marks::WIDE_UNIT_VARIANT => {
                self.index(mark, marks::UNIT_VARIANT)?;
                (0, 0)
            }
            marks::VARIANT | marks::WIDE_VARIANT => {
                self.index(mark, marks::VARIANT)?;
                (0, 1)
            }
            marks::U128 | marks::I128 => (16, 0),
            marks::ROWS => {
                self.rows()?;
                (0, 0)
            }
            marks::ARRAY => {
                self.next_array = None;
                (0, 0)
            }
            _ => {
                self.block(mark)?;
                (0, 0)
            }
        })
    }
}
