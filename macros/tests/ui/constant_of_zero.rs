const MINUTES: u32 = 0;

#[wren::remote(timeout = MINUTES * 60)]
fn train(seed: u64) -> u64 {
    seed
}

fn main() {
    let _ = train(1);
}
