mod tokio {
    pub use wren::main;
}

#[wren::main]
#[tokio::main]
async fn main() {}
