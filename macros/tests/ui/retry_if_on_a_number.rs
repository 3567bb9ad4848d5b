#[wren::remote(retries = 2, retry_if = str::is_empty)]
fn square(x: u64) -> u64 {
    x * x
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{}", square(3).await?);
    Ok(())
}
