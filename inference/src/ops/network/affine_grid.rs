//! AffineGrid: <https://onnx.ai/onnx/operators/onnx__AffineGrid.html>

use super::layout::advance;
use super::precision::{Real, f64_of, for_real, narrowed, widened};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct AffineGrid {
    align_corners: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(AffineGrid { align_corners: spec.flag("align_corners", false)? }))
}

impl Operator for AffineGrid {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (theta, dtype) = widened(inputs.take_tensor(0)?)?;
        let size = inputs.tensor(1)?.to_i64s()?;
        let out = for_real!(theta, T, { self.grid::<T>(&theta, &size, context)? });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}

impl AffineGrid {
    fn grid<T: Real>(
        &self,
        theta: &Tensor,
        size: &[i64],
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let wrong = || {
            OpError::shape(format!("theta of {:?} does not fit a size of {size:?}", theta.shape()))
        };
        let size: Option<Vec<usize>> =
            size.iter().map(|size| usize::try_from(*size).ok()).collect();
        let size = size.ok_or_else(wrong)?;
        let ([batch, _, spatial @ ..], [items, rows, columns]) = (size.as_slice(), theta.shape())
        else {
            return Err(wrong());
        };
        let axes = spatial.len();
        if !(2..=3).contains(&axes) || (*items, *rows, *columns) != (*batch, axes, axes + 1) {
            return Err(wrong());
        }
        let mut shape = vec![*batch];
        shape.extend_from_slice(spatial);
        shape.push(axes);
        let mut out = Vec::with_capacity(context.claim(&shape, size_of::<T>())?);
        if shape.contains(&0) {
            return Ok(Tensor::new(shape, out));
        }
        for theta in theta.as_slice::<T>()?.chunks_exact(axes * (axes + 1)) {
            let mut place = vec![0; axes];
            loop {
                for row in theta.chunks_exact(axes + 1) {
                    // The matrix names the innermost axis first.
                    let at =
                        place.iter().zip(spatial).map(|(at, size)| self.coordinate(*at, *size));
                    let products = row.iter().zip(at.rev()).map(|(factor, at)| *factor * T::of(at));
                    out.push(products.fold(row[axes], |sum, product| sum + product));
                }
                if !advance(&mut place, spatial) {
                    break;
                }
            }
        }
        Ok(Tensor::new(shape, out))
    }

    fn coordinate(&self, at: usize, size: usize) -> f64 {
        let (at, size) = (f64_of(at), f64_of(size));
        if !self.align_corners {
            (2.0 * at + 1.0) / size - 1.0
        } else if size > 1.0 {
            2.0 * at / (size - 1.0) - 1.0
        } else {
            // The specification divides by zero here; the only corner is the first.
            -1.0
        }
    }
}
