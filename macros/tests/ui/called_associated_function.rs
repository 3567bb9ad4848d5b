struct Model;

impl Model {
    #[wren::remote]
    pub fn train(seed: u64) -> u64 {
        seed
    }
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{}", Model::train(1).await?);
    println!("{}", wren::map(Model::train, 0..10).await?.len());
    Ok(())
}
