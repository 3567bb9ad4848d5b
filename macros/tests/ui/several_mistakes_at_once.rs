// mistakes: 7
#[wren::remote(memory = 0, color = "red")]
unsafe fn all_wrong<T>(_: &mut Vec<T>, _: impl Copy) -> &str {
    ""
}

fn main() {}
