//! Logistic regression with HOGWILD!: several processes run stochastic
//! gradient descent on the same weights at once and do not wait for each
//! other. The program also runs a serial version for comparison.
//!
//!     cargo run --release -p examples --features kv \
//!         --example hogwild -- [epochs] [tasks]
//!
//! The weights are in the embedded key-value storage, or on a server:
//! `--features kv,redis` and `WREN_KV=redis://127.0.0.1/0`.

use examples::digits::{self, Digit, PIXELS};
use wren::kv::Params;

/// The learning rate.
const RATE: f32 = 0.02;

/// Makes one pass over some of the images: for each, pulls the weights, and
/// pushes a step.
// ANCHOR: pass
#[wren::remote]
fn pass(
    weights: Params<f32>,
    images: &[Digit],
    order: &[usize],
) -> wren::Result<()> {
    for &i in order {
        let (places, step) = step(&weights.pull()?, &images[i]);
        weights.push_sparse(&places, &step)?;
    }
    Ok(())
}
// ANCHOR_END: pass

/// Returns which weights to change for one image, and by how much: those of
/// pixels with ink, and the last one, which has no pixel.
fn step(weights: &[f32], image: &Digit) -> (Vec<usize>, Vec<f32>) {
    let error = probability(weights, image) - is_odd(image);
    let inked =
        image.pixels.iter().enumerate().filter(|(_, ink)| **ink > 0.0);
    inked
        .map(|(place, ink)| (place, -RATE * error * ink))
        .chain([(PIXELS, -RATE * error)])
        .unzip()
}

fn is_odd(image: &Digit) -> f32 {
    f32::from(image.label % 2)
}

/// The probability that the digit is odd.
fn probability(weights: &[f32], image: &Digit) -> f32 {
    let score: f32 = weights
        .iter()
        .zip(image.pixels.iter().chain([&1.0]))
        .map(|(w, x)| w * x)
        .sum();
    1.0 / (1.0 + (-score).exp())
}

/// The mean logistic loss.
fn loss(weights: &[f32], images: &[Digit]) -> f32 {
    let of_one = |image: &Digit| {
        let p = probability(weights, image);
        -(if is_odd(image) == 1.0 { p } else { 1.0 - p })
            .max(f32::MIN_POSITIVE)
            .ln()
    };
    images.iter().map(of_one).sum::<f32>() / images.len() as f32
}

#[wren::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let epochs: usize = args.next().map_or(Ok(10), |arg| arg.parse())?;
    let tasks: usize = args.next().map_or(Ok(4), |arg| arg.parse())?;
    let images = digits::load()?;
    let order: Vec<usize> =
        (0..images.len()).map(|i| i * 7 % images.len()).collect();
    let parts: Vec<&[usize]> =
        order.chunks(order.len().div_ceil(tasks.max(1))).collect();

    let kv = wren::kv()?;
    println!(
        "{} images, {} tasks at once, weights in {kv:?}",
        images.len(),
        parts.len()
    );
    println!("epoch   HOGWILD!   serial");
    // ANCHOR: epochs
    let name = format!("hogwild-{}", std::process::id());
    let shared = Params::create(&kv, &name, &[0.0; PIXELS + 1])?;
    let mut serial = vec![0.0; PIXELS + 1];
    for epoch in 1..=epochs {
        wren::map(|part| pass(shared.clone(), &images, part), &parts)
            .chunk(1)
            .await?;
        for &i in &order {
            let (places, step) = step(&serial, &images[i]);
            places
                .iter()
                .zip(step)
                .for_each(|(&place, step)| serial[place] += step);
        }
        println!(
            "{epoch:>5}   {:.6}   {:.6}",
            loss(&shared.pull()?, &images),
            loss(&serial, &images)
        );
    }
    // ANCHOR_END: epochs
    let weights = shared.pull()?;
    shared.delete()?;
    println!(
        "loss {:.4}, loss of the serial program {:.4}",
        loss(&weights, &images),
        loss(&serial, &images)
    );
    Ok(())
}
