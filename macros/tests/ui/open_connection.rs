use std::net::TcpStream;

#[wren::remote]
fn connect(address: &str) -> Result<TcpStream, std::io::Error> {
    TcpStream::connect(address)
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let stream = connect("localhost:80").await?;
    println!("{:?}", stream.peer_addr());
    Ok(())
}
