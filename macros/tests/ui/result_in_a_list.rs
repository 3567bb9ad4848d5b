struct Outcome {
    loss: f64,
}

#[wren::remote]
fn train(seed: u64) -> Vec<Outcome> {
    vec![Outcome { loss: seed as f64 }]
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{}", train(1).await?[0].loss);
    Ok(())
}
