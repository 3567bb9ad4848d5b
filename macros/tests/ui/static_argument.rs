#[wren::remote]
fn length(text: &'static str, list: Option<&'static [u8]>) -> usize {
    text.len()
}

fn main() {}
