#[wren::remote(timout = 3)]
fn misspelt() {}

#[wren::remote(memory = "2 GB")]
fn text() {}

#[wren::remote(timeout = 0)]
fn never() {}

#[wren::remote(timeout = 3, timeout = 4)]
fn twice() {}

#[wren::remote(retries)]
fn bare() {}

fn main() {}
