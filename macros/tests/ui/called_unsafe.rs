#[wren::remote]
unsafe fn first(list: &[u8]) -> u8 {
    unsafe { *list.get_unchecked(0) }
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{}", unsafe { first(b"abc") }.await?);
    Ok(())
}
