//! Pictures into the model's width and height.

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::super::PayloadError;
use super::decode::Pixels;
use crate::bundle::Section;

/// How a picture is brought to the model's width and height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Both axes are scaled on their own.
    Stretch,
    /// Scaled so that the shorter side has this many pixels, then the middle is cut out.
    CenterCrop { shorter: usize },
    /// Scaled to lie within, the rest is filled.
    Letterbox { fill: [u8; 3] },
    /// As it is; it has to have the size.
    Keep,
}

/// The filter that pixels are weighted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Nearest,
    Box,
    Bilinear,
    Bicubic,
    Lanczos,
}

#[derive(Clone, Copy)]
enum Mode {
    Stretch,
    CenterCrop,
    Letterbox,
    Keep,
}

impl Filter {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let words = [
            ("nearest", Self::Nearest),
            ("box", Self::Box),
            ("bilinear", Self::Bilinear),
            ("bicubic", Self::Bicubic),
            ("lanczos", Self::Lanczos),
        ];
        if section.has("filter") { section.choice("filter", &words) } else { Some(Self::Bilinear) }
    }

    const fn algorithm(self) -> ResizeAlg {
        match self {
            Self::Nearest => ResizeAlg::Nearest,
            Self::Box => ResizeAlg::Convolution(FilterType::Box),
            Self::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
            Self::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Self::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        }
    }
}

impl Fit {
    /// Reads `resize` and what belongs to it. `size`: the model's width and height.
    pub(super) fn read(section: &Section<'_>, size: Option<(usize, usize)>) -> Option<Self> {
        let words = [
            ("stretch", Mode::Stretch),
            ("center_crop", Mode::CenterCrop),
            ("letterbox", Mode::Letterbox),
            ("keep", Mode::Keep),
        ];
        if !section.has("resize") {
            section.problem(
                "resize",
                "say how a picture gets the model's size: \"stretch\", \"center_crop\", \"letterbox\" or \"keep\"",
            );
            return None;
        }
        let shorter = section.count("shorter_side", 1..=super::SIDE_MAX);
        let fill = section.counts("fill", 0..=255);
        let mode = section.choice("resize", &words)?;
        if shorter.is_some() && !matches!(mode, Mode::CenterCrop) {
            section.problem("shorter_side", "it belongs to resize = \"center_crop\"");
        }
        if fill.is_some() && !matches!(mode, Mode::Letterbox) {
            section.problem("fill", "it belongs to resize = \"letterbox\"");
        }
        Some(match mode {
            Mode::Stretch => Self::Stretch,
            Mode::Keep => Self::Keep,
            Mode::CenterCrop => {
                let (width, height) = size.unwrap_or((1, 1));
                let side = width.max(height);
                let shorter = shorter.unwrap_or(side);
                if shorter < side {
                    let what = format!("{shorter} is less than the model's {width} x {height}");
                    section.problem("shorter_side", what);
                    return None;
                }
                Self::CenterCrop { shorter }
            }
            Mode::Letterbox => {
                let bytes: Vec<u8> = fill
                    .unwrap_or_else(|| vec![0])
                    .into_iter()
                    .filter_map(|byte| u8::try_from(byte).ok())
                    .collect();
                let fill = match bytes[..] {
                    [grey] => [grey; 3],
                    [red, green, blue] => [red, green, blue],
                    _ => {
                        section
                            .problem("fill", "it takes one number, or one for red, green and blue");
                        return None;
                    }
                };
                Self::Letterbox { fill }
            }
        })
    }

    /// Brings a picture to a width and height.
    pub(super) fn apply(
        self,
        pixels: Pixels,
        width: usize,
        height: usize,
        filter: Filter,
        pixels_max: usize,
    ) -> Result<Pixels, PayloadError> {
        match self {
            Self::Stretch => resized(pixels, width, height, filter),
            Self::Keep if (pixels.width, pixels.height) == (width, height) => Ok(pixels),
            Self::Keep => Err(PayloadError(format!(
                "the picture has {} x {} pixels, the model takes {width} x {height}",
                pixels.width, pixels.height
            ))),
            Self::CenterCrop { shorter } => {
                let short = pixels.width.min(pixels.height);
                let to = |side: usize| scaled(side, shorter, short).max(1);
                let (wide, high) = (to(pixels.width), to(pixels.height));
                if wide.saturating_mul(high) > pixels_max {
                    return Err(PayloadError(format!(
                        "a picture of {} x {} pixels is too narrow: its shorter side scaled to {shorter} makes {wide} x {high}",
                        pixels.width, pixels.height
                    )));
                }
                Ok(cropped(&resized(pixels, wide, high, filter)?, width, height))
            }
            Self::Letterbox { fill } => {
                // The side that reaches its bound first decides.
                let by_width =
                    pixels.width.saturating_mul(height) >= pixels.height.saturating_mul(width);
                let (wide, high) = if by_width {
                    (width, scaled(pixels.height, width, pixels.width).clamp(1, height))
                } else {
                    (scaled(pixels.width, height, pixels.height).clamp(1, width), height)
                };
                Ok(framed(&resized(pixels, wide, high, filter)?, width, height, fill))
            }
        }
    }
}

/// `side * to / from`, rounded to the nearest.
const fn scaled(side: usize, to: usize, from: usize) -> usize {
    let from = if from == 0 { 1 } else { from };
    side.saturating_mul(to).saturating_add(from / 2) / from
}

/// The middle of a picture that is at least as large.
fn cropped(pixels: &Pixels, width: usize, height: usize) -> Pixels {
    let left = pixels.width.saturating_sub(width) / 2;
    let top = pixels.height.saturating_sub(height) / 2;
    let channels = pixels.channels;
    let mut bytes = Vec::with_capacity(width * height * channels);
    for row in pixels.bytes.chunks_exact(pixels.width * channels).skip(top).take(height) {
        bytes.extend_from_slice(&row[left * channels..(left + width) * channels]);
    }
    Pixels { width, height, channels, bytes }
}

/// A smaller picture in the middle of a filled one.
fn framed(pixels: &Pixels, width: usize, height: usize, fill: [u8; 3]) -> Pixels {
    let (left, top) = ((width - pixels.width) / 2, (height - pixels.height) / 2);
    let channels = pixels.channels;
    let mut bytes: Vec<u8> =
        fill.iter().take(channels).copied().cycle().take(width * height * channels).collect();
    let rows = bytes.chunks_exact_mut(width * channels).skip(top);
    for (row, from) in rows.zip(pixels.bytes.chunks_exact(pixels.width * channels)) {
        row[left * channels..left * channels + from.len()].copy_from_slice(from);
    }
    Pixels { width, height, channels, bytes }
}

fn resized(
    pixels: Pixels,
    width: usize,
    height: usize,
    filter: Filter,
) -> Result<Pixels, PayloadError> {
    if (pixels.width, pixels.height) == (width, height) {
        return Ok(pixels);
    }
    let failed = |what: &dyn std::fmt::Display| PayloadError(format!("resizing failed: {what}"));
    let side = |side: usize| u32::try_from(side).map_err(|error| failed(&error));
    let form = if pixels.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let channels = pixels.channels;
    let from = Image::from_vec_u8(side(pixels.width)?, side(pixels.height)?, pixels.bytes, form)
        .map_err(|error| failed(&error))?;
    let mut to = Image::new(side(width)?, side(height)?, form);
    let options = ResizeOptions::new().resize_alg(filter.algorithm()).use_alpha(false);
    Resizer::new().resize(&from, &mut to, &options).map_err(|error| failed(&error))?;
    Ok(Pixels { width, height, channels, bytes: to.into_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Pixels {
        let pixel = |at: usize| u8::try_from(at % 251).unwrap();
        Pixels { width, height, channels: 1, bytes: (0..width * height).map(pixel).collect() }
    }

    fn fit(fit: Fit, pixels: Pixels, width: usize, height: usize) -> Pixels {
        fit.apply(pixels, width, height, Filter::Bilinear, 1 << 20).unwrap()
    }

    #[test]
    fn every_fit_gives_the_size_that_was_asked_for() {
        let crop = Fit::CenterCrop { shorter: 8 };
        for (width, height) in [(1, 1), (1, 50), (50, 1), (7, 9), (33, 8), (4, 4)] {
            for how in [Fit::Stretch, crop, Fit::Letterbox { fill: [9; 3] }] {
                let made = fit(how, ramp(width, height), 8, 6);
                assert_eq!((made.width, made.height, made.bytes.len()), (8, 6, 48), "{how:?}");
            }
        }
    }

    #[test]
    fn the_middle_is_cut_out_and_the_rest_is_filled() {
        let pixels =
            Pixels { width: 4, height: 2, channels: 1, bytes: vec![1, 2, 3, 4, 5, 6, 7, 8] };
        assert_eq!(fit(Fit::CenterCrop { shorter: 2 }, pixels.clone(), 2, 2).bytes, [2, 3, 6, 7]);
        let framed = fit(Fit::Letterbox { fill: [9; 3] }, pixels, 4, 4).bytes;
        assert_eq!(framed, [9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9]);
    }

    #[test]
    fn a_thread_is_not_scaled_to_a_sheet() {
        let thread = ramp(1 << 16, 1);
        let crop = Fit::CenterCrop { shorter: 256 };
        assert!(crop.apply(thread, 224, 224, Filter::Bilinear, 50_000_000).is_err());
        assert!(Fit::Keep.apply(ramp(3, 3), 2, 2, Filter::Nearest, 100).is_err());
    }
}
