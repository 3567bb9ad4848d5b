use std::sync::Mutex;

#[wren::remote]
fn count(text: &str) -> Result<Mutex<usize>, std::fmt::Error> {
    Ok(Mutex::new(text.len()))
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let counter = count("a").await?;
    println!("{}", counter.lock().unwrap());
    Ok(())
}
