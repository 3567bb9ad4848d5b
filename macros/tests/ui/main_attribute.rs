#[wren::main]
async fn start(x: u32) {}

#[wren::main(threads = 4)]
async fn main() {}
