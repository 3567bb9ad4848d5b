//! A job with one task that fails, for the chapter on finding out why.
//!
//!     cargo run -p examples --example scores

use std::collections::HashMap;

// ANCHOR: program
/// The score of an item.
#[wren::remote]
fn score(item: u64) -> u64 {
    println!("looking for the weight of {}", item % 20);
    // A bug on purpose: item 17 has no weight.
    let weights: HashMap<u64, u64> = (0..20)
        .filter(|item| *item != 17)
        .map(|item| (item, 10 * item))
        .collect();
    weights
        .get(&(item % 20))
        .copied()
        .unwrap_or_else(|| panic!("no weight for {item}"))
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let scores = wren::map(score, 0..20).named("scores").try_all().await?;
    println!(
        "{} of {} items have a score",
        scores.iter().flatten().count(),
        scores.len()
    );
    Ok(())
}
// ANCHOR_END: program
