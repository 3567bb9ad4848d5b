#[wren::remote]
fn add(x: u64, y: u64) -> u64 {
    x + y
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let sums = wren::map(add, [(1, 2), (3, 4)]).await?;
    println!("{}", sums.len());
    Ok(())
}
