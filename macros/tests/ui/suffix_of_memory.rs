#[wren::remote(memory = 512GB)]
fn train(seed: u64) -> u64 {
    seed
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{}", train(1).await?);
    Ok(())
}
