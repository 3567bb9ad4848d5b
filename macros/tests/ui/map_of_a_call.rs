#[wren::remote]
fn square(x: u64) -> u64 {
    x * x
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let squares = wren::map(square(1), 0..10).await?;
    println!("{}", squares.len());
    Ok(())
}
