// mistakes: 3
#[wren::remote]
unsafe fn raw(x: u32) -> u32 {
    x
}

#[wren::remote]
extern "C" fn foreign(x: u32) -> u32 {
    x
}

#[wren::remote]
const fn early(x: u32) -> u32 {
    x
}

fn main() {}
