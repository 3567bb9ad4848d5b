//! Lints that teams deny or forbid, no prelude, and modules with the names of crates.
#![no_implicit_prelude]
#![forbid(unused, nonstandard_style, missing_docs, unreachable_code, unsafe_code)]
#![deny(warnings, missing_debug_implementations, unnameable_types, single_use_lifetimes, unused_qualifications)]

use ::std::result::Result;
use ::std::string::String;
use ::std::vec::Vec;

/// Shadows the crate.
pub mod std {}
/// Shadows the crate.
pub mod core {}
/// Shadows the crate.
pub mod wren {}
/// Shadows the crate.
pub mod serde {}
/// Shadows the crate.
pub mod linkme {}

/// A function with all options.
#[::wren::remote(memory = 100, timeout = 5, retries = 1)]
pub fn everything(text: &str, bytes: Vec<u8>, list: &[f64], _unused: u64) -> Result<usize, String> {
    ::std::result::Result::Ok(text.len() + bytes.len() + list.len())
}

#[::wren::remote]
async fn later(mut x: u8) -> Vec<u8> {
    x += 1;
    ::std::vec![x]
}

#[::wren::remote]
fn nothing() {}

#[::wren::main]
async fn main() -> ::wren::Result<()> {
    ::std::mem::drop((everything("", ::std::vec![], &[], 1), later(1), nothing()));
    ::std::result::Result::Ok(())
}
