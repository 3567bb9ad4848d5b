#![deny(deprecated)]

#[wren::remote(timeout = 60000)]
fn train(seed: u64) -> u64 {
    seed
}

fn main() {
    let _ = train(1);
}
