//! A type named `Result` that is not the standard one.
#[derive(serde::Serialize, serde::Deserialize)]
enum Result<T> {
    Fine(T),
}

#[wren::remote]
fn own(x: u32) -> Result<u32> {
    Result::Fine(x)
}

fn main() {
    let Result::Fine(one) = wren::block_on(own(1)).unwrap();
    assert_eq!(one, 1);
}
