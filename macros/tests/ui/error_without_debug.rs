enum Trouble {
    Large,
}

#[wren::remote]
fn parse(x: u32) -> Result<u32, Trouble> {
    if x > 1 { Err(Trouble::Large) } else { Ok(x) }
}

fn main() {}
