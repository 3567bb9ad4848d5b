//! Inputs: files and objects, split into partitions, of which each call reads its own.
//!
//! [`Input`] says what is to be read and gives [`Split`]s; a remote function takes a split and reads
//! its [`Lines`], its [`Records`], its [`Blocks`] or its bytes by a [`Reader`]. No byte is lost or
//! doubled at a border: a line, and a record, belongs to the split in which its first byte lies.

mod ahead;
mod blocks;
mod dialect;
mod find;
mod input;
mod lines;
mod packed;
mod parts;
mod pattern;
mod plan;
mod quotes;
mod reader;
mod records;
mod source;
mod split;
#[cfg(test)]
mod tests;
mod walk;

pub use blocks::Blocks;
pub use input::Input;
pub use lines::Lines;
pub(crate) use parts::{INCOMPLETE, is_part};
pub use reader::Reader;
pub use records::Records;
pub(crate) use split::Shape;
pub use split::Split;
