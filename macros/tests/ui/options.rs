// mistakes: 9
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

#[wren::remote(backoff = wren::Backoff::new(std::time::Duration::ZERO))]
fn backoff_for_nothing() {}

#[wren::remote(retries = 2, retry_if = str::is_empty)]
fn no_error_to_look_at() {}

#[wren::remote(at_most_once, retries = 2)]
fn once_or_more() {}

#[wren::remote(at_most_once = true)]
fn with_a_value() {}

fn main() {}
