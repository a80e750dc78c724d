//! MaxPool, AveragePool, LpPool: <https://onnx.ai/onnx/operators/onnx__MaxPool.html>
//!
//! A window that begins within the padding that `ceil_mode` adds at the end sees only what is there. Elements of a padded axis are never
//! the largest; NaN is.

use super::layout::{Layout, advance, strides_of};
use super::planes::for_chunks;
use super::pooling::{Average, Largest, Norm, Ordered, Pooling, counts, pool_plane};
use super::precision::{for_real, narrowed, widened};
use super::window::{Window, WindowAxis};
use crate::dtype::{DType, Element, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Max { indices: bool, column_major: bool },
    Average { padding: bool },
    Norm { p: f64 },
}

#[derive(Debug)]
struct Pool {
    kind: Kind,
    window: Window,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let kind = match spec.op() {
        "MaxPool" => Kind::Max {
            indices: spec.wants_output(1),
            column_major: spec.flag("storage_order", false)?,
        },
        "AveragePool" => Kind::Average { padding: spec.flag("count_include_pad", false)? },
        _ => Kind::Norm { p: order(spec)? },
    };
    Ok(Box::new(Pool { kind, window: Window::of(spec)? }))
}

/// The order of an Lp norm over many elements.
pub(super) fn order(spec: &NodeSpec<'_>) -> Result<f64, BuildError> {
    // It was a float in the first version.
    let p = if spec.version() < 2 {
        f64::from(spec.float("p", 2.0)?)
    } else {
        i32::try_from(spec.int("p", 2)?).map_or(f64::NAN, f64::from)
    };
    if p >= 1.0 { Ok(p) } else { Err(BuildError::invalid("p should be at least 1")) }
}

impl Operator for Pool {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let input = inputs.take_tensor(0)?;
        if let Kind::Max { indices, column_major } = self.kind {
            for_dtype!(input.dtype(), T in [i8, u8], {
                return self.largest::<T>(&input, input.dtype(), (indices, column_major), context);
            }, else {});
            let (input, dtype) = widened(input)?;
            return for_real!(input, T, {
                self.largest::<T>(&input, dtype, (indices, column_major), context)
            });
        }
        let (input, dtype) = widened(input)?;
        let out = for_real!(input, T, {
            match self.kind {
                Kind::Norm { p } => {
                    self.pooled::<T, _>(&Norm(p), &input, |_| Vec::new(), context)?
                }
                Kind::Average { padding } => {
                    self.pooled::<T, _>(&Average, &input, |last| counts(last, padding), context)?
                }
                Kind::Max { .. } => {
                    self.pooled::<T, _>(&Largest, &input, |_| Vec::new(), context)?
                }
            }
        });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}

impl Pool {
    fn largest<T: Ordered>(
        &self,
        input: &Tensor,
        dtype: DType,
        (indices, column_major): (bool, bool),
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OpError> {
        let back = |tensor: Tensor| match tensor.dtype() {
            DType::I8 | DType::U8 => Ok(tensor),
            _ => narrowed(tensor, dtype),
        };
        if !indices {
            let out = self.pooled::<T, _>(&Largest, input, |_| Vec::new(), context)?;
            return Ok(vec![back(out)?.into()]);
        }
        let layout = Layout::of(input.shape(), 1)?;
        let axes = self.window.over(layout.spatial)?;
        let shape = layout.with(axes.iter().map(|axis| axis.out));
        let len = context.claim(&shape, size_of::<i64>())?;
        let (mut values, mut places) = (Vec::with_capacity(len), Vec::with_capacity(len));
        let strides = if column_major {
            let reversed: Vec<usize> = layout.spatial.iter().rev().copied().collect();
            let mut strides = strides_of(&reversed);
            strides.reverse();
            strides
        } else {
            strides_of(layout.spatial)
        };
        if len > 0 {
            let plane = layout.plane();
            let elements = input.as_slice::<T>()?;
            for number in 0..layout.planes() {
                let elements = &elements[number * plane..][..plane];
                for_largest(elements, &axes, &strides, |value, at| {
                    values.push(value);
                    let at = at.map(|at| number * plane + at).and_then(|at| i64::try_from(at).ok());
                    places.push(at.unwrap_or(-1));
                });
            }
        }
        let values = back(Tensor::new(shape.clone(), values))?;
        Ok(vec![values.into(), Tensor::new(shape, places).into()])
    }

    fn pooled<T: Element, P: Pooling<T>>(
        &self,
        pooling: &P,
        input: &Tensor,
        last_counts: impl Fn(WindowAxis) -> Vec<T>,
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let layout = Layout::of(input.shape(), 1)?;
        let axes = self.window.over(layout.spatial)?;
        let shape = layout.with(axes.iter().map(|axis| axis.out));
        let len = context.claim(&shape, size_of::<T>())?;
        let mut out = vec![T::ZERO; len];
        let Some(last) = axes.last() else { return Ok(Tensor::new(shape, out)) };
        if len == 0 {
            return Ok(Tensor::new(shape, out));
        }
        let padded = context.claim(&[last.padded()], size_of::<T>())?;
        let counts = last_counts(*last);
        let padding = matches!(self.kind, Kind::Average { padding: true });
        let (plane, elements) = (layout.plane(), input.as_slice::<T>()?);
        for_chunks(&mut out, len / layout.planes(), |number, out| {
            let input = &elements[number * plane..][..plane];
            let mut joined = vec![T::ZERO; padded];
            pool_plane(pooling, input, out, (&axes, padding), (&counts, &mut joined));
        });
        Ok(Tensor::new(shape, out))
    }
}

/// Calls `found` with the largest element under each window and its place by `strides`; no place if the window lies on padding.
fn for_largest<T: Ordered>(
    elements: &[T],
    axes: &[WindowAxis],
    strides: &[usize],
    mut found: impl FnMut(T, Option<usize>),
) {
    let sizes: Vec<usize> = axes.iter().map(|axis| axis.size).collect();
    let (places, in_memory) =
        (axes.iter().map(|axis| axis.out).collect::<Vec<_>>(), strides_of(&sizes));
    let mut place = vec![0; axes.len()];
    loop {
        let ranges: Vec<_> = axes.iter().zip(&place).map(|(axis, at)| axis.taps(*at)).collect();
        let taps: Vec<usize> = ranges.iter().map(ExactSizeIterator::len).collect();
        let mut best: Option<(T, usize)> = None;
        if !taps.contains(&0) {
            let mut tap = vec![0; axes.len()];
            loop {
                let (mut at, mut named) = (0, 0);
                for (number, axis) in axes.iter().enumerate() {
                    let element = axis.element(place[number], ranges[number].start + tap[number]);
                    at += element * in_memory[number];
                    named += element * strides[number];
                }
                let value = elements[at];
                // Among equal ones the first is named.
                let larger = best.is_none_or(|(best, _)| {
                    best.partial_cmp(&best).is_some()
                        && value.partial_cmp(&best).is_none_or(std::cmp::Ordering::is_gt)
                });
                if larger {
                    best = Some((value, named));
                }
                if !advance(&mut tap, &taps) {
                    break;
                }
            }
        }
        match best {
            Some((value, at)) => found(value, Some(at)),
            None => found(T::LEAST, None),
        }
        if !advance(&mut place, &places) {
            return;
        }
    }
}
