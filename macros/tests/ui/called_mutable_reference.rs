#[wren::remote]
fn fill(list: &mut Vec<u64>) {
    list.push(1);
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let mut list = vec![];
    fill(&mut list).await?;
    fill::local(&mut list);
    println!("{list:?}");
    Ok(())
}
