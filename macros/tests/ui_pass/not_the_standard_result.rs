enum Result<T> {
    Fine(T),
}

#[wren::remote]
fn own(x: u32) -> Result<u32> {
    Result::Fine(x)
}

fn main() {}
