use std::sync::{Arc, Mutex};

#[wren::remote]
fn count(text: &str, counter: Arc<Mutex<u64>>) {
    *counter.lock().unwrap() += text.len() as u64;
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let counter = Arc::new(Mutex::new(0));
    wren::map(|text| count(text, counter.clone()), ["a", "b"]).await?;
    Ok(())
}
