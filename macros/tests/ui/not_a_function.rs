// mistakes: 2
#[wren::remote]
struct Model {
    weights: Vec<f32>,
}

trait Score {
    #[wren::remote]
    fn score(x: u32) -> u32;
}

fn main() {}
