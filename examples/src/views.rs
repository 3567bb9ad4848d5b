//! Many views of one image: rotated, cropped, mirrored, brighter or darker.

/// An image of grey values from 0 to 1, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Grey {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Grey {
    /// Decodes a file in JPEG or PNG format.
    ///
    /// # Errors
    /// If the file has another format, or is damaged.
    pub fn decode(file: &[u8]) -> image::ImageResult<Self> {
        let image = image::load_from_memory(file)?.to_luma32f();
        Ok(Self { width: image.width() as usize, height: image.height() as usize, values: image.into_raw() })
    }

    /// Returns view number `view`, of `size` × `size` pixels, row by row. The same number always gives the same view.
    ///
    /// A view is a square of 60 to 100 percent of the image's shorter side, anywhere in the image. It is rotated by up
    /// to 10 degrees, and mirrored or not. Its contrast is 0.7 to 1.3 times that of the image, and its brightness
    /// differs by up to 0.1. Pixels beyond the border have the value of the border.
    pub fn view(&self, view: u64, size: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(view);
        let mut between = |low: f32, high: f32| low + (high - low) * random.f32();
        let side = between(0.6, 1.0) * self.width.min(self.height) as f32;
        let room = |length: usize| length as f32 - side;
        let middle_x = side / 2.0 + between(0.0, room(self.width));
        let middle_y = side / 2.0 + between(0.0, room(self.height));
        let (sin, cos) = between(-10.0, 10.0).to_radians().sin_cos();
        let mirror = if between(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 };
        let (contrast, brightness) = (between(0.7, 1.3), between(-0.1, 0.1));

        let step = side / size as f32;
        let from_middle = |i: usize| (i as f32 + 0.5 - size as f32 / 2.0) * step;
        let mut values = Vec::with_capacity(size * size);
        for row in 0..size {
            for column in 0..size {
                let (x, y) = (mirror * from_middle(column), from_middle(row));
                let value = self.at(middle_x + x * cos - y * sin, middle_y + x * sin + y * cos);
                values.push((value * contrast + brightness).clamp(0.0, 1.0));
            }
        }
        values
    }

    /// Interpolates the value at a position between pixels. The center of a pixel has coordinates that end in .5.
    fn at(&self, x: f32, y: f32) -> f32 {
        // The position is clamped to the centers of the outermost pixels, so both pixels are in the image.
        let split = |place: f32, length: usize| {
            let place = (place - 0.5).clamp(0.0, (length - 1) as f32);
            let low = place as usize;
            (low, (low + 1).min(length - 1), place - low as f32)
        };
        let (left, right, across) = split(x, self.width);
        let (top, bottom, down) = split(y, self.height);
        let row = |y: usize| {
            let [left, right] = [left, right].map(|x| self.values[y * self.width + x]);
            left + (right - left) * across
        };
        row(top) + (row(bottom) - row(top)) * down
    }
}

#[cfg(all(test, feature = "property-tests"))]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_view_of_every_size_lies_in_the_image(
            width in 1usize..40,
            height in 1usize..40,
            view: u64,
            size in 1usize..20,
        ) {
            let grey = Grey { width, height, values: vec![0.5; width * height] };
            let values = grey.view(view, size);
            prop_assert_eq!(values.len(), size * size);
            // One colour stays one colour, also at the border.
            prop_assert!(values.iter().all(|v| (v - values[0]).abs() < 1e-5));
            prop_assert_eq!(values, grey.view(view, size));
        }
    }

    #[test]
    fn values_between_pixels_are_in_between() {
        let grey = Grey { width: 2, height: 1, values: vec![0.0, 1.0] };
        assert_eq!([0.5, 1.0, 1.5, -9.0, 9.0].map(|x| grey.at(x, 0.5)), [0.0, 0.5, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn the_files_of_the_examples_decode() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data/images");
        let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let images: Vec<_> = files.map(|file| Grey::decode(&file).unwrap()).collect();
        assert_eq!(images.len(), 12);
        assert!(images.iter().all(|image| image.width.max(image.height) == 384));
        assert!(Grey::decode(b"no image").is_err());
    }
}
