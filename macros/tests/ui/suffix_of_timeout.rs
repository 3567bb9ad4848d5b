#[wren::remote(timeout = 5m)]
fn train(seed: u64) -> u64 {
    seed
}

fn main() {
    let _ = wren::map(train, 0..10);
}
