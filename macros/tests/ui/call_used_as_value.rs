#[wren::remote]
fn square(x: u64) -> u64 {
    x * x
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let nine: u64 = square(3);
    println!("{nine}");
    Ok(())
}
