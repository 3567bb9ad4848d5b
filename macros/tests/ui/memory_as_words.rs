#[wren::remote(memory = 2 GB)]
fn train(seed: u64) -> u64 {
    seed
}

fn main() {
    let _ = train(1);
}
