#[wren::main]
async fn start() -> wren::Result<()> {
    Ok(())
}
