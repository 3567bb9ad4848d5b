//! A program whose `main` is that of `cloud`.

#[cloud::main]
async fn main() -> cloud::Result<()> {
    println!("{:?}", cloud::map(renamed_fixture::double, 0..3).quiet().await?);
    Ok(())
}
