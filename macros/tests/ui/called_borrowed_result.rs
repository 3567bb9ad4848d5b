#[wren::remote]
fn longest(words: &[String], other: &str) -> &str {
    words.iter().map(String::as_str).max_by_key(|word| word.len()).unwrap_or(other)
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let words = vec!["a".to_owned()];
    println!("{}", longest(&words, "").await?.len());
    Ok(())
}
