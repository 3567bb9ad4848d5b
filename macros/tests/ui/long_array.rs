#[wren::remote]
fn sum(numbers: [f64; 64]) -> f64 {
    numbers.iter().sum()
}

fn main() {
    let _ = sum([0.0; 64]);
}
