#[wren::remote]
fn length(text: &str) -> usize {
    text.len()
}

fn main() {
    let texts: Vec<String> = vec![];
    // `texts.iter().map(String::as_str)` is what compiles.
    let _ = wren::map(length, &texts);
}
