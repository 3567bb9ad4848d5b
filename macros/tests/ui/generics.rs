#[wren::remote]
fn typed<T: Clone>(x: T) -> u32 {
    1
}

#[wren::remote]
fn sized<const N: usize>(x: [u8; 3]) -> u32 {
    1
}

#[wren::remote]
fn hidden(x: impl Fn() -> u32) -> u32 {
    1
}

fn main() {}
