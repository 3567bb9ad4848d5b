fn main() {
    #[wren::remote]
    let double = |x: u32| 2 * x;
    let triple = #[wren::remote] |x: u32| 3 * x;
}
