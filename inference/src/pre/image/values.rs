//! Pixels to the numbers that a model was trained on: `(pixel * rescale - mean) / std`, per channel, in the model's layout.

use super::decode::Pixels;
use crate::bundle::Section;
use crate::dtype::DType;

/// The order of a picture's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Channels, rows, columns.
    Nchw,
    /// Rows, columns, channels.
    Nhwc,
}

/// The channels, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    Rgb,
    Bgr,
    Grey,
}

/// How pixels become numbers.
#[derive(Debug)]
pub(super) struct Values {
    layout: Layout,
    colour: Colour,
    /// For each channel as the model has it, the number for each byte.
    tables: Vec<[f32; 256]>,
}

impl Values {
    pub(super) fn read(section: &Section<'_>, dtype: DType) -> Option<Self> {
        let layouts = [("nchw", Layout::Nchw), ("nhwc", Layout::Nhwc)];
        let colours = [("rgb", Colour::Rgb), ("bgr", Colour::Bgr), ("grey", Colour::Grey)];
        let layout = if section.has("layout") {
            section.choice("layout", &layouts)
        } else {
            Some(Layout::Nchw)
        };
        let colour = if section.has("colour") {
            section.choice("colour", &colours)
        } else {
            Some(Colour::Rgb)
        };
        let said = section.has("rescale") || section.has("mean") || section.has("std");
        let (rescale, mean, std) = (
            section.number("rescale").unwrap_or(1.0),
            section.numbers("mean"),
            section.numbers("std"),
        );
        if dtype == DType::U8 && said {
            section.problem("", "the model takes bytes: rescale, mean and std do not apply");
            return None;
        }
        if dtype != DType::U8 && !said {
            let what = "say how pixels (0 to 255) become numbers: rescale = 0.00392156862745098 for 0 to 1, \
                rescale = 1 to leave them, mean and std as the model was trained";
            section.problem("rescale", what);
            return None;
        }
        let (layout, colour) = (layout?, colour?);
        let channels = if colour == Colour::Grey { 1 } else { 3 };
        let per_channel = |key: &'static str, given: Option<Vec<f64>>, default: f64| {
            let given = given.unwrap_or_else(|| vec![default]);
            match given[..] {
                [one] => Some(vec![one; channels]),
                _ if given.len() == channels => Some(given),
                _ => {
                    let what = format!("it takes one number or {channels}, found {}", given.len());
                    section.problem(key, what);
                    None
                }
            }
        };
        let (mean, std) = (per_channel("mean", mean, 0.0)?, per_channel("std", std, 1.0)?);
        if std.contains(&0.0) {
            section.problem("std", "nothing can be divided by 0");
            return None;
        }
        let tables = mean.iter().zip(&std).map(|(mean, std)| table(rescale, *mean, *std)).collect();
        Some(Self { layout, colour, tables })
    }

    pub(super) fn is_grey(&self) -> bool {
        self.colour == Colour::Grey
    }

    const fn channels(&self) -> usize {
        self.tables.len()
    }

    /// Width and height as an input declares them. `sizes`: its axes without that of the batch.
    pub(super) fn sides(
        &self,
        section: &Section<'_>,
        sizes: Option<&[Option<usize>]>,
    ) -> Option<(Option<usize>, Option<usize>)> {
        let Some(sizes) = sizes else { return Some((None, None)) };
        let [first, second, third] = *sizes else {
            let what = format!(
                "a picture has 3 axes, the input has {} beside that of the batch",
                sizes.len()
            );
            section.problem("layout", what);
            return None;
        };
        let (channels, height, width) = match self.layout {
            Layout::Nchw => (first, second, third),
            Layout::Nhwc => (third, first, second),
        };
        if let Some(channels) = channels.filter(|channels| *channels != self.channels()) {
            let what = format!(
                "this layout and colour make {} channels, the input takes {channels}",
                self.channels()
            );
            section.problem("layout", what);
            return None;
        }
        Some((width, height))
    }

    /// The shape of a picture in the model's layout.
    pub(super) fn shape(&self, pixels: &Pixels) -> [usize; 3] {
        match self.layout {
            Layout::Nchw => [self.channels(), pixels.height, pixels.width],
            Layout::Nhwc => [pixels.height, pixels.width, self.channels()],
        }
    }

    /// The numbers.
    pub(super) fn floats(&self, pixels: &Pixels) -> Vec<f32> {
        let tables = &self.tables;
        self.arranged(pixels, |channel, byte| tables[channel][usize::from(byte)])
    }

    /// The bytes as they are.
    pub(super) fn bytes(&self, pixels: &Pixels) -> Vec<u8> {
        self.arranged(pixels, |_, byte| byte)
    }

    /// Each pixel's channels where the model wants them.
    fn arranged<T>(&self, pixels: &Pixels, value: impl Fn(usize, u8) -> T) -> Vec<T> {
        // A grey picture gives the same to each channel.
        let source = |channel: usize| match (pixels.channels, self.colour) {
            (1, _) => 0,
            (_, Colour::Bgr) => 2 - channel,
            _ => channel,
        };
        let count = self.channels();
        let mut values = Vec::with_capacity(pixels.width * pixels.height * count);
        match self.layout {
            Layout::Nchw => {
                for channel in 0..count {
                    let from = source(channel);
                    let plane = pixels.bytes.chunks_exact(pixels.channels);
                    values.extend(plane.map(|pixel| value(channel, pixel[from])));
                }
            }
            Layout::Nhwc => {
                for pixel in pixels.bytes.chunks_exact(pixels.channels) {
                    values.extend((0..count).map(|channel| value(channel, pixel[source(channel)])));
                }
            }
        }
        values
    }
}

#[expect(clippy::cast_possible_truncation, reason = "models take f32")]
fn table(rescale: f64, mean: f64, std: f64) -> [f32; 256] {
    let mut table = [0.0; 256];
    for (byte, number) in (0_u16..).zip(&mut table) {
        *number = ((f64::from(byte) * rescale - mean) / std) as f32;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_lie_where_the_model_wants_them() {
        let pixels = Pixels { width: 2, height: 1, channels: 3, bytes: vec![1, 2, 3, 4, 5, 6] };
        let tables = vec![table(1.0, 0.0, 1.0), table(1.0, 0.0, 1.0), table(1.0, 0.0, 2.0)];
        let mut values = Values { layout: Layout::Nchw, colour: Colour::Rgb, tables };
        assert_eq!(values.floats(&pixels), [1.0, 4.0, 2.0, 5.0, 1.5, 3.0]);
        values.colour = Colour::Bgr;
        assert_eq!(values.floats(&pixels), [3.0, 6.0, 2.0, 5.0, 0.5, 2.0]);
        values.layout = Layout::Nhwc;
        assert_eq!(values.bytes(&pixels), [3, 2, 1, 6, 5, 4]);
        let grey = Pixels { width: 1, height: 1, channels: 1, bytes: vec![7] };
        assert_eq!(values.bytes(&grey), [7, 7, 7]);
    }
}
