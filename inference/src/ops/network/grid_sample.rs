//! GridSample: <https://onnx.ai/onnx/operators/onnx__GridSample.html>
//!
//! One to three spatial axes. The elements and weights behind each place of the grid are found once per item and used for all channels.

use super::layout::{Layout, advance, strides_of};
use super::planes::for_chunks;
use super::precision::{Real, f64_of, for_real, narrowed, reals, widened};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

#[derive(Debug)]
struct GridSample {
    mode: Mode,
    padding: Padding,
    align_corners: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let mode = match spec.text("mode", "linear")? {
        "linear" | "bilinear" => Mode::Linear,
        "cubic" | "bicubic" => Mode::Cubic,
        "nearest" => Mode::Nearest,
        other => return Err(BuildError::invalid(format!("mode is {other:?}"))),
    };
    let padding = match spec.text("padding_mode", "zeros")? {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(BuildError::invalid(format!("padding_mode is {other:?}"))),
    };
    let align_corners = spec.flag("align_corners", false)?;
    Ok(Box::new(GridSample { mode, padding, align_corners }))
}

impl Operator for GridSample {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let grid = inputs.tensor(1)?;
        let out = for_real!(input, T, { self.sampled::<T>(&input, grid, context)? });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}

/// What lies behind the places of one item's grid, one place after the other.
struct Samples<T> {
    elements: Vec<(usize, T)>,
    /// Where each place's elements end.
    ends: Vec<usize>,
}

impl GridSample {
    fn sampled<T: Real>(
        &self,
        input: &Tensor,
        grid: &Tensor,
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let layout = Layout::of(input.shape(), 1)?;
        let axes = layout.spatial.len();
        if axes > 3 {
            return Err(OpError::unsupported("more than three spatial axes"));
        }
        let spatial = match grid.shape() {
            [batch, spatial @ .., coordinates]
                if *batch == layout.batch && *coordinates == axes && spatial.len() == axes =>
            {
                spatial
            }
            other => {
                return Err(OpError::shape(format!(
                    "a grid of shape {other:?} does not fit an input of {:?}",
                    input.shape()
                )));
            }
        };
        let shape = layout.with(spatial.iter().copied());
        let len = context.claim(&shape, size_of::<T>())?;
        let mut out = vec![T::ZERO; len];
        if len == 0 {
            return Ok(Tensor::new(shape, out));
        }
        let (plane, places) = (layout.plane(), len / layout.planes());
        if plane == 0 {
            return Err(OpError::shape("there is nothing to sample from"));
        }
        let per_place = match self.mode {
            Mode::Nearest => 1,
            Mode::Linear => 1 << axes,
            Mode::Cubic => 1 << (2 * axes),
        };
        context.claim(&[places, per_place], size_of::<(usize, T)>())?;
        let grid: Vec<f64> = reals(grid)?;
        let elements = input.as_slice::<T>()?;
        let items = out.chunks_exact_mut(layout.channels * places);
        for ((item, out), grid) in items.enumerate().zip(grid.chunks_exact(places * axes)) {
            let samples = self.samples::<T>(grid, layout.spatial);
            for_chunks(out, places, |channel, out| {
                let plane = &elements[(item * layout.channels + channel) * plane..][..plane];
                let mut from = 0;
                for (out, end) in out.iter_mut().zip(&samples.ends) {
                    let behind = samples.elements[from..*end].iter();
                    *out = behind.fold(T::ZERO, |sum, (at, weight)| sum + plane[*at] * *weight);
                    from = *end;
                }
            });
        }
        Ok(Tensor::new(shape, out))
    }

    fn samples<T: Real>(&self, grid: &[f64], spatial: &[usize]) -> Samples<T> {
        let strides = strides_of(spatial);
        let mut samples = Samples { elements: Vec::new(), ends: Vec::new() };
        let mut axes: Vec<Vec<(usize, f64)>> = vec![Vec::new(); spatial.len()];
        for place in grid.chunks_exact(spatial.len()) {
            // Coordinates name the innermost axis first.
            for ((axis, size), at) in axes.iter_mut().zip(spatial).zip(place.iter().rev()) {
                axis.clear();
                self.along(*at, *size, axis);
            }
            let counts: Vec<usize> = axes.iter().map(Vec::len).collect();
            if !counts.contains(&0) {
                let mut tap = vec![0; counts.len()];
                loop {
                    let (mut at, mut weight) = (0, 1.0);
                    for ((axis, tap), stride) in axes.iter().zip(&tap).zip(&strides) {
                        at += axis[*tap].0 * stride;
                        weight *= axis[*tap].1;
                    }
                    samples.elements.push((at, T::of(weight)));
                    if !advance(&mut tap, &counts) {
                        break;
                    }
                }
            }
            samples.ends.push(samples.elements.len());
        }
        samples
    }

    /// Elements and weights along one axis, at a coordinate from -1 to 1.
    fn along(&self, at: f64, size: usize, taps: &mut Vec<(usize, f64)>) {
        let length = f64_of(size);
        let (mut at, low, high) = if self.align_corners {
            ((at + 1.0) / 2.0 * (length - 1.0), 0.0, length - 1.0)
        } else {
            (((at + 1.0) * length - 1.0) / 2.0, -0.5, length - 0.5)
        };
        if self.mode == Mode::Nearest {
            at = at.round_ties_even();
        }
        if at < low || at > high {
            match self.padding {
                Padding::Zeros => {}
                Padding::Border => at = at.clamp(0.0, length - 1.0),
                Padding::Reflection => at = reflected(at, low, high),
            }
        }
        let floor = at.floor();
        let part = at - floor;
        let mut push = |step: f64, weight: f64| {
            let element = floor + step;
            let inside = element >= 0.0 && element < length;
            let element = match self.padding {
                // A coordinate that is no number has to show in the output.
                Padding::Zeros if inside || at.is_nan() => element,
                Padding::Zeros => return,
                Padding::Border => element,
                Padding::Reflection if inside => element,
                Padding::Reflection => reflected(element, low, high),
            };
            let element = element.clamp(0.0, length - 1.0);
            taps.push((index_of(element), weight));
        };
        match self.mode {
            Mode::Nearest => push(0.0, if at.is_nan() { at } else { 1.0 }),
            Mode::Linear => {
                push(0.0, 1.0 - part);
                push(1.0, part);
            }
            Mode::Cubic => {
                for step in [-1.0, 0.0, 1.0, 2.0] {
                    push(step, cubic((step - part).abs()));
                }
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it lies within an axis, or is no number and becomes 0"
)]
const fn index_of(element: f64) -> usize {
    element as usize
}

/// Mirrors a coordinate at the borders until it lies between them.
fn reflected(at: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    if range <= 0.0 {
        return low.max(0.0);
    }
    let (from, beyond) = if at < low { (low, low - at) } else { (high, at - high) };
    let (turns, rest) = ((beyond / range).floor(), beyond % range);
    // An even number of turns comes back into the range from the border that was crossed.
    let near_low = (turns % 2.0 == 0.0) == (from < high);
    if near_low { low + rest } else { high - rest }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "halves are exact")]
    fn coordinates_are_mirrored_until_inside() {
        let mirror = |at| reflected(at, -0.5, 2.5);
        assert_eq!([-1.0, -3.0, -4.0, 3.0, 6.0, 9.0].map(mirror), [0.0, 2.0, 2.0, 2.0, 0.0, 2.0]);
        assert_eq!(reflected(5.0, 0.0, 0.0), 0.0);
    }

    #[test]
    fn strange_coordinates_do_no_harm() {
        for padding in [Padding::Zeros, Padding::Border, Padding::Reflection] {
            for mode in [Mode::Nearest, Mode::Linear, Mode::Cubic] {
                let layer = GridSample { mode, padding, align_corners: false };
                for at in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
                    let mut taps = Vec::new();
                    layer.along(at, 3, &mut taps);
                    assert!(taps.iter().all(|(element, _)| *element < 3));
                }
            }
        }
    }
}
