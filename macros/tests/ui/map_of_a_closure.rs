#[wren::main]
async fn main() -> wren::Result<()> {
    let squares: Vec<u64> = wren::map(|x| x * x, 0..10u64).await?;
    println!("{}", squares.len());
    Ok(())
}
