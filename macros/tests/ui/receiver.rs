struct Model;

impl Model {
    #[wren::remote]
    fn run(&self, x: u32) -> u32 {
        x
    }
}

fn main() {}
