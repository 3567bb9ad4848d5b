#[wren::remote(cores = 4)]
async fn fetch(url: &str) -> Result<String, std::io::Error> {
    let text = std::fs::read_to_string(url)?;
    Ok(text)
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let pages = wren::map(fetch, ["a", "b"]).try_all().await?;
    for page in pages {
        println!("{}", page?);
    }
    Ok(())
}
