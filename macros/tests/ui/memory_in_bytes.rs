// A limit above that of AWS Lambda is a warning, which this turns into an error.
#![deny(deprecated)]

const MB: u64 = 1 << 20;

#[wren::remote(memory = 512 * MB)]
fn train(seed: u64) -> u64 {
    seed
}

fn main() {
    let _ = train(1);
}
