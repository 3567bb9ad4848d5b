//! An example that does not mention the library, so the library's functions are not linked.

#[wren::remote]
fn look() -> u32 {
    1
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{}", look().await?);
    Ok(())
}
