// mistakes: 3
use std::fmt::Display;

#[wren::remote]
fn show(_: &dyn Display, _: fn(u32) -> u32, _: *const u8) -> u32 {
    1
}

fn main() {}
