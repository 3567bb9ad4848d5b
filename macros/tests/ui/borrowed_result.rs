// mistakes: 4
use std::borrow::Cow;

#[wren::remote]
fn first(words: &[String]) -> &str {
    &words[0]
}

#[wren::remote]
fn trimmed<'a>(text: &'a str) -> Cow<'a, str> {
    text.trim().into()
}

#[wren::remote]
fn constant() -> &'static str {
    "constant"
}

#[wren::remote]
fn some(x: u32) -> impl Iterator<Item = u32> {
    0..x
}

fn main() {}
