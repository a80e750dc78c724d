//! Resize and Upsample of images where burn computes the same: by whole factors with the nearest place, and linearly.

use burn::backend::Dispatch;
use burn::backend::ops::{InterpolateMode, InterpolateOptions, ModuleOps};

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::operands::Operands;
use super::tensor::DeviceTensor;
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::NodeSpec;
use crate::tensor::Shape;

pub(super) const FAMILY: &[(&str, BuildForm)] = &[("Resize", resize), ("Upsample", upsample)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Each element repeated.
    Repeat,
    /// Between the four nearest.
    Linear { align_corners: bool },
}

fn resize(spec: &NodeSpec<'_>) -> Option<Form> {
    let places = spec.text("coordinate_transformation_mode", "half_pixel").ok()?;
    let rounding = spec.text("nearest_mode", "round_prefer_floor").ok()?;
    let mode = match (spec.text("mode", "nearest").ok()?, places) {
        ("nearest", "half_pixel") if rounding.starts_with("round_prefer") => Mode::Repeat,
        ("nearest", "asymmetric") if rounding == "floor" => Mode::Repeat,
        ("linear", "half_pixel") => Mode::Linear { align_corners: false },
        ("linear", "align_corners") => Mode::Linear { align_corners: true },
        _ => return None,
    };
    let plain = !spec.flag("antialias", false).ok()?
        && !spec.has("axes")
        && spec.text("keep_aspect_ratio_policy", "stretch").ok()? == "stretch";
    if spec.version() < 11 || !plain {
        return None;
    }
    Some(resizing(mode, |operands| {
        let scales = operands.host(2)?.map(|scales| scales.to_f32s()).transpose()?;
        let sizes = operands.host_i64s(3)?;
        let shape = operands.shape(0).unwrap_or_default();
        Ok(match (scales.filter(|scales| !scales.is_empty()), sizes) {
            (Some(scales), None) => scaled(shape, &scales),
            (None, Some(sizes)) => sizes.iter().map(|size| usize::try_from(*size).ok()).collect(),
            _ => None,
        })
    }))
}

fn upsample(spec: &NodeSpec<'_>) -> Option<Form> {
    let declared = spec.floats_opt("scales").ok()?.map(<[f32]>::to_vec);
    if spec.text("mode", "nearest").ok()? != "nearest" {
        return None;
    }
    Some(resizing(Mode::Repeat, move |operands| {
        let scales = match &declared {
            Some(scales) => Some(scales.clone()),
            None => operands.host(1)?.map(|scales| scales.to_f32s()).transpose()?,
        };
        let shape = operands.shape(0).unwrap_or_default();
        Ok(scales.and_then(|scales| scaled(shape, &scales)))
    }))
}

/// The sizes after scaling, where that is exact.
fn scaled(shape: &[usize], scales: &[f32]) -> Option<Shape> {
    if scales.len() != shape.len() {
        return None;
    }
    let size = |(size, scale): (&usize, &f32)| {
        let exact = f64::from(u32::try_from(*size).ok()?) * f64::from(*scale);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        let whole =
            (exact.fract().eq(&0.0) && (1.0..1e9).contains(&exact)).then_some(exact as usize);
        whole
    };
    shape.iter().zip(scales).map(size).collect()
}

fn resizing(
    mode: Mode,
    sizes: impl Fn(&mut Operands<'_>) -> Result<Option<Shape>, OpError> + Send + Sync + 'static,
) -> Form {
    Form::new(move |operands, context| {
        let Some(dtype) = operands.floats(0..1).filter(|dtype| *dtype != DType::Bf16) else {
            return NOT_COVERED;
        };
        let Some(out) = sizes(operands)? else { return NOT_COVERED };
        let (&[batch, channels, height, width], &[same, alike, rows, columns]) =
            (operands.shape(0).unwrap_or_default(), &out[..])
        else {
            return NOT_COVERED;
        };
        let whole = rows % height == 0 && columns % width == 0;
        let covered = mode != Mode::Repeat || whole;
        if (batch, channels) != (same, alike) || rows == 0 || columns == 0 || !covered {
            return NOT_COVERED;
        }
        context.claim(&out, dtype.bytes())?;
        let x = operands.take(0)?;
        one(match mode {
            Mode::Repeat => x
                .reshape(&[batch, channels, height, 1, width, 1])
                .expand(&[batch, channels, height, rows / height, width, columns / width])
                .reshape(&out),
            Mode::Linear { align_corners } => {
                let options = InterpolateOptions::new(InterpolateMode::Bilinear)
                    .with_align_corners(align_corners);
                let result = Dispatch::interpolate(x.into_primitive(), [rows, columns], options);
                DeviceTensor::shaped(result, &out, dtype)
            }
        })
    })
}
