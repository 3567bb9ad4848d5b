use std::sync::RwLock;

#[wren::remote]
fn count(text: &str, counter: &RwLock<u64>) {
    *counter.write().unwrap() += text.len() as u64;
}

fn main() {
    let _ = count("a", &RwLock::new(0));
}
