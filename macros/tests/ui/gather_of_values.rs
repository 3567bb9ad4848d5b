#[wren::main]
async fn main() -> wren::Result<()> {
    let values = wren::gather([1, 2, 3]).await?;
    println!("{}", values.len());
    Ok(())
}
