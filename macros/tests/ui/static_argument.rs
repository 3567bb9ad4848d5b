// mistakes: 2
#[wren::remote]
fn length(text: &'static str, _: Option<&'static [u8]>) -> usize {
    text.len()
}

fn main() {}
