#[wren::remote]
fn length(text: &str) -> usize {
    text.len()
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let texts: Vec<String> = vec![];
    // `texts.iter().map(String::as_str)` is what compiles.
    let lengths = wren::map(length, &texts).await?;
    println!("{}", lengths.len());
    Ok(())
}
