#[wren::remote(memory = 0, color = "red")]
unsafe fn all_wrong<T>(list: &mut Vec<T>, x: impl Copy) -> &str {
    ""
}

fn main() {}
