//! Large values: one that all calls share, and results that are never sent
//! to the driver.
//!
//!     cargo run --release -p examples --example large

use examples::digits::{self, Digit};
use wren::Ref;

// ANCHOR: shared
/// Recognizes digits: for each image, returns the label of the most similar
/// known image.
#[wren::remote]
fn recognize(images: &[Digit], known: &[Digit]) -> Vec<u8> {
    let nearest = |image: &Digit| {
        known.iter().min_by(|a, b| {
            distance(image, a).total_cmp(&distance(image, b))
        })
    };
    images
        .iter()
        .map(|image| nearest(image).map_or(0, |digit| digit.label))
        .collect()
}
// ANCHOR_END: shared

fn distance(a: &Digit, b: &Digit) -> f32 {
    a.pixels.iter().zip(&b.pixels).map(|(a, b)| (a - b) * (a - b)).sum()
}

// ANCHOR: results
/// A random walk: the position after each step, relative to the start.
#[wren::remote]
fn walk(seed: u64, steps: usize) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let step = |place: &mut f64, _| {
        *place += random.f64() - 0.5;
        Some(*place)
    };
    (0..steps).scan(0.0, step).collect()
}

/// The largest distance of a walk from its start.
#[wren::remote]
fn farthest(walk: &Ref<Vec<f64>>) -> wren::Result<f64> {
    Ok(walk
        .get_blocking()?
        .iter()
        .fold(0.0, |most, place| place.abs().max(most)))
}
// ANCHOR_END: results

#[wren::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let digits = digits::load()?;
    // ANCHOR: capture
    let (known, new) = digits.split_at(1_197);
    let labels =
        wren::map(|images| recognize(images, known), new.chunks(25))
            .await?
            .concat();
    // ANCHOR_END: capture
    let right = new
        .iter()
        .zip(&labels)
        .filter(|(digit, label)| digit.label == **label)
        .count();
    println!("{right} of {} digits are recognized", new.len());

    // ANCHOR: refs
    let walks =
        wren::map(|seed| walk(seed, 1_000_000), 0..8).refs().await?;
    println!(
        "{} walks of {} bytes each: {}..",
        walks.len(),
        walks[0].size(),
        &walks[0].key()[..20]
    );
    let farthest = wren::map(farthest, &walks).await?;
    println!(
        "the farthest went {:.0} steps away",
        farthest.iter().fold(0.0, |a: f64, b| a.max(*b))
    );
    // ANCHOR_END: refs

    // ANCHOR: put
    let settings = wren::put(&vec![0.5; 100_000]).await?;
    let same = wren::put(&vec![0.5; 100_000]).await?;
    println!("equal values are stored once: {}", settings == same);
    // ANCHOR_END: put
    Ok(())
}
