#[wren::main]
async fn start() -> wren::Result<()> {
    Ok(())
}

fn main() {
    wren::block_on(start()).unwrap();
}
