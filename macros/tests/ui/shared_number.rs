use std::sync::atomic::{AtomicU64, Ordering};

#[wren::remote]
fn count(text: &str, counter: &AtomicU64) {
    counter.fetch_add(text.len() as u64, Ordering::Relaxed);
}

fn main() {
    let _ = count("a", &AtomicU64::new(0));
}
