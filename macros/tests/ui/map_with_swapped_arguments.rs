// mistakes: 2
#[wren::remote]
fn square(x: u64) -> u64 {
    x * x
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let squares = wren::map(0..10, square).await?;
    println!("{}", squares.len());
    Ok(())
}
