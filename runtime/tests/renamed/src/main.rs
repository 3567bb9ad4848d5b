//! A program whose `main` is that of `cloud`. It has a function of the same name as its library, which is the same crate
//! by name.

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
