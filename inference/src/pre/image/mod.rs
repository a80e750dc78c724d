//! Images: decoded, fitted into the model's size, made numbers.
//!
//! What comes out is what Pillow gives with `convert("RGB")`, `ImageOps.exif_transpose` and its own resize: alpha is dropped, grey is
//! copied into three channels, of 16 bits the upper eight are kept, colour profiles are ignored, filters are widened where an image
//! shrinks. Decoders of JPEG differ by a few steps per channel among themselves; `tests/golden.rs` says how much here.

mod decode;
mod fit;
mod values;

use super::{PayloadError, Row, check_bytes, only_input, with_axis};
use crate::bundle::{Section, Surroundings, declared, fixed};
use crate::dtype::DType;
use crate::tensor::Tensor;
pub(super) use decode::Pixels;
use fit::{Filter, Fit};
use values::Values;

/// Bytes of a file, unless `bytes_max` says otherwise.
const BYTES_MAX: usize = 64 << 20;

/// Pixels of a picture, unless `pixels_max` says otherwise: a decoded one takes three bytes each.
const PIXELS_MAX: usize = 50_000_000;

/// Sides of what a model reads.
const SIDE_MAX: usize = 1 << 14;

/// How images become an input.
#[derive(Debug)]
pub(crate) struct ImagePre {
    bytes_max: usize,
    pixels_max: usize,
    orient: bool,
    fit: Fit,
    filter: Filter,
    /// Width and height. `None`: as they are.
    size: Option<(usize, usize)>,
    values: Values,
    dtype: DType,
    axis: Option<usize>,
}

impl ImagePre {
    pub(super) fn read(
        section: &Section<'_>,
        around: &Surroundings<'_>,
        axis: Option<usize>,
    ) -> Option<Self> {
        let (at, dtype) = only_input(section, around, &[DType::F32, DType::U8, DType::F16])?;
        let bytes_max = section.count("bytes_max", 1..=usize::MAX).unwrap_or(BYTES_MAX);
        let pixels_max = section.count("pixels_max", 1..=1 << 32).unwrap_or(PIXELS_MAX);
        let orient = section.flag("exif_orientation").unwrap_or(true);
        let filter = Filter::read(section);
        let values = Values::read(section, dtype);
        let (_, dims) = declared(around.network.inputs().get(at)?);
        let sizes: Option<Vec<Option<usize>>> = dims.map(|dims| {
            let own = dims.iter().enumerate().filter(|(at, _)| Some(*at) != axis);
            own.map(|(_, dim)| fixed(dim)).collect()
        });
        let sides = values.as_ref().and_then(|values| values.sides(section, sizes.as_deref()));
        // Reading goes on, so that everything that is wrong is seen.
        let (width, height) = sides.unwrap_or_default();
        let side = |key: &'static str, own: Option<usize>| {
            let asked = section.count(key, 1..=SIDE_MAX);
            if let (Some(asked), Some(own)) = (asked, own.filter(|own| Some(*own) != asked)) {
                section
                    .problem(key, format!("{asked} is not what the input takes, which is {own}"));
            }
            asked.or(own).filter(|side| (1..=SIDE_MAX).contains(side))
        };
        let (width, height) = (side("width", width), side("height", height));
        let size = width.zip(height);
        let fit = Fit::read(section, size);
        let (filter, values, fit) = (filter?, values?, fit?);
        sides?;
        if size.is_none() && !matches!(fit, Fit::Keep) {
            section.problem(
                "width",
                "the model takes images of any size; say which: width = 224 and height = 224",
            );
            return None;
        }
        Some(Self { bytes_max, pixels_max, orient, fit, filter, size, values, dtype, axis })
    }

    pub(super) fn prepare(&self, payload: &[u8]) -> Result<Row, PayloadError> {
        let pixels = self.pixels(payload)?;
        Ok(self.row(&pixels))
    }

    /// The pixels that the model would see, before they become numbers.
    pub(super) fn pixels(&self, payload: &[u8]) -> Result<Pixels, PayloadError> {
        check_bytes(payload, self.bytes_max)?;
        let decoded = decode::decode(payload, self.pixels_max, self.orient)?;
        let decoded = if self.values.is_grey() { decoded.into_grey() } else { decoded };
        let Some((width, height)) = self.size else { return Ok(decoded) };
        self.fit.apply(decoded, width, height, self.filter, self.pixels_max)
    }

    pub(super) fn sample(&self) -> Option<Row> {
        let (width, height) = self.size?;
        let channels = if self.values.is_grey() { 1 } else { 3 };
        let bytes = vec![0; width.checked_mul(height)?.checked_mul(channels)?];
        Some(self.row(&Pixels { width, height, channels, bytes }))
    }

    fn row(&self, pixels: &Pixels) -> Row {
        let shape = with_axis(&self.values.shape(pixels), self.axis);
        let input = match self.dtype {
            DType::U8 => Tensor::new(shape, self.values.bytes(pixels)),
            DType::F16 => {
                let floats = self.values.floats(pixels);
                Tensor::new(shape, floats.into_iter().map(half::f16::from_f32).collect())
            }
            _ => Tensor::new(shape, self.values.floats(pixels)),
        };
        Row { inputs: vec![input], count: 1, length: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Against the pixels that Pillow 13 gives for the same files, stretched to 224 x 224. PNG is exact, so what differs is resizing;
    /// JPEG decoders differ in how they scale colour up.
    #[test]
    fn pixels_are_those_of_the_reference() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let samples = [
            ("camera.png", 1),
            ("chelsea.png", 1),
            ("coffee.png", 1),
            ("china.jpg", 1),
            ("grace_hopper.jpg", 2),
        ];
        let mut worst = Vec::new();
        for (name, most) in samples {
            let file = std::fs::read(models.join("samples").join(name)).unwrap();
            let stem = name.split('.').next().unwrap();
            let golden = format!("efficientnet-lite0/golden/{stem}.rgb8.bin");
            let golden = std::fs::read(models.join(golden)).unwrap();
            let decoded = decode::decode(&file, PIXELS_MAX, true).unwrap();
            let pixels =
                Fit::Stretch.apply(decoded, 224, 224, Filter::Bilinear, PIXELS_MAX).unwrap();
            let spread = 3 / pixels.channels;
            let found = pixels.bytes.iter().flat_map(|byte| std::iter::repeat_n(*byte, spread));
            assert_eq!(pixels.bytes.len() * spread, golden.len());
            let largest = found.zip(&golden).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            worst.push((name, largest, most));
        }
        assert!(worst.iter().all(|(_, largest, most)| largest <= most), "{worst:?}");
    }
}
