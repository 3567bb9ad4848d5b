struct Model {
    offset: u64,
}

impl Model {
    #[wren::remote]
    fn run(&self, x: u64) -> u64 {
        self.offset + x
    }
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let model = Model { offset: 1 };
    println!("{}", model.run(1).await?);
    let all = wren::map(|x| model.run(x), 0..10).await?;
    println!("{}", all.len());
    Ok(())
}
