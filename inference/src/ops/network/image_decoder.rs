//! ImageDecoder: <https://onnx.ai/onnx/operators/onnx__ImageDecoder.html>
//!
//! BMP, GIF, JPEG, PNG, PNM, TIFF and WebP; JPEG 2000 is refused. What cannot be decoded becomes an image without pixels, as the
//! specification has it. An image larger than a run may make is an error, before its pixels are decoded.

use std::io::Cursor;

use image::{ImageFormat, ImageReader};

use crate::error::OpError;
use crate::jpeg;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum ImageDecoder {
    Rgb,
    Bgr,
    Grayscale,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(match spec.text("pixel_format", "RGB")? {
        "RGB" => ImageDecoder::Rgb,
        "BGR" => ImageDecoder::Bgr,
        "Grayscale" => ImageDecoder::Grayscale,
        other => return Err(BuildError::invalid(format!("pixel_format is {other:?}"))),
    }))
}

/// How JPEG 2000 files begin: boxed, or a bare code stream.
const JPEG_2000: [&[u8]; 2] = [b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"];

impl Operator for ImageDecoder {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let encoded = inputs.tensor(0)?.as_slice::<u8>()?;
        if JPEG_2000.iter().any(|magic| encoded.starts_with(magic)) {
            return Err(OpError::unsupported("images in JPEG 2000"));
        }
        let channels = match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Grayscale => 1,
        };
        let none = Ok(vec![Tensor::new::<u8>([0, 0, channels], Vec::new()).into()]);
        let reader = || ImageReader::new(Cursor::new(encoded)).with_guessed_format();
        let Ok(sized) = reader() else { return none };
        let format = sized.format();
        if format == Some(ImageFormat::Jpeg) && !jpeg::is_whole(encoded) {
            return none;
        }
        let Ok((width, height)) = sized.into_dimensions() else { return none };
        // Decoders keep up to 16 bytes for a pixel.
        let (width, height) = (as_size(width)?, as_size(height)?);
        context.claim(&[height, width, 16], 1)?;
        let Ok(mut reader) = reader() else { return none };
        let mut limits = image::Limits::default();
        limits.max_alloc = Some(context.limits.run_bytes_max);
        reader.limits(limits);
        if format == Some(ImageFormat::Gif) {
            // Only the first frame is looked at.
            reader.set_format(ImageFormat::Gif);
        }
        let Ok(decoded) = reader.decode() else { return none };
        let mut pixels = decoded.into_rgb8().into_raw();
        match self {
            Self::Rgb => {}
            Self::Bgr => pixels.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2)),
            Self::Grayscale => pixels = pixels.chunks_exact(3).map(luma).collect(),
        }
        Ok(vec![Tensor::new([height, width, channels], pixels).into()])
    }
}

fn as_size(size: u32) -> Result<usize, OpError> {
    usize::try_from(size).map_err(|_| OpError::shape(format!("an image of {size} pixels")))
}

/// ITU-R 601-2 in 16-bit fixed point, rounded.
fn luma(pixel: &[u8]) -> u8 {
    let part = |at: usize, factor: u32| u32::from(pixel[at]) * factor;
    let sum = part(0, 19_595) + part(1, 38_470) + part(2, 7_471) + 0x8000;
    u8::try_from(sum >> 16).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn decode(bytes: &[u8], limits: &Limits) -> Result<Vec<usize>, OpError> {
        let input = Tensor::new([bytes.len()], bytes.to_vec());
        let inputs = Inputs(vec![Some(input.into())]);
        let out = ImageDecoder::Rgb.run(inputs, &mut Context::new(limits, 0))?;
        Ok(out[0].as_tensor()?.shape().to_vec())
    }

    #[test]
    fn what_is_no_image_has_no_pixels() {
        let mut limits = Limits::default();
        assert_eq!(decode(b"", &limits).unwrap(), [0, 0, 3]);
        assert_eq!(decode(b"P6 2 2 255 abc", &limits).unwrap(), [0, 0, 3]);
        let pixels = b"P6 2 1 255 abcdef";
        assert_eq!(decode(pixels, &limits).unwrap(), [1, 2, 3]);
        assert!(decode(JPEG_2000[1], &limits).is_err());
        assert!(matches!(
            decode(b"P6 900000 900000 255 abc", &limits),
            Err(OpError::Memory { .. })
        ));
        limits.run_bytes_max = 8;
        assert!(decode(pixels, &limits).is_err());
    }
}
