//! Inputs: files and objects, split into partitions. Each call reads its own partition.
//!
//! [`Input`] describes the files to read and returns [`Split`]s. A remote function takes a split and reads its
//! [`Lines`], its [`Records`], its [`Blocks`], or its bytes through a [`Reader`]. No byte is lost or duplicated at a
//! boundary: a line or record belongs to the split that contains its first byte.

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
