//! An attribute that creates a runtime, on either side of `#[wren::main]`.

/// Stands in for `#[tokio::main]`, which makes an ordinary function of an async one in the same way.
mod tokio {
    pub use wren::main;
}

#[wren::remote]
fn square(x: u64) -> u64 {
    x * x
}

#[wren::main]
#[tokio::main]
#[allow(unused_variables)]
async fn main() -> wren::Result<()> {
    let unused = 1;
    assert_eq!(square(3).await?, 9);
    Ok(())
}
