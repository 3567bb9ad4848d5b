//! Finds good settings for a classifier of handwritten digits: 2,700
//! trainings, each of which is an ordinary function call, mapped over the
//! machine's processors.
//!
//!     cargo run --release -p examples --example sweep

use examples::digits::{self, CLASSES, Digit, PIXELS};
use serde::{Deserialize, Serialize};

/// The settings of one training.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Setting {
    learning_rate: f32,
    /// Weight decay.
    decay: f32,
    epochs: u32,
    /// Determines the order of the images.
    seed: u64,
}

/// Trains a softmax classifier by stochastic gradient descent, and returns
/// its accuracy on images that were not used for training. This is ordinary
/// code: only the attribute is specific to wren.
// ANCHOR: annotation
#[wren::remote(memory = 512, timeout = 60)]
fn train(setting: &Setting, training: &[Digit], held_out: &[Digit]) -> f32 {
    // ANCHOR_END: annotation
    let mut weights = vec![[0.0f32; PIXELS + 1]; CLASSES];
    let mut order: Vec<usize> = (0..training.len()).collect();
    let mut random = setting.seed;
    for _ in 0..setting.epochs {
        shuffle(&mut order, &mut random);
        for &i in &order {
            let digit = &training[i];
            let probabilities = softmax(&weights, &digit.pixels);
            for (class, weights) in weights.iter_mut().enumerate() {
                let error = probabilities[class]
                    - f32::from(u8::from(
                        class == usize::from(digit.label),
                    ));
                let step = setting.learning_rate * error;
                for (weight, pixel) in weights
                    .iter_mut()
                    .zip(digit.pixels.iter().chain([&1.0]))
                {
                    *weight -= step * pixel
                        + setting.learning_rate * setting.decay * *weight;
                }
            }
        }
    }
    let right = held_out
        .iter()
        .filter(|d| {
            best(&softmax(&weights, &d.pixels)) == usize::from(d.label)
        })
        .count();
    right as f32 / held_out.len() as f32
}

fn softmax(
    weights: &[[f32; PIXELS + 1]],
    pixels: &[f32],
) -> [f32; CLASSES] {
    let mut scores = [0.0; CLASSES];
    for (score, weights) in scores.iter_mut().zip(weights) {
        *score = weights
            .iter()
            .zip(pixels.iter().chain([&1.0]))
            .map(|(w, x)| w * x)
            .sum();
    }
    let largest = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.iter_mut().for_each(|s| *s = (*s - largest).exp());
    let sum: f32 = scores.iter().sum();
    scores.map(|s| s / sum)
}

fn best(probabilities: &[f32]) -> usize {
    (0..probabilities.len())
        .max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
        .unwrap_or(0)
}

fn shuffle(order: &mut [usize], random: &mut u64) {
    for i in (1..order.len()).rev() {
        *random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        order.swap(i, (*random >> 33) as usize % (i + 1));
    }
}

fn settings() -> Vec<Setting> {
    let mut settings = Vec::new();
    for learning_rate in
        [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
    {
        for decay in [0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2] {
            for epochs in [1, 2, 4, 8, 12] {
                for seed in 0..10 {
                    settings.push(Setting {
                        learning_rate,
                        decay,
                        epochs,
                        seed,
                    });
                }
            }
        }
    }
    settings
}

#[wren::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let digits = digits::load()?;
    // Three parts: for training, for validation (the choice of a setting),
    // and for the final accuracy.
    let (training, rest) = digits.split_at(1_197);
    let (choosing, held_out) = rest.split_at(300);
    let settings = settings();
    println!(
        "trying {} settings on {} images",
        settings.len(),
        digits.len()
    );

    // Every call captures `training` and `choosing`; wren sends them to
    // each worker once.
    // ANCHOR: map
    let accuracies =
        wren::map(|setting| train(setting, training, choosing), &settings)
            .await?;
    // ANCHOR_END: map

    let (setting, accuracy) = settings
        .iter()
        .zip(&accuracies)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .ok_or("there is no setting to try")?;
    println!(
        "best validation accuracy, {:.1}%: {setting:?}",
        100.0 * accuracy
    );
    let accuracy = train(setting, training, held_out).await?;
    println!("held-out accuracy: {:.1}%", 100.0 * accuracy);
    Ok(())
}
