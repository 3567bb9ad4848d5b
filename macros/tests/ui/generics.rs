// mistakes: 3
#[wren::remote]
fn typed<T: Clone>(_: T) -> u32 {
    1
}

#[wren::remote]
fn sized<const N: usize>(_: [u8; N]) -> u32 {
    1
}

#[wren::remote]
fn hidden(_: impl Fn() -> u32) -> u32 {
    1
}

fn main() {}
