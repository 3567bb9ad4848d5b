#[wren::remote]
fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.sum()
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let total: u64 = sum(0..10).await?;
    println!("{total}");
    Ok(())
}
