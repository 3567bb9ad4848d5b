use std::fmt::Display;

#[wren::remote]
fn show(x: &dyn Display, f: fn(u32) -> u32, p: *const u8) -> u32 {
    1
}

fn main() {}
