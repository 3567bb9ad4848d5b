//! The UCI handwritten digits: 1,797 grey images of 8 × 8 pixels. `data/README.md` has the source and the
//! licence.

use std::error::Error;

use serde::{Deserialize, Serialize};

/// Number of pixels of an image.
pub const PIXELS: usize = 64;

/// Number of classes: the digits 0 to 9.
pub const CLASSES: usize = 10;

/// One image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Digit {
    /// `PIXELS` values from 0 (white) to 1 (black), row by row.
    pub pixels: Vec<f32>,
    /// The digit that was written.
    pub label: u8,
}

const CSV: &str = include_str!("../data/digits.csv");

/// Returns all images in the order of the data: the later ones were written by other people than the earlier ones.
///
/// # Errors
/// If the file is damaged.
pub fn load() -> Result<Vec<Digit>, Box<dyn Error>> {
    CSV.lines().map(parse).collect()
}

fn parse(line: &str) -> Result<Digit, Box<dyn Error>> {
    let mut values = line.split(',').map(|v| v.trim().parse::<u8>()).collect::<Result<Vec<_>, _>>()?;
    let label = values.pop().ok_or("an empty line")?;
    if values.len() != PIXELS {
        return Err(format!("{} pixels instead of {PIXELS}", values.len()).into());
    }
    Ok(Digit { pixels: values.iter().map(|&v| f32::from(v) / 16.0).collect(), label })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_images_are_there() {
        let digits = load().unwrap();
        assert_eq!(digits.len(), 1_797);
        assert!(digits.iter().all(|d| d.label < 10 && d.pixels.iter().all(|p| (0.0..=1.0).contains(p))));
    }
}
