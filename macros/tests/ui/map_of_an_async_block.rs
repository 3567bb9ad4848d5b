#[wren::remote]
fn square(x: u64) -> u64 {
    x * x
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let squares = wren::map(|x| async move { square(x).await }, 0..10).try_all().await?;
    println!("{}", squares.len());
    Ok(())
}
