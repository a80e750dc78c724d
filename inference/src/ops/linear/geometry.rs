//! Where a convolution's window lies: strides, dilations, pads, and the output's size that follows.

use crate::error::OpError;
use crate::ops::{BuildError, NodeSpec};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AutoPad {
    NotSet,
    SameUpper,
    SameLower,
    Valid,
}

/// A convolution's attributes, as far as they say where the window lies.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    kernel: Option<Vec<usize>>,
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    auto_pad: AutoPad,
}

/// The window along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) size: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// In front.
    pub(super) pad: usize,
    pub(super) out: usize,
}

impl Axis {
    /// An axis of one element.
    pub(super) const UNIT: Self =
        Self { size: 1, kernel: 1, stride: 1, dilation: 1, pad: 0, out: 1 };
}

impl Geometry {
    pub(super) fn read(spec: &NodeSpec<'_>) -> Result<Self, BuildError> {
        let auto_pad = match spec.text("auto_pad", "NOTSET")? {
            "NOTSET" | "" => AutoPad::NotSet,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            other => return Err(BuildError::invalid(format!("auto_pad is {other:?}"))),
        };
        Ok(Self {
            kernel: sizes(spec, "kernel_shape", 1)?,
            strides: sizes(spec, "strides", 1)?,
            dilations: sizes(spec, "dilations", 1)?,
            pads: sizes(spec, "pads", 0)?,
            auto_pad,
        })
    }

    #[cfg(test)]
    pub(super) fn of(strides: Vec<usize>, dilations: Vec<usize>, pads: Vec<usize>) -> Self {
        let (strides, dilations, pads) = (Some(strides), Some(dilations), Some(pads));
        Self { kernel: None, strides, dilations, pads, auto_pad: AutoPad::NotSet }
    }

    /// The window along each axis. `kernel`: the weights' sizes along them.
    pub(super) fn axes(&self, sizes: &[usize], kernel: &[usize]) -> Result<Vec<Axis>, OpError> {
        if self.kernel.as_deref().is_some_and(|declared| declared != kernel) {
            let declared = &self.kernel;
            return Err(OpError::shape(format!(
                "the weights' windows are {kernel:?}, kernel_shape is {declared:?}"
            )));
        }
        let rank = sizes.len();
        for (name, values, wanted) in [
            ("strides", &self.strides, rank),
            ("dilations", &self.dilations, rank),
            ("pads", &self.pads, 2 * rank),
        ] {
            if let Some(found) = values.as_ref().map(Vec::len).filter(|found| *found != wanted) {
                return Err(OpError::shape(format!("{name} has {found} numbers, not {wanted}")));
            }
        }
        (0..rank).map(|at| self.axis(at, rank, sizes[at], kernel[at])).collect()
    }

    fn axis(&self, at: usize, rank: usize, size: usize, kernel: usize) -> Result<Axis, OpError> {
        let of = |values: &Option<Vec<usize>>, at: usize, default: usize| {
            values.as_ref().map_or(default, |values| values[at])
        };
        let (stride, dilation) = (of(&self.strides, at, 1), of(&self.dilations, at, 1));
        let too_large = || OpError::shape("a window is larger than can be counted");
        let before = kernel.checked_sub(1).ok_or_else(|| OpError::shape("a window is empty"))?;
        let span = before.checked_mul(dilation).and_then(|span| span.checked_add(1));
        let span = span.ok_or_else(too_large)?;
        let (pad, padded) = match self.auto_pad {
            AutoPad::Valid => (0, size),
            AutoPad::NotSet => {
                let (front, behind) = (of(&self.pads, at, 0), of(&self.pads, at + rank, 0));
                let padded = size.checked_add(front).and_then(|sum| sum.checked_add(behind));
                (front, padded.ok_or_else(too_large)?)
            }
            AutoPad::SameUpper | AutoPad::SameLower => {
                let out = size.div_ceil(stride);
                let last = out.saturating_sub(1).checked_mul(stride);
                let needed = last.and_then(|last| last.checked_add(span)).ok_or_else(too_large)?;
                let total = needed.saturating_sub(size);
                let less = total / 2;
                let front = if self.auto_pad == AutoPad::SameUpper { less } else { total - less };
                (front, needed.max(size))
            }
        };
        let out = match self.auto_pad {
            AutoPad::SameUpper | AutoPad::SameLower => size.div_ceil(stride),
            _ => padded.checked_sub(span).map_or(0, |free| free / stride + 1),
        };
        Ok(Axis { size, kernel, stride, dilation, pad, out })
    }
}

fn sizes(spec: &NodeSpec<'_>, name: &str, least: usize) -> Result<Option<Vec<usize>>, BuildError> {
    let Some(values) = spec.ints_opt(name)? else { return Ok(None) };
    let size = |value: &i64| {
        usize::try_from(*value)
            .ok()
            .filter(|size| *size >= least && *size <= usize::MAX / 4)
            .ok_or_else(|| {
                BuildError::invalid(format!("{name} has {value}, at least {least} is wanted"))
            })
    };
    values.iter().map(size).collect::<Result<_, _>>().map(Some)
}
