#[derive(serde::Serialize, serde::Deserialize)]
struct Outcome;

#[wren::remote(retries = 2, retry_if = String::is_empty)]
fn train(_: u32) -> Outcome {
    Outcome
}

fn main() {}
