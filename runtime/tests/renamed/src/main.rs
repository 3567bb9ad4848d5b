//! A program with `cloud::main`. It has a function of the same name as one in its library, and the library's crate has
//! the same name as the program's.

#[cloud::remote]
fn double(x: u64) -> u64 {
    2 * x + 1_000
}

#[cloud::main]
async fn main() -> cloud::Result<()> {
    println!("{:?}", cloud::map(renamed_fixture::double, 0..3).quiet().await?);
    println!("{:?}", cloud::map(double, 0..3).quiet().await?);
    Ok(())
}
