#[wren::remote]
fn make(x: Vec<Self>) -> Self {
    x
}

fn main() {}
