//! How a kernel slides over an image: the attributes that convolutions share.

use crate::error::OpError;
use crate::ops::{BuildError, NodeSpec};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    Explicit,
    SameUpper,
    SameLower,
    Valid,
}

/// The attributes. Empty lists stand for their defaults.
#[derive(Debug)]
pub(super) struct Window {
    padding: Padding,
    kernel: Vec<usize>,
    pads: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pub(super) groups: usize,
}

/// Larger strides, pads or dilations are no model's, and smaller ones cannot overflow.
const SIZE_MAX: usize = 1 << 31;

fn sizes(spec: &NodeSpec<'_>, name: &str, least: usize) -> Result<Vec<usize>, BuildError> {
    let given = spec.ints_opt(name)?.unwrap_or_default();
    given
        .iter()
        .map(|size| usize::try_from(*size).ok().filter(|size| (least..=SIZE_MAX).contains(size)))
        .collect::<Option<_>>()
        .ok_or_else(|| {
            BuildError::invalid(format!("attribute {name:?} is {given:?}, the least is {least}"))
        })
}

impl Window {
    pub(super) fn of(spec: &NodeSpec<'_>) -> Result<Self, BuildError> {
        let padding = match spec.text("auto_pad", "NOTSET")? {
            "NOTSET" => Padding::Explicit,
            "SAME_UPPER" => Padding::SameUpper,
            "SAME_LOWER" => Padding::SameLower,
            "VALID" => Padding::Valid,
            other => {
                return Err(BuildError::invalid(format!("attribute \"auto_pad\" is {other:?}")));
            }
        };
        let groups = spec.int("group", 1)?;
        Ok(Self {
            padding,
            kernel: sizes(spec, "kernel_shape", 1)?,
            pads: sizes(spec, "pads", 0)?,
            strides: sizes(spec, "strides", 1)?,
            dilations: sizes(spec, "dilations", 1)?,
            groups: usize::try_from(groups)
                .ok()
                .filter(|groups| *groups > 0)
                .ok_or_else(|| BuildError::invalid(format!("attribute \"group\" is {groups}")))?,
        })
    }

    /// How the kernel slides along each axis of an image.
    pub(super) fn slides(&self, image: &[usize], kernel: &[usize]) -> Result<Vec<Slide>, OpError> {
        let rank = image.len();
        let lengths_fit = [&self.strides, &self.dilations, &self.kernel]
            .iter()
            .all(|list| list.is_empty() || list.len() == rank)
            && (self.pads.is_empty() || self.pads.len() == 2 * rank);
        let kernel_fits = self.kernel.is_empty() || self.kernel == kernel;
        if !lengths_fit || !kernel_fits || kernel.contains(&0) {
            return Err(OpError::shape(format!(
                "a kernel of shape {kernel:?} on an image of shape {image:?} does not go with the attributes"
            )));
        }
        (0..rank).map(|axis| self.slide(axis, rank, image[axis], kernel[axis])).collect()
    }

    fn slide(
        &self,
        axis: usize,
        rank: usize,
        image: usize,
        kernel: usize,
    ) -> Result<Slide, OpError> {
        let at =
            |list: &[usize], place: usize, default| list.get(place).copied().unwrap_or(default);
        let stride = at(&self.strides, axis, 1);
        let dilation = at(&self.dilations, axis, 1);
        let too_large = || OpError::shape(format!("a kernel of {kernel} places is too large"));
        let reach = (kernel - 1).checked_mul(dilation).ok_or_else(too_large)?;
        let reach =
            reach.checked_add(1).filter(|reach| *reach <= usize::MAX / 4).ok_or_else(too_large)?;
        let same = image.div_ceil(stride);
        let needed = (same.saturating_sub(1) * stride + reach).saturating_sub(image);
        let (before, after) = match self.padding {
            Padding::Explicit => (at(&self.pads, axis, 0), at(&self.pads, rank + axis, 0)),
            Padding::Valid => (0, 0),
            Padding::SameUpper => (needed / 2, needed - needed / 2),
            Padding::SameLower => (needed - needed / 2, needed / 2),
        };
        let places = image.saturating_add(before).saturating_add(after).checked_sub(reach);
        let output = places.map(|places| places / stride + 1).ok_or_else(|| {
            OpError::shape(format!("a kernel that reaches over {reach} places on {image} of them"))
        })?;
        Ok(Slide { image, output, stride, dilation, before })
    }
}

/// How a kernel slides along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slide {
    pub(super) image: usize,
    pub(super) output: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

/// The outputs that one place of the kernel takes part in, and the place of the image that the first of them meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlap {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) image: usize,
    pub(super) stride: usize,
}

impl Slide {
    /// `None`: it only meets padding.
    pub(super) fn overlap(self, place: usize) -> Option<Overlap> {
        let offset = place * self.dilation;
        let first = self.before.saturating_sub(offset).div_ceil(self.stride);
        let image = (first * self.stride + offset).checked_sub(self.before)?;
        let end = (self.image + self.before).checked_sub(offset)?.div_ceil(self.stride);
        let count = end.min(self.output).checked_sub(first).filter(|count| *count > 0)?;
        Some(Overlap { first, count, image, stride: self.stride })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_stay_within_the_image() {
        for (image, stride, dilation, before, kernel) in
            [(5, 1, 1, 1, 3), (7, 3, 2, 4, 3), (2, 5, 1, 0, 1), (4, 1, 9, 9, 2)]
        {
            let reach = (kernel - 1) * dilation + 1;
            let Some(places) = (image + 2 * before_of(before)).checked_sub(reach) else { continue };
            let slide = Slide { image, output: places / stride + 1, stride, dilation, before };
            for place in 0..kernel {
                let met: Vec<usize> = (0..slide.output)
                    .filter(|at| {
                        (before..before + image).contains(&(at * stride + place * dilation))
                    })
                    .collect();
                let overlap = slide.overlap(place);
                let found = overlap.map_or(vec![], |o| (o.first..o.first + o.count).collect());
                assert_eq!(found, met, "{slide:?} {place}");
            }
        }
    }

    const fn before_of(before: usize) -> usize {
        before
    }
}
