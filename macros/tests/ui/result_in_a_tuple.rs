struct Outcome {
    loss: f64,
}

#[wren::remote]
fn train(seed: u64) -> (u64, Outcome) {
    (seed, Outcome { loss: seed as f64 })
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{}", train(1).await?.1.loss);
    Ok(())
}
