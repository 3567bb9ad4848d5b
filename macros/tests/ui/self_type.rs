// mistakes: 2
#[wren::remote]
fn make(x: Vec<Self>) -> Self {
    x
}

fn main() {}
