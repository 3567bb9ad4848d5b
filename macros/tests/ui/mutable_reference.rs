#[wren::remote]
fn append(list: &mut Vec<u32>) -> usize {
    list.len()
}

fn main() {}
