//! wren that is re-exported under another path.
mod deep {
    pub mod down {
        pub use wren as sdk;
    }
}

#[deep::down::sdk::remote(crate = crate::deep::down::sdk)]
fn f(x: u32) -> Result<u32, String> {
    Ok(x)
}

#[deep::down::sdk::main(crate = crate::deep::down::sdk)]
async fn main() {
    assert_eq!(f(1).await.unwrap(), 1);
}
