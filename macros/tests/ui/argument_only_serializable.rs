#[derive(serde::Serialize)]
struct Model {
    weights: Vec<f32>,
}

#[wren::remote]
fn score(seed: u64, model: Model) -> f32 {
    model.weights[seed as usize]
}

fn main() {}
