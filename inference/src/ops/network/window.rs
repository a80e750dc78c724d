//! Windows that slide over spatial axes: kernel, strides, dilations and padding, as pooling has them.
//!
//! Padding with `auto_pad` takes dilations into account. With `ceil_mode` a window that would begin behind the last element and its
//! padding is dropped, as other runtimes do.

use crate::error::OpError;
use crate::ops::{BuildError, NodeSpec};

/// Where padding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AutoPad {
    /// The attribute `pads`.
    Explicit,
    SameUpper,
    SameLower,
    Valid,
}

impl AutoPad {
    pub(super) fn of(spec: &NodeSpec<'_>) -> Result<Self, BuildError> {
        match spec.text("auto_pad", "NOTSET")? {
            "NOTSET" | "" => Ok(Self::Explicit),
            "SAME_UPPER" => Ok(Self::SameUpper),
            "SAME_LOWER" => Ok(Self::SameLower),
            "VALID" => Ok(Self::Valid),
            other => Err(BuildError::invalid(format!("auto_pad is {other:?}"))),
        }
    }
}

/// Sizes of an attribute, all at least `min`.
pub(super) fn sizes(
    spec: &NodeSpec<'_>,
    name: &str,
    min: usize,
) -> Result<Option<Vec<usize>>, BuildError> {
    let Some(values) = spec.ints_opt(name)? else { return Ok(None) };
    let size = |value: &i64| usize::try_from(*value).ok().filter(|size| *size >= min);
    let wrong = || BuildError::invalid(format!("{name} is {values:?}, {min} is the least"));
    values.iter().map(|value| size(value).ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
}

/// The attributes of a window.
#[derive(Debug)]
pub(super) struct Window {
    kernel: Vec<usize>,
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    auto_pad: AutoPad,
    ceil: bool,
}

/// A window along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowAxis {
    pub(super) size: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) begin: usize,
    pub(super) end: usize,
    /// Places of the window.
    pub(super) out: usize,
}

impl Window {
    pub(super) fn of(spec: &NodeSpec<'_>) -> Result<Self, BuildError> {
        let Some(kernel) = sizes(spec, "kernel_shape", 1)? else {
            return Err(BuildError::invalid("attribute \"kernel_shape\" is missing"));
        };
        let axes = kernel.len();
        let fits = |values: Option<Vec<usize>>, name: &str, wanted: usize| match values {
            Some(values) if !values.is_empty() && values.len() != wanted => Err(
                BuildError::invalid(format!("{name} has {} numbers for {axes} axes", values.len())),
            ),
            // Exporters write an empty list for "the default".
            values => Ok(values.filter(|values| !values.is_empty())),
        };
        if axes == 0 {
            return Err(BuildError::invalid("kernel_shape is empty"));
        }
        Ok(Self {
            strides: fits(sizes(spec, "strides", 1)?, "strides", axes)?,
            dilations: fits(sizes(spec, "dilations", 1)?, "dilations", axes)?,
            pads: fits(sizes(spec, "pads", 0)?, "pads", 2 * axes)?,
            kernel,
            auto_pad: AutoPad::of(spec)?,
            ceil: spec.flag("ceil_mode", false)?,
        })
    }

    /// The window over axes of these sizes.
    pub(super) fn over(&self, spatial: &[usize]) -> Result<Vec<WindowAxis>, OpError> {
        if spatial.len() != self.kernel.len() {
            return Err(OpError::shape(format!(
                "a kernel of shape {:?} does not fit spatial axes {spatial:?}",
                self.kernel
            )));
        }
        (0..spatial.len()).map(|axis| self.along(axis, spatial[axis])).collect()
    }

    fn along(&self, axis: usize, size: usize) -> Result<WindowAxis, OpError> {
        let of = |values: &Option<Vec<usize>>, at: usize, default| {
            values.as_ref().and_then(|values| values.get(at).copied()).unwrap_or(default)
        };
        let kernel = self.kernel[axis];
        let (stride, dilation) = (of(&self.strides, axis, 1), of(&self.dilations, axis, 1));
        let too_large = || OpError::shape("the window or its padding is too large");
        let span = (kernel - 1).checked_mul(dilation).and_then(|n| n.checked_add(1));
        let span = span.ok_or_else(too_large)?;
        let (begin, end, out) = match self.auto_pad {
            AutoPad::SameUpper | AutoPad::SameLower => {
                let out = size.div_ceil(stride);
                let covered = out.saturating_sub(1) * stride;
                let total = covered.checked_add(span).ok_or_else(too_large)?.saturating_sub(size);
                let less = total / 2;
                match self.auto_pad {
                    AutoPad::SameUpper => (less, total - less, out),
                    _ => (total - less, less, out),
                }
            }
            AutoPad::Valid => (0, 0, (size + 1).saturating_sub(span).div_ceil(stride)),
            AutoPad::Explicit => {
                let begin = of(&self.pads, axis, 0);
                let end = of(&self.pads, axis + self.kernel.len(), 0);
                let padded = size.checked_add(begin).and_then(|n| n.checked_add(end));
                let padded = padded.ok_or_else(too_large)?;
                let out = match padded.checked_sub(span) {
                    None => 0,
                    Some(room) if self.ceil => {
                        let out = room.div_ceil(stride) + 1;
                        if (out - 1).saturating_mul(stride) >= size + begin { out - 1 } else { out }
                    }
                    Some(room) => room / stride + 1,
                };
                (begin, end, out)
            }
        };
        if out == 0 && size > 0 {
            return Err(OpError::shape(format!(
                "a window of {span} does not fit {size} elements padded by {begin} and {end}"
            )));
        }
        // From here on places within the padded axis are computed unchecked.
        let last = out.saturating_sub(1).checked_mul(stride).and_then(|at| at.checked_add(span));
        if last.is_none_or(|last| i64::try_from(last).is_err()) {
            return Err(too_large());
        }
        Ok(WindowAxis { size, kernel, stride, dilation, begin, end, out })
    }
}

impl WindowAxis {
    /// The taps that lie on elements, not on padding, with the window at place `at`.
    pub(super) fn taps(self, at: usize) -> std::ops::Range<usize> {
        let from = at * self.stride;
        let first = self.begin.saturating_sub(from).div_ceil(self.dilation);
        let end = (self.begin + self.size).saturating_sub(from).div_ceil(self.dilation);
        first..end.min(self.kernel).max(first)
    }

    /// The element under a tap that [`taps`](Self::taps) gave.
    pub(super) const fn element(self, at: usize, tap: usize) -> usize {
        at * self.stride + tap * self.dilation - self.begin
    }

    /// How many elements are under the window at place `at`; those of the padding that was asked for count if `padding` is set.
    pub(super) fn count(self, at: usize, padding: bool) -> usize {
        if !padding {
            return self.taps(at).len();
        }
        let padded = self.begin + self.size + self.end;
        padded.saturating_sub(at * self.stride).div_ceil(self.dilation).min(self.kernel)
    }

    /// The length of the padded axis as far as windows see it.
    pub(super) const fn padded(self) -> usize {
        let seen = self.out.saturating_sub(1) * self.stride + (self.kernel - 1) * self.dilation + 1;
        if seen > self.begin + self.size { seen } else { self.begin + self.size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: WindowAxis =
        WindowAxis { size: 5, kernel: 3, stride: 2, dilation: 2, begin: 1, end: 3, out: 3 };

    #[test]
    fn taps_leave_padding_out() {
        let elements =
            |at: usize| -> Vec<usize> { AXIS.taps(at).map(|tap| AXIS.element(at, tap)).collect() };
        assert_eq!(elements(0), [1, 3]);
        assert_eq!(elements(1), [1, 3]);
        assert_eq!(elements(2), [3]);
        assert_eq!([0, 1, 2].map(|at| AXIS.count(at, false)), [2, 2, 1]);
        assert_eq!([0, 1, 2].map(|at| AXIS.count(at, true)), [3, 3, 3]);
        assert_eq!(AXIS.padded(), 9);
    }

    #[test]
    fn huge_windows_are_refused() {
        let window = |kernel: usize, pad: usize| Window {
            kernel: vec![kernel],
            strides: None,
            dilations: Some(vec![usize::MAX / 2]),
            pads: Some(vec![pad, pad]),
            auto_pad: AutoPad::Explicit,
            ceil: true,
        };
        assert!(window(4, 0).over(&[8]).is_err());
        assert!(window(1, usize::MAX / 2).over(&[8]).is_err());
        assert!(window(2, 0).over(&[8]).is_err());
        assert!(window(1, 0).over(&[8, 8]).is_err());
        assert_eq!(window(1, 0).over(&[8]).unwrap()[0].out, 8);
    }
}
