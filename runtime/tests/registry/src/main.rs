//! A binary that mentions the library, so its registry contains the library's functions too.

#[wren::remote]
fn sell(item: u32) -> u32 {
    item
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{}", sell(1).await? + shelf::fetch(1).await?);
    Ok(())
}
