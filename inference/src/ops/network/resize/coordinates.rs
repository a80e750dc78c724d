//! Where a place of the output lies along an axis of the input.

use num_traits::Float;

use crate::error::OpError;
use crate::ops::BuildError;
use crate::ops::network::precision::f64_of;

/// The attribute `coordinate_transformation_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transformation {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    /// `tf_half_pixel_for_nn`, in opset 11 only.
    HalfPixelCentres,
    /// `tf_crop_and_resize`
    Crop,
}

impl Transformation {
    pub(super) fn of(name: &str) -> Result<Self, BuildError> {
        match name {
            "half_pixel" => Ok(Self::HalfPixel),
            "half_pixel_symmetric" => Ok(Self::HalfPixelSymmetric),
            "pytorch_half_pixel" => Ok(Self::PytorchHalfPixel),
            "align_corners" => Ok(Self::AlignCorners),
            "asymmetric" => Ok(Self::Asymmetric),
            "tf_half_pixel_for_nn" => Ok(Self::HalfPixelCentres),
            "tf_crop_and_resize" => Ok(Self::Crop),
            other => {
                Err(BuildError::invalid(format!("coordinate_transformation_mode is {other:?}")))
            }
        }
    }
}

/// How one axis is scaled.
#[derive(Clone, Copy, Debug)]
pub(super) struct AxisScale {
    pub(super) size: usize,
    pub(super) out: usize,
    pub(super) scale: f64,
    /// The output's length before it was made whole.
    width: f64,
    /// The scale came as an f32. Places are then computed in f32, so that a third of three is one, as other runtimes have it.
    single: bool,
    region: (f64, f64),
}

impl AxisScale {
    /// An axis that is left alone.
    pub(super) fn same(size: usize) -> Self {
        let width = f64_of(size);
        Self { size, out: size, scale: 1.0, width, single: false, region: (0.0, 1.0) }
    }

    /// By a factor.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "f32 is what the output's size is defined in; a cast saturates, and a size that large is refused"
    )]
    pub(super) fn by(size: usize, scale: f32) -> Result<Self, OpError> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(OpError::shape(format!("a scale is {scale}")));
        }
        let width = f64_of(size) * f64::from(scale);
        let out = (size as f32 * scale).floor() as usize;
        let scale = f64::from(scale);
        Ok(Self { size, out, scale, width, single: true, region: (0.0, 1.0) })
    }

    /// To a size.
    pub(super) fn to(size: usize, out: i64) -> Result<Self, OpError> {
        let out = usize::try_from(out).map_err(|_| OpError::shape(format!("a size is {out}")))?;
        if size == 0 && out > 0 {
            return Err(OpError::shape(format!("an axis of size 0 cannot become {out}")));
        }
        let scale = if size == 0 { 1.0 } else { f64_of(out) / f64_of(size) };
        Ok(Self { size, out, scale, width: f64_of(out), single: false, region: (0.0, 1.0) })
    }

    /// By a factor that keeps the aspect ratio.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates, and a size that large is refused"
    )]
    pub(super) fn keep(&mut self, scale: f64) -> Result<(), OpError> {
        if !scale.is_finite() {
            return Err(OpError::shape("an axis of size 0 has no aspect ratio"));
        }
        self.scale = scale;
        self.width = scale * f64_of(self.size);
        self.out = (self.width + 0.5).floor() as usize;
        Ok(())
    }

    /// Restricts the input to a region, given as fractions of the axis.
    pub(super) fn crop(&mut self, (start, end): (f32, f32)) -> Result<(), OpError> {
        if !(start.is_finite() && end.is_finite()) {
            return Err(OpError::shape(format!("a region is {start} to {end}")));
        }
        let region = (f64::from(start), f64::from(end));
        if self.single && (region.1 - region.0 - 1.0).abs() > 1e-6 {
            return Err(OpError::unsupported("scales with a region that is cropped"));
        }
        self.region = region;
        Ok(())
    }

    /// Where a place lies in the input. `None`: outside of it, where the transformation asks for another value.
    pub(super) fn original(&self, place: usize, by: Transformation, coarse: bool) -> Option<f64> {
        let at = if self.single && coarse {
            f64::from(self.transform::<f32>(place, by)?)
        } else {
            self.transform::<f64>(place, by)?
        };
        let inside = by != Transformation::Crop || (at >= 0.0 && at <= f64_of(self.size) - 1.0);
        inside.then_some(at)
    }

    fn transform<F: Float>(&self, place: usize, by: Transformation) -> Option<F> {
        let of = |value: f64| num_traits::cast::<f64, F>(value);
        let (x, half, one) = (of(f64_of(place))?, of(0.5)?, F::one());
        let (scale, width) = (of(self.scale)?, of(self.width)?);
        let last = of(f64_of(self.size) - 1.0)?;
        Some(match by {
            Transformation::HalfPixelSymmetric => {
                let adjustment = of(f64_of(self.out))? / width;
                let centre = of(f64_of(self.size))? * half;
                centre * (one - adjustment) + (x + half) / scale - half
            }
            Transformation::PytorchHalfPixel | Transformation::AlignCorners if self.out <= 1 => {
                F::zero()
            }
            Transformation::HalfPixel | Transformation::PytorchHalfPixel => {
                (x + half) / scale - half
            }
            Transformation::AlignCorners => x * last / (width - one),
            Transformation::Asymmetric => x / scale,
            Transformation::HalfPixelCentres => (x + half) / scale,
            Transformation::Crop => {
                let (start, end) = (of(self.region.0)?, of(self.region.1)?);
                if self.out <= 1 {
                    half * (start + end) * last
                } else {
                    start * last + x * (end - start) * last / (width - one)
                }
            }
        })
    }
}
