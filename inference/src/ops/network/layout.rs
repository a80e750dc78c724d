//! The layout of images and signals: a batch axis, a channel axis, then spatial axes.

use crate::error::OpError;

/// Sizes of `[batch, channels, spatial...]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<'a> {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) spatial: &'a [usize],
}

impl<'a> Layout<'a> {
    /// Of a shape with at least `spatial_min` spatial axes.
    pub(super) fn of(shape: &'a [usize], spatial_min: usize) -> Result<Self, OpError> {
        match shape {
            [batch, channels, spatial @ ..] if spatial.len() >= spatial_min => {
                Ok(Self { batch: *batch, channels: *channels, spatial })
            }
            _ => Err(OpError::shape(format!(
                "{shape:?} should be batch, channels and at least {spatial_min} spatial axes"
            ))),
        }
    }

    /// Elements of one channel of one item. The shape is that of a tensor, so this does not overflow but where the tensor is empty.
    pub(super) fn plane(&self) -> usize {
        crate::tensor::elements_of(self.spatial).unwrap_or(0)
    }

    /// Channels of all items.
    pub(super) const fn planes(&self) -> usize {
        self.batch.saturating_mul(self.channels)
    }

    /// The same with other spatial sizes, as a shape.
    pub(super) fn with(&self, spatial: impl IntoIterator<Item = usize>) -> Vec<usize> {
        [self.batch, self.channels].into_iter().chain(spatial).collect()
    }
}

/// Steps a row-major index; `false` when it is back at the beginning.
pub(super) fn advance(index: &mut [usize], shape: &[usize]) -> bool {
    for (at, size) in index.iter_mut().zip(shape).rev() {
        *at += 1;
        if *at < *size {
            return true;
        }
        *at = 0;
    }
    false
}

/// How far neighbours along each axis lie apart.
pub(super) fn strides_of(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}
