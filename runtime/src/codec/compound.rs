//! The serializers of values that consist of other values: sequences and tuples, maps, structs. `access.rs` is their
//! counterpart.

use serde::ser::{self, Serialize};

use super::error::{Error, Result};
use super::marks;
use super::names::{self, Set};
use super::put::{self, length_len, put_length, put_number_of_block, set_block_length, set_length};
use super::rows::{self, Part, Shape};
use super::write::{OFF, RunState, Writer};

/// A sequence or tuple that is being written.
pub(super) struct Elements<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    pub(super) at: usize,
    /// The number of elements to expect.
    pub(super) expected: usize,
    pub(super) count: usize,
    /// The tuple's length as a bit; 0 for a sequence and for a tuple of 32 or more elements.
    pub(super) mixed_bit: u32,
    pub(super) rows: Rows,
}

/// Whether the elements of a sequence have one shape.
pub(super) enum Rows {
    No,
    /// There is no element yet.
    First,
    /// All elements so far have this shape. Their numbers reach to `end`, and room follows.
    Written {
        shape: Box<Shape>,
        end: usize,
    },
}

impl Elements<'_, '_> {
    /// Writes an element as an ordinary value. Tuples use only this: they never become tables.
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.writer)?;
        self.count += 1;
        Ok(())
    }

    #[inline(always)]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        match &mut self.rows {
            Rows::No => {}
            Rows::First => return self.first_element(value),
            Rows::Written { shape, end } => {
                let out = &mut *self.writer.out;
                if out.len() - *end < rows::ROW {
                    let left = self.expected.saturating_sub(self.count);
                    put::zeros(out, left.saturating_mul(shape.len()).clamp(rows::ROW, 4 << 10));
                }
                let row = out[*end..].first_chunk_mut();
                if row.is_some_and(|row| shape.write(value, row)) {
                    *end += shape.len();
                    self.count += 1;
                    return Ok(());
                }
                self.end_rows();
            }
        }
        self.part(value)
    }

    /// Writes the first element and determines its shape.
    fn first_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.rows = Rows::No;
        (self.writer.exact, self.writer.has_sequence) = (true, false);
        let written = self.part(value);
        self.writer.exact = false;
        written?;
        if self.writer.run.state == RunState::Off && !self.writer.has_sequence {
            self.start_rows();
        }
        Ok(())
    }

    /// Turns a sequence with its first element into a table, if the element has a shape.
    fn start_rows(&mut self) {
        let out = &mut *self.writer.out;
        let first = out.get(self.at + length_len(put::is_wide(self.expected))..).unwrap_or_default();
        let Some((shape, numbers)) = Shape::of(first, self.writer.names.as_deref()) else { return };
        out.truncate(self.at);
        out.push(marks::ROWS);
        out.extend_from_slice(&[0; 8]);
        out.push(shape.marks.len() as u8);
        out.extend_from_slice(&shape.marks);
        put::reserve(out, shape.len(), self.expected);
        out.extend_from_slice(&numbers);
        self.rows = Rows::Written { shape: Box::new(shape), end: out.len() };
    }

    /// Turns the table into an ordinary sequence, because an element has another shape: each element before it gets its
    /// own marks.
    #[inline(never)]
    fn end_rows(&mut self) {
        let Rows::Written { shape, end } = std::mem::replace(&mut self.rows, Rows::No) else { return };
        let out = &mut *self.writer.out;
        out.truncate(end);
        let numbers = out.split_off(end - self.count * shape.len());
        out.truncate(self.at);
        put_length(out, marks::SEQ, 0, put::is_wide(self.expected));
        for row in numbers.chunks_exact(shape.len()) {
            shape.parts(row, |part| match part {
                Part::Number(kind, bytes) => put_number_of_block(out, kind, bytes, false),
                Part::Group(marks) => out.extend_from_slice(marks),
            });
        }
    }

    fn finish(self) -> Result<()> {
        let Self { writer, at, expected, count, mixed_bit, rows } = self;
        let wide = put::is_wide(expected);
        let run = std::mem::replace(&mut writer.run, OFF);
        writer.depth -= 1;
        if let Rows::Written { end, .. } = rows {
            writer.out.truncate(end);
            writer.out[at + 1..at + 9].copy_from_slice(&(count as u64).to_le_bytes());
            return Ok(());
        }
        match run.state {
            RunState::First => put_length(writer.out, marks::SEQ, 0, false),
            RunState::Off => {
                writer.mixed_tuples |= mixed_bit;
                set_length(writer.out, at, count, wide);
            }
            RunState::Numbers(kind) => set_block_length(writer.out, at, kind, count, wide),
        }
        Ok(())
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident by $write:ident,)*) => {$(
        impl ser::$trait for Elements<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.$write(value)
            }

            #[inline]
            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element by element,
    SerializeTuple serialize_element by part,
    SerializeTupleStruct serialize_field by part,
    SerializeTupleVariant serialize_field by part,
}

/// A map that is being written.
pub(super) struct Entries<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    pub(super) at: usize,
    pub(super) wide: bool,
    pub(super) count: usize,
}

impl ser::SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.count += 1;
        key.serialize(&mut *self.writer)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<()> {
        self.writer.depth -= 1;
        set_length(self.writer.out, self.at, self.count, self.wide);
        Ok(())
    }
}

/// A struct that is being written.
pub(super) struct Fields<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    pub(super) name: &'static str,
    pub(super) at: usize,
    /// The set of names that the struct probably has.
    pub(super) guess: Option<u32>,
    /// The number of its names so far that match the guess.
    pub(super) matched: usize,
    /// Its names so far, if they do not match the guess.
    pub(super) own: Set,
}

impl Fields<'_, '_> {
    fn name(&mut self, key: &'static str) {
        match self.guess.zip(self.writer.names.as_deref()) {
            Some((guess, names)) if names.name(guess, self.matched).is_some_and(|name| names::is_same(name, key)) => {
                self.matched += 1;
            }
            _ => self.name_own(key),
        }
    }

    #[inline(never)]
    fn name_own(&mut self, key: &'static str) {
        self.give_up_guess();
        self.own.push(key);
    }

    fn give_up_guess(&mut self) {
        if let Some((guess, names)) = self.guess.take().zip(self.writer.names.as_deref()) {
            self.own.extend_from_slice(&names.set(guess)[..self.matched]);
        }
    }

    fn finish(mut self) -> Result<()> {
        self.writer.depth -= 1;
        let is_guessed = |set: u32| self.writer.names.as_deref().is_some_and(|n| n.name(set, self.matched).is_none());
        let index = match self.guess.filter(|set| is_guessed(*set)) {
            Some(guess) => guess,
            None => {
                self.give_up_guess();
                self.writer.names.get_or_insert_default().index(self.name, self.own)?
            }
        };
        put::set_index(self.writer.out, self.at, index);
        Ok(())
    }
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Fields<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
                self.name(key);
                value.serialize(&mut *self.writer)
            }

            #[inline]
            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }
