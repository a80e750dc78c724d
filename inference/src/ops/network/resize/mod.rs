//! Resize and Upsample: <https://onnx.ai/onnx/operators/onnx__Resize.html>
//!
//! Interpolation is taken axis by axis: for each place along an axis, which elements count and how much ([`taps`]), then one pass over
//! the tensor ([`pass`]). Integers are rounded to the nearest even and saturate, as the reference implementation does.
//!
//! Refused: `scales` together with a region (`tf_crop_and_resize`) that is not as long as the axis, as runtimes and text disagree on the
//! output's shape there.

mod coordinates;
mod pass;
mod taps;

use coordinates::{AxisScale, Transformation};
use taps::{Filter, Nearest, Taps};

use super::precision::{f64_of, narrowed, widened};
use crate::dtype::{DType, Element, for_dtype, for_repr};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aspect {
    Stretch,
    NotLarger,
    NotSmaller,
}

#[derive(Debug)]
struct Resize {
    filter: Filter,
    transformation: Transformation,
    aspect: Aspect,
    axes: Option<Vec<i64>>,
    extrapolation: f64,
    /// Scales that are attributes: Upsample before opset 9.
    scales: Option<Vec<f32>>,
    /// Operands that hold region, scales and sizes.
    operands: [Option<usize>; 3],
}

fn aspect(spec: &NodeSpec<'_>) -> Result<Aspect, BuildError> {
    match spec.text("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => Ok(Aspect::Stretch),
        "not_larger" => Ok(Aspect::NotLarger),
        "not_smaller" => Ok(Aspect::NotSmaller),
        other => Err(BuildError::invalid(format!("keep_aspect_ratio_policy is {other:?}"))),
    }
}

fn filter(spec: &NodeSpec<'_>, simple: bool) -> Result<Filter, BuildError> {
    let (antialias, exclude) =
        (spec.flag("antialias", false)?, spec.flag("exclude_outside", false)?);
    match spec.text("mode", "nearest")? {
        "nearest" if antialias => Err(BuildError::invalid("antialias with mode \"nearest\"")),
        "nearest" if simple => Ok(Filter::Nearest(Nearest::Simple)),
        "nearest" => {
            Ok(Filter::Nearest(match spec.text("nearest_mode", "round_prefer_floor")? {
                "round_prefer_floor" => Nearest::RoundPreferFloor,
                "round_prefer_ceil" => Nearest::RoundPreferCeil,
                "floor" => Nearest::Floor,
                "ceil" => Nearest::Ceil,
                other => return Err(BuildError::invalid(format!("nearest_mode is {other:?}"))),
            }))
        }
        // The first Upsample called it so.
        "linear" | "bilinear" => Ok(Filter::Linear { antialias, exclude }),
        "cubic" => {
            let a = f64::from(spec.float("cubic_coeff_a", -0.75)?);
            Ok(Filter::Cubic { a, antialias, exclude })
        }
        other => Err(BuildError::invalid(format!("mode is {other:?}"))),
    }
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let upsample = spec.op() == "Upsample";
    let (version, simple) = (spec.version(), upsample || spec.version() < 11);
    let transformation = if simple {
        Transformation::Asymmetric
    } else {
        Transformation::of(spec.text("coordinate_transformation_mode", "half_pixel")?)?
    };
    let mut scales = None;
    let operands = match (upsample, version) {
        (true, ..7) => return Err(BuildError::unsupported("Upsample of opset 1")),
        (true, 7..9) => {
            scales = spec.floats_opt("scales")?.map(<[f32]>::to_vec);
            if scales.is_none() {
                return Err(BuildError::invalid("attribute \"scales\" is missing"));
            }
            [None, None, None]
        }
        (true, _) | (false, ..11) => [None, Some(1), None],
        (false, _) => [Some(1), Some(2), Some(3)],
    };
    Ok(Box::new(Resize {
        filter: filter(spec, simple)?,
        transformation,
        aspect: aspect(spec)?,
        axes: spec.ints_opt("axes")?.map(<[i64]>::to_vec),
        extrapolation: f64::from(spec.float("extrapolation_value", 0.0)?),
        scales,
        operands,
    }))
}

impl Operator for Resize {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let scales = self.scales_of(&inputs)?;
        let input = inputs.take_tensor(0)?;
        let axes = self.axes_for(&input, scales, &inputs)?;
        let shape: Vec<usize> = axes.iter().map(|(_, axis)| axis.out).collect();
        context.claim(&shape, input.dtype().bytes())?;
        if shape.contains(&0) || input.is_empty() {
            return Ok(vec![empty(&input, shape)?.into()]);
        }
        let mut passes = Vec::new();
        // The innermost axis first: what has to be gathered element by element is done while there are few.
        for (at, axis) in axes.iter().rev() {
            let taps = Taps::of(axis, self.filter, self.transformation, context)?;
            if !taps.is_identity(axis.size) {
                passes.push((*at, taps));
            }
        }
        let plain = passes.iter().all(|(_, taps)| taps.nearest_only());
        let out = if plain {
            moved(input, &passes, context)?
        } else {
            self.weighted(input, &passes, context)?
        };
        Ok(vec![out.into()])
    }
}

fn empty(input: &Tensor, shape: Vec<usize>) -> Result<Tensor, OpError> {
    if !shape.contains(&0) {
        return Err(OpError::shape(format!("{:?} cannot be resized to {shape:?}", input.shape())));
    }
    for_repr!(input.dtype(), T, {
        Ok(Tensor::from_units::<T>(input.dtype(), shape, Vec::new()))
    }, else {
        Ok(Tensor::strings(shape, Vec::new()))
    })
}

/// Nearest elements, by their width alone.
fn moved(
    input: Tensor,
    passes: &[(usize, Taps)],
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    let dtype = input.dtype();
    for_repr!(dtype, T, {
        let mut tensor = input;
        for (axis, taps) in passes {
            let mut shape = tensor.shape().to_vec();
            shape[*axis] = taps.out();
            context.claim(&shape, size_of::<T>())?;
            let out = pass::nearest(tensor.as_units::<T>()?, tensor.shape(), *axis, taps);
            tensor = Tensor::from_units(dtype, shape, out);
        }
        Ok(tensor)
    }, else {
        Err(OpError::unsupported("strings"))
    })
}

impl Resize {
    fn weighted(
        &self,
        input: Tensor,
        passes: &[(usize, Taps)],
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let dtype = input.dtype();
        for_dtype!(dtype, T in [i8, i16, i32, i64, u8, u16, u32, u64], {
            let wide = input.as_slice::<T>()?.iter();
            let wide: Vec<f64> = wide.map(|value| num_traits::AsPrimitive::as_(*value)).collect();
            let shape = input.shape().to_vec();
            let out = self.passed::<f64>(Tensor::new(shape, wide), passes, context)?;
            // A cast from a float saturates.
            let narrow = |value: &f64| num_traits::AsPrimitive::<T>::as_(value.round_ties_even());
            let narrow: Vec<T> = out.as_slice::<f64>()?.iter().map(narrow).collect();
            return Ok(Tensor::new(out.shape(), narrow));
        }, else {});
        let (input, dtype) = widened(input)?;
        let out = match input.dtype() {
            DType::F64 => self.passed::<f64>(input, passes, context)?,
            _ => self.passed::<f32>(input, passes, context)?,
        };
        narrowed(out, dtype)
    }

    fn passed<T: super::precision::Real>(
        &self,
        mut tensor: Tensor,
        passes: &[(usize, Taps)],
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        for (axis, taps) in passes {
            let mut shape = tensor.shape().to_vec();
            shape[*axis] = taps.out();
            context.claim(&shape, size_of::<T>())?;
            let extrapolation = T::of(self.extrapolation);
            let out = pass::weighted(
                tensor.as_slice::<T>()?,
                tensor.shape(),
                *axis,
                (taps, extrapolation),
            );
            tensor = Tensor::new(shape, out);
        }
        Ok(tensor)
    }

    /// An operand, where it is there and not empty: before opset 13 what was left out was empty.
    fn given<'a>(&self, inputs: &'a Inputs, which: usize) -> Result<Option<&'a Tensor>, OpError> {
        let Some(at) = self.operands[which] else { return Ok(None) };
        Ok(inputs.optional(at)?.filter(|tensor| !tensor.is_empty()))
    }

    fn scales_of(&self, inputs: &Inputs) -> Result<Option<Vec<f32>>, OpError> {
        match &self.scales {
            Some(scales) => Ok(Some(scales.clone())),
            None => Ok(match self.given(inputs, 1)? {
                Some(scales) => Some(scales.as_slice::<f32>()?.to_vec()),
                None => None,
            }),
        }
    }

    /// Every axis with its number and how it is scaled.
    fn axes_for(
        &self,
        input: &Tensor,
        scales: Option<Vec<f32>>,
        inputs: &Inputs,
    ) -> Result<Vec<(usize, AxisScale)>, OpError> {
        let rank = input.rank();
        let named: Vec<usize> = match &self.axes {
            Some(axes) => axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<_, _>>()?,
            None => (0..rank).collect(),
        };
        let mut all: Vec<AxisScale> =
            input.shape().iter().map(|size| AxisScale::same(*size)).collect();
        let wrong = |name: &str, found: usize| {
            OpError::shape(format!("{name} has {found} numbers for {} axes", named.len()))
        };
        match (scales, self.given(inputs, 2)?) {
            (Some(scales), None) => {
                if scales.len() != named.len() {
                    return Err(wrong("scales", scales.len()));
                }
                for (axis, scale) in named.iter().zip(scales) {
                    all[*axis] = AxisScale::by(input.shape()[*axis], scale)?;
                }
            }
            (None, Some(sizes)) => {
                let sizes = sizes.to_i64s()?;
                if sizes.len() != named.len() {
                    return Err(wrong("sizes", sizes.len()));
                }
                let of = |at: usize| input.shape()[named[at]];
                let outs = (0..sizes.len()).map(|at| AxisScale::to(of(at), sizes[at]));
                let mut outs = outs.collect::<Result<Vec<_>, _>>()?;
                self.keep_aspect(&mut outs)?;
                for (axis, out) in named.iter().zip(outs) {
                    all[*axis] = out;
                }
            }
            _ => return Err(OpError::shape("either scales or sizes are wanted")),
        }
        if self.transformation == Transformation::Crop {
            let region = self.given(inputs, 0)?.ok_or(OpError::Missing(1))?.to_f32s()?;
            if region.len() != 2 * named.len() {
                return Err(wrong("roi", region.len()));
            }
            for (at, axis) in named.iter().enumerate() {
                let region = (region[at], region[at + named.len()]);
                all[*axis].crop(region)?;
            }
        }
        Ok(all.into_iter().enumerate().collect())
    }

    fn keep_aspect(&self, axes: &mut [AxisScale]) -> Result<(), OpError> {
        let scales = axes.iter().map(|axis| f64_of(axis.out) / f64_of(axis.size));
        let scale = match self.aspect {
            Aspect::Stretch => return Ok(()),
            Aspect::NotLarger => scales.fold(f64::INFINITY, f64::min),
            Aspect::NotSmaller => scales.fold(0.0, f64::max),
        };
        for axis in axes {
            axis.keep(scale)?;
        }
        Ok(())
    }
}

/// Outer, own and inner size of an axis.
fn split(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    let product = |sizes: &[usize]| sizes.iter().product();
    (product(&shape[..axis]), shape[axis], product(&shape[axis + 1..]))
}

/// Output of a pass, zeroed.
fn zeroed<T: Element>((outer, _, inner): (usize, usize, usize), out: usize) -> Vec<T> {
    vec![T::ZERO; outer * out * inner]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn layer(filter: Filter, transformation: Transformation) -> Resize {
        let (aspect, operands) = (Aspect::Stretch, [Some(1), Some(2), Some(3)]);
        let (axes, extrapolation, scales) = (None, 7.0, None);
        Resize { filter, transformation, aspect, axes, extrapolation, scales, operands }
    }

    fn run(layer: &Resize, operands: Vec<Option<Tensor>>) -> Result<Tensor, OpError> {
        let limits = Limits::default();
        let inputs = Inputs(operands.into_iter().map(|tensor| tensor.map(Value::from)).collect());
        layer.run(inputs, &mut Context::new(&limits, 0))?.remove(0).into_tensor()
    }

    #[test]
    fn nearest_was_simple_once() {
        let mut simple = layer(Filter::Nearest(Nearest::Simple), Transformation::Asymmetric);
        let input = Tensor::new([4], vec![1_u8, 2, 3, 4]);
        simple.scales = Some(vec![0.6]);
        let down = run(&simple, vec![Some(input.clone())]).unwrap();
        assert_eq!(down.as_slice::<u8>().unwrap(), [1, 3]);
        simple.scales = Some(vec![1.5]);
        let up = run(&simple, vec![Some(input)]).unwrap();
        assert_eq!(up.as_slice::<u8>().unwrap(), [1, 1, 2, 3, 3, 4]);
    }

    #[test]
    fn integers_are_rounded() {
        let filter = Filter::Linear { antialias: false, exclude: false };
        let input = Tensor::new([2], vec![0_u8, 255]);
        let sizes = Some(Tensor::new([1], vec![3_i64]));
        let out =
            run(&layer(filter, Transformation::AlignCorners), vec![Some(input), None, None, sizes]);
        assert_eq!(out.unwrap().as_slice::<u8>().unwrap(), [0, 128, 255]);
    }

    #[test]
    fn what_cannot_be_resized_is_refused() {
        let nearest = layer(Filter::Nearest(Nearest::Floor), Transformation::HalfPixel);
        let input =
            |shape: &[usize]| Some(Tensor::new(shape, vec![1.0_f32; shape.iter().product()]));
        let scales = |scale: f32| Some(Tensor::new([1], vec![scale]));
        let sizes = |size: i64| Some(Tensor::new([1], vec![size]));
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30] {
            assert!(run(&nearest, vec![input(&[3]), None, scales(scale)]).is_err(), "{scale}");
        }
        for size in [-1, i64::MAX] {
            assert!(run(&nearest, vec![input(&[3]), None, None, sizes(size)]).is_err(), "{size}");
        }
        assert!(run(&nearest, vec![input(&[0]), None, None, sizes(3)]).is_err());
        assert!(run(&nearest, vec![input(&[3])]).is_err());
        assert!(run(&nearest, vec![input(&[3]), None, scales(1.0), sizes(3)]).is_err());
        assert!(run(&nearest, vec![input(&[0]), None, scales(2.0)]).unwrap().is_empty());
    }
}
