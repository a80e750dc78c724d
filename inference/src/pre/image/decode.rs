//! Image files to pixels.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::super::PayloadError;
use crate::jpeg;

/// Bytes that a decoder may take per pixel: 16 bits for each of four channels, and as much again for its own work.
const DECODER_BYTES_PER_PIXEL: u64 = 16;

/// What a decoder may take whatever the picture's size.
const DECODER_BYTES: u64 = 16 << 20;

/// Pixels in rows, one byte per channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pixels {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// 3: red, green and blue; 1: grey.
    pub(crate) channels: usize,
    pub(crate) bytes: Vec<u8>,
}

/// Decodes a picture to red, green and blue, or to grey if that is what it is. The size is checked before memory is taken.
pub(super) fn decode(
    payload: &[u8],
    pixels_max: usize,
    orient: bool,
) -> Result<Pixels, PayloadError> {
    let format = image::guess_format(payload).ok().filter(|format| {
        matches!(
            format,
            ImageFormat::Jpeg
                | ImageFormat::Png
                | ImageFormat::WebP
                | ImageFormat::Bmp
                | ImageFormat::Gif
        )
    });
    let format =
        format.ok_or_else(|| PayloadError::new("the payload is no JPEG, PNG, WebP, BMP or GIF"))?;
    if format == ImageFormat::Jpeg && !jpeg::is_whole(payload) {
        let what =
            format!("the JPEG is cut off: its {} bytes end before the picture does", payload.len());
        return Err(PayloadError(what));
    }
    let failed = |error: image::ImageError| {
        PayloadError(format!("the {} cannot be decoded: {error}", name(format)))
    };
    let mut reader = ImageReader::with_format(Cursor::new(payload), format);
    let mut limits = Limits::no_limits();
    let pixels_allowed = pixels_max as u64;
    limits.max_alloc =
        Some(pixels_allowed.saturating_mul(DECODER_BYTES_PER_PIXEL).saturating_add(DECODER_BYTES));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > pixels_allowed {
        let what = format!(
            "the {} has {width} x {height} pixels, pre.pixels_max allows {pixels_max} in all",
            name(format)
        );
        return Err(PayloadError(what));
    }
    // What cannot be read of the metadata does not make the picture unreadable.
    let orientation = if orient { decoder.orientation().ok() } else { None };
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    Ok(pixels_of(image))
}

const fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        _ => "GIF",
    }
}

/// Alpha is dropped, of 16 bits the upper eight are kept.
fn pixels_of(image: DynamicImage) -> Pixels {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, bytes) = match image {
        DynamicImage::ImageLuma8(grey) => (1, grey.into_raw()),
        DynamicImage::ImageLumaA8(grey) => (1, keep(grey.as_raw(), 2, 1, |byte| byte)),
        DynamicImage::ImageLuma16(grey) => (1, keep(grey.as_raw(), 1, 1, upper)),
        DynamicImage::ImageLumaA16(grey) => (1, keep(grey.as_raw(), 2, 1, upper)),
        DynamicImage::ImageRgb8(colour) => (3, colour.into_raw()),
        DynamicImage::ImageRgba8(colour) => (3, keep(colour.as_raw(), 4, 3, |byte| byte)),
        DynamicImage::ImageRgb16(colour) => (3, keep(colour.as_raw(), 3, 3, upper)),
        DynamicImage::ImageRgba16(colour) => (3, keep(colour.as_raw(), 4, 3, upper)),
        other => (3, other.into_rgb8().into_raw()),
    };
    Pixels { width, height, channels, bytes }
}

fn upper(wide: u16) -> u8 {
    wide.to_be_bytes()[0]
}

/// The first `kept` channels of each pixel.
fn keep<T: Copy>(all: &[T], channels: usize, kept: usize, narrow: impl Fn(T) -> u8) -> Vec<u8> {
    all.chunks_exact(channels)
        .flat_map(|pixel| pixel.iter().take(kept))
        .map(|value| narrow(*value))
        .collect()
}

impl Pixels {
    /// Grey, by the weights of ITU-R 601 as Pillow rounds them.
    pub(super) fn into_grey(self) -> Self {
        if self.channels == 1 {
            return self;
        }
        let grey = |pixel: &[u8]| match pixel {
            [red, green, blue] => {
                let sum = u32::from(*red) * 19_595
                    + u32::from(*green) * 38_470
                    + u32::from(*blue) * 7_471
                    + 0x8000;
                u8::try_from(sum >> 16).unwrap_or(u8::MAX)
            }
            _ => 0,
        };
        let bytes = self.bytes.chunks_exact(3).map(grey).collect();
        Self { channels: 1, bytes, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, Rgba};

    fn png(image: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn alpha_is_dropped_and_16_bits_are_cut() {
        let rgba = ImageBuffer::from_pixel(2, 1, Rgba([1_u8, 2, 3, 0]));
        let found = decode(&png(&rgba.into()), 10, true).unwrap();
        assert_eq!((found.channels, found.bytes), (3, vec![1, 2, 3, 1, 2, 3]));
        let grey = ImageBuffer::from_pixel(1, 1, Luma([0x12ff_u16]));
        let found = decode(&png(&grey.into()), 10, true).unwrap();
        assert_eq!((found.channels, found.bytes), (1, vec![0x12]));
    }

    #[test]
    fn bombs_and_other_files_are_refused() {
        let large = png(&DynamicImage::new_rgb8(100, 100));
        let error = decode(&large, 9_999, true).unwrap_err().to_string();
        assert!(error.contains("100 x 100"), "{error}");
        assert!(decode(&large[..60], 1 << 20, true).is_err());
        assert!(decode(b"", 1 << 20, true).is_err());
        assert!(decode(b"%PDF-1.4", 1 << 20, true).is_err());
        // A PNG of 60 bytes that claims 65,535 by 65,535 pixels.
        let mut claim = large;
        claim[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]);
        assert!(decode(&claim, 50_000_000, true).is_err());
    }

    /// 8 x 8 pixels of grey in several scans.
    const PROGRESSIVE: &str = "\
        ffd8ffe000104a46494600010100000100010000ffdb00430050373c463c32504641465a55505f78c882786e\
        6e78f5afb991c8ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
        ffffc2000b080008000801011100ffc40014000100000000000000000000000000000002ffda000801010000\
        00011fffc40014100100000000000000000000000000000000ffda00080101000105027fffc4001410010000\
        0000000000000000000000000000ffda0008010100063f027fffc40016100101010000000000000000000000\
        0000010011ffda0008010100013f21132fffda0008010100000010ff00ffc400181000020300000000000000\
        0000000000000001112131ffda0008010100013f104ad3a7ffd9";

    fn progressive() -> Vec<u8> {
        let digits = PROGRESSIVE.as_bytes().chunks_exact(2);
        digits
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn a_jpeg_that_is_cut_off_is_refused_and_a_whole_one_is_not() {
        let photo = include_bytes!("../../../models/samples/grace_hopper.jpg");
        let decoded = decode(photo, 1 << 20, true).unwrap();
        // The pixels are those of the decoder alone.
        let plain = image::load_from_memory(photo).unwrap().into_rgb8();
        assert_eq!((decoded.width, decoded.height), (512, 600));
        assert!(decoded.bytes == plain.into_raw(), "other pixels");
        let trailed = [&photo[..], b"what a camera adds"].concat();
        assert!(decode(&trailed, 1 << 20, true).unwrap() == decoded, "other pixels");
        for len in [3, 200, 9_000, 30_000, 61_000, photo.len() - 2, photo.len() - 1] {
            let error = decode(&photo[..len], 1 << 20, true).unwrap_err().to_string();
            assert!(error.contains(&format!("cut off: its {len} bytes")), "{error}");
        }
        let scans = progressive();
        assert_eq!(decode(&scans, 64, true).unwrap().bytes.len(), 64);
        for len in 3..scans.len() {
            let error = decode(&scans[..len], 64, true).unwrap_err().to_string();
            assert!(error.contains("cut off"), "{len}: {error}");
        }
    }

    #[test]
    fn grey_is_weighted() {
        let pixels = Pixels {
            width: 3,
            height: 1,
            channels: 3,
            bytes: vec![255, 0, 0, 0, 255, 0, 255, 255, 255],
        };
        assert_eq!(pixels.into_grey().bytes, [76, 150, 255]);
    }
}
