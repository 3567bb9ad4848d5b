// mistakes: 2
#![deny(unused_must_use)]

#[wren::remote]
fn f(x: u32) -> u32 {
    x
}

fn main() {
    f(1);
    wren::map(f, 0..3);
}
