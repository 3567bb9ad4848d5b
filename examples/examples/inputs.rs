//! Reads a CSV file in partitions, and prints how often each digit occurs
//! in the file and how much ink it needs.
//!
//!     cargo run --release -p examples --features data \
//!         --example inputs -- examples/data/digits.csv

use examples::digits::CLASSES;

/// Counts the images and the ink of each digit in one partition. A record
/// is 64 grey values and the digit.
#[wren::remote]
fn tally(split: &wren::Split) -> wren::Result<[(u64, u64); CLASSES]> {
    let mut tally = [(0, 0); CLASSES];
    for record in split.records::<Vec<u8>>()? {
        let record = record?;
        let Some((&digit, pixels)) = record.split_last() else { continue };
        let (images, ink) = &mut tally[usize::from(digit)];
        *images += 1;
        *ink += pixels.iter().map(|&grey| u64::from(grey)).sum::<u64>();
    }
    Ok(tally)
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let pattern = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "examples/data/*.csv".to_owned());
    let splits = wren::Input::glob(pattern)?
        .headers(false)
        .split_size(32 << 10)
        .splits()
        .await?;
    let count = splits.len();

    let mut total = [(0, 0); CLASSES];
    for tally in wren::map(|split| tally(&split), splits).await? {
        for ((images, ink), (more_images, more_ink)) in
            total.iter_mut().zip(tally)
        {
            *images += more_images;
            *ink += more_ink;
        }
    }

    println!("digit images   ink");
    for (digit, (images, ink)) in total.iter().enumerate() {
        println!(
            "{digit:>5} {images:>6} {:>5.1}",
            *ink as f64 / *images as f64
        );
    }
    println!(
        "{} images in {count} partitions",
        total.iter().map(|(images, _)| images).sum::<u64>()
    );
    Ok(())
}
