// mistakes: 2
use std::time::Duration;

#[wren::main(threads = 4)]
async fn main(x: u32) {
    println!("{x} {:?}", Duration::ZERO);
}
