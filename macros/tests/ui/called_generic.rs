use std::fmt::Display;

#[wren::remote]
fn show<T: Display>(x: T) -> String {
    x.to_string()
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{}", show(1).await?);
    Ok(())
}
