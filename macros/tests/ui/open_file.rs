use std::fs::File;
use std::io::Read;

#[wren::remote]
fn length(mut file: File) -> Result<usize, std::io::Error> {
    file.read_to_string(&mut String::new())
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{}", length(File::open("a").unwrap()).await?);
    Ok(())
}
