//! The `cargo wren` command.
fn main() {}
