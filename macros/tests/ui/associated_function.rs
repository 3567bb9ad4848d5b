struct Model;

impl Model {
    #[wren::remote]
    pub fn train(x: u32) -> u32 {
        x
    }
}

fn main() {}
