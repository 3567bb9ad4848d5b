#[derive(Debug)]
struct Outcome {
    loss: f64,
}

#[wren::remote]
fn train(seed: u64) -> Result<Outcome, std::fmt::Error> {
    Ok(Outcome { loss: seed as f64 })
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let outcome = train(1).await?;
    println!("{}", outcome.loss);
    let all = wren::map(train, 0..10).await?;
    println!("{:?}", all);
    for outcome in wren::map(train, 0..10).try_all().await? {
        println!("{}", outcome?.loss);
    }
    Ok(())
}
