fn plain(x: u32) -> u32 {
    x
}

fn main() {
    let _ = wren::map(plain, 0..3);
    let _ = wren::map(|x| x + 1, 0..3u32);
}
