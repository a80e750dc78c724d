//! Windows that slide over the spatial axes: what Conv, `ConvTranspose` and the pools say of them alike.

use burn::backend::Dispatch;
use burn::backend::DispatchTensor;
use burn::backend::ops::{FloatTensorOps, PadMode};

use crate::error::OpError;
use crate::ops::NodeSpec;
use crate::run::Context;

/// How the edges are padded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pads {
    /// In front of and behind each axis.
    Given(Vec<(usize, usize)>),
    /// So that the output has the input's size divided by the stride; what is odd goes behind (`upper`) or in front.
    Same { upper: bool },
}

/// Attributes of a window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Its sizes, unless those of the weights are meant.
    pub(super) kernel: Option<Vec<usize>>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pub(super) pads: Pads,
    pub(super) ceil: bool,
}

/// A window over axes of known sizes.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) kernel: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) dilations: Vec<usize>,
    /// As declared.
    pub(super) pads: Vec<(usize, usize)>,
    /// As needed: so that windows that are not rounded up give the output's sizes.
    pub(super) needed: Vec<(usize, usize)>,
    pub(super) out: Vec<usize>,
    /// Windows that are not rounded up give the same sizes with the declared pads.
    pub(super) exact: bool,
}

fn sizes(values: Option<&[i64]>) -> Option<Vec<usize>> {
    values.unwrap_or_default().iter().map(|value| usize::try_from(*value).ok()).collect()
}

impl Window {
    pub(super) fn read(spec: &NodeSpec<'_>) -> Option<Self> {
        let pads = sizes(spec.ints_opt("pads").ok()?)?;
        let (front, behind) = pads.split_at(pads.len() / 2);
        let given = front.iter().copied().zip(behind.iter().copied()).collect();
        let pads = match spec.text("auto_pad", "NOTSET").ok()? {
            "NOTSET" | "" if front.len() == behind.len() => Pads::Given(given),
            "VALID" => Pads::Given(Vec::new()),
            "SAME_UPPER" => Pads::Same { upper: true },
            "SAME_LOWER" => Pads::Same { upper: false },
            _ => return None,
        };
        let kernel = sizes(spec.ints_opt("kernel_shape").ok()?)?;
        let (strides, dilations) =
            (sizes(spec.ints_opt("strides").ok()?)?, sizes(spec.ints_opt("dilations").ok()?)?);
        let positive = |values: &[usize]| values.iter().all(|value| *value > 0);
        let valid = positive(&kernel) && positive(&strides) && positive(&dilations);
        let ceil = spec.flag("ceil_mode", false).ok()?;
        let kernel = Some(kernel).filter(|kernel| !kernel.is_empty());
        valid.then_some(Self { kernel, strides, dilations, pads, ceil })
    }

    /// Strides and dilations for so many axes. `None`: they are for another number.
    pub(super) fn steps(&self, axes: usize) -> Option<(Vec<usize>, Vec<usize>)> {
        let fill = |values: &Vec<usize>| match values.len() {
            0 => Some(vec![1; axes]),
            count => (count == axes).then(|| values.clone()),
        };
        Some((fill(&self.strides)?, fill(&self.dilations)?))
    }

    /// Lays the window over axes of these sizes. `None`: it does not fit, which the host says better.
    pub(super) fn place(&self, input: &[usize], kernel: &[usize]) -> Option<Placed> {
        let axes = input.len();
        let (strides, dilations) = self.steps(axes)?;
        if kernel.len() != axes {
            return None;
        }
        let mut placed = Placed {
            kernel: kernel.to_vec(),
            strides,
            dilations,
            pads: Vec::new(),
            needed: Vec::new(),
            out: Vec::new(),
            exact: true,
        };
        for (axis, size) in input.iter().enumerate() {
            let stride = placed.strides[axis];
            let extent = (kernel[axis].checked_sub(1)?)
                .checked_mul(placed.dilations[axis])?
                .checked_add(1)?;
            let (pads, out) = self.along(axis, axes, *size, extent, stride)?;
            // What the windows reach, less what is there in front of the padding behind.
            let reach = (out.checked_sub(1)?).checked_mul(stride)?.checked_add(extent)?;
            let needed = (pads.0, reach.saturating_sub(size.checked_add(pads.0)?));
            let rest = size.checked_add(pads.0)?.checked_add(pads.1)?.checked_sub(extent);
            placed.exact &= rest.is_some_and(|rest| rest / stride + 1 == out);
            placed.pads.push(pads);
            placed.needed.push(needed);
            placed.out.push(out);
        }
        Some(placed)
    }

    fn along(
        &self,
        axis: usize,
        axes: usize,
        size: usize,
        extent: usize,
        stride: usize,
    ) -> Option<((usize, usize), usize)> {
        let pads = match &self.pads {
            Pads::Same { upper } => {
                let out = size.div_ceil(stride);
                let reach = (out.checked_sub(1)?).checked_mul(stride)?.checked_add(extent)?;
                let total = reach.saturating_sub(size);
                let (less, more) = (total / 2, total - total / 2);
                return Some((if *upper { (less, more) } else { (more, less) }, out));
            }
            Pads::Given(pads) if pads.is_empty() => (0, 0),
            Pads::Given(pads) if pads.len() == axes => pads[axis],
            Pads::Given(_) => return None,
        };
        let padded = size.checked_add(pads.0)?.checked_add(pads.1)?;
        let rest = padded.checked_sub(extent)?;
        let mut out = if self.ceil { rest.div_ceil(stride) } else { rest / stride } + 1;
        // A window that would begin in the padding behind does not count.
        if self.ceil && (out - 1).checked_mul(stride)? >= size.checked_add(pads.0)? {
            out -= 1;
        }
        Some((pads, out))
    }
}

impl Placed {
    /// Refuses windows and pads that are larger than what a run may make, as kernels of burn's add them up.
    pub(super) fn claim(
        &self,
        batch_and_channels: [usize; 2],
        input: &[usize],
        context: &Context<'_>,
    ) -> Result<(), OpError> {
        let mut padded = batch_and_channels.to_vec();
        for (axis, size) in input.iter().enumerate() {
            let pads = [self.pads.get(axis), self.needed.get(axis)];
            let most = pads.into_iter().flatten().map(|pads| pads.0.saturating_add(pads.1)).max();
            padded.push(size.saturating_add(most.unwrap_or(0)));
        }
        context.claim(&padded, 8)?;
        context.claim(&self.kernel, 8)?;
        Ok(())
    }
}

/// Pads the axes behind the first two.
pub(super) fn padded(x: DispatchTensor, pads: &[(usize, usize)], value: f32) -> DispatchTensor {
    if pads.iter().all(|pads| *pads == (0, 0)) {
        return x;
    }
    let mut all = vec![(0, 0); 2];
    all.extend(pads);
    Dispatch::float_pad(x, &all, PadMode::Constant(value))
}

/// The pads if they are the same in front and behind.
pub(super) fn symmetric<const N: usize>(pads: &[(usize, usize)]) -> Option<[usize; N]> {
    let even = pads.iter().all(|(front, behind)| front == behind);
    let fronts: Vec<usize> = pads.iter().map(|(front, _)| *front).collect();
    if even { fronts.try_into().ok() } else { None }
}
