//! Gather, GatherElements, GatherND: <https://onnx.ai/onnx/operators/onnx__Gather.html>
//!
//! An index may be counted from the end. One that is out of range is an error of the run.

use super::units::{Unit, claim_like, for_unit};
use super::view::row_major;
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::broadcast::for_rows;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

/// The place that an index names on an axis of this size.
pub(super) fn place_of(index: i64, size: usize) -> Result<usize, OpError> {
    let signed_size = i64::try_from(size).unwrap_or(i64::MAX);
    let place = if index < 0 { index.saturating_add(signed_size) } else { index };
    usize::try_from(place)
        .ok()
        .filter(|place| *place < size)
        .ok_or_else(|| OpError::shape(format!("index {index} is out of range for size {size}")))
}

/// Refuses what is no i32 or i64: narrower ones would grow too much as places.
fn require_index_type(indices: &Tensor) -> Result<(), OpError> {
    match indices.dtype() {
        DType::I32 | DType::I64 => Ok(()),
        found => Err(OpError::Type { expected: "i32 or i64", found }),
    }
}

/// The places that the elements of a tensor name on an axis of this size.
pub(super) fn places_of(indices: &Tensor, size: usize) -> Result<Vec<usize>, OpError> {
    require_index_type(indices)?;
    indices.to_i64s()?.into_iter().map(|index| place_of(index, size)).collect()
}

#[derive(Debug)]
struct Gather {
    axis: i64,
}

pub(super) fn gather(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Gather { axis: spec.int("axis", 0)? }))
}

impl Operator for Gather {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let axis = axis_of(self.axis, data.rank())?;
        let size = data.shape()[axis];
        let places = places_of(indices, size)?;
        let (outer, inner) = (&data.shape()[..axis], &data.shape()[axis + 1..]);
        let shape = [outer, indices.shape(), inner].concat();
        let elements = claim_like(context, data, &shape)?;
        if elements == 0 {
            return for_unit!(data.dtype(), T, {
                Ok(vec![T::tensor(data.dtype(), shape, Vec::<T>::new()).into()])
            });
        }
        let (outer, inner): (usize, usize) = (outer.iter().product(), inner.iter().product());
        for_unit!(data.dtype(), T, {
            let source = T::of(data)?;
            let mut out: Vec<T> = Vec::with_capacity(elements);
            for block in 0..outer {
                let block = &source[block * size * inner..(block + 1) * size * inner];
                if inner == 1 {
                    out.extend(places.iter().map(|place| &block[*place]).cloned());
                } else {
                    for place in &places {
                        out.extend_from_slice(&block[place * inner..(place + 1) * inner]);
                    }
                }
            }
            Ok(vec![T::tensor(data.dtype(), shape, out).into()])
        })
    }
}

#[derive(Debug)]
struct GatherElements {
    axis: i64,
}

pub(super) fn gather_elements(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(GatherElements { axis: spec.int("axis", 0)? }))
}

/// Where each element of `indices` points to in a tensor of this shape: along the axis by its value, else by its place.
pub(super) fn element_places(
    shape: &[usize],
    indices: &Tensor,
    axis: usize,
) -> Result<Vec<usize>, OpError> {
    let fits = indices.rank() == shape.len()
        && (0..shape.len()).all(|at| at == axis || indices.shape()[at] <= shape[at]);
    if !fits {
        return Err(OpError::shape(format!(
            "indices of shape {:?} do not fit data of shape {shape:?} along axis {axis}",
            indices.shape()
        )));
    }
    let mut places = places_of(indices, shape[axis])?;
    if places.is_empty() {
        return Ok(places);
    }
    // The data cannot be empty now: a place was found along the axis, and the other sizes are no smaller than those of the indices.
    let mut strides = row_major(shape);
    let step = std::mem::replace(&mut strides[axis], 0);
    let unused = vec![0; shape.len()];
    let last = if axis + 1 == shape.len() { 0 } else { 1 };
    let length = indices.shape()[shape.len() - 1];
    for_rows(indices.shape(), &strides, &unused, |row, base, _| {
        for (at, place) in places[row..row + length].iter_mut().enumerate() {
            *place = base + *place * step + at * last;
        }
    });
    Ok(places)
}

impl Operator for GatherElements {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let axis = axis_of(self.axis, data.rank())?;
        claim_like(context, data, indices.shape())?;
        let places = element_places(data.shape(), indices, axis)?;
        for_unit!(data.dtype(), T, {
            let source = T::of(data)?;
            let out: Vec<T> = places.iter().map(|place| &source[*place]).cloned().collect();
            Ok(vec![T::tensor(data.dtype(), indices.shape().to_vec(), out).into()])
        })
    }
}

#[derive(Debug)]
struct GatherNd {
    batch_axes: usize,
}

pub(super) fn gather_nd(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let axes = spec.int("batch_dims", 0)?;
    let batch_axes = usize::try_from(axes)
        .map_err(|_| BuildError::invalid(format!("{axes} batch axes are asked for")))?;
    Ok(Box::new(GatherNd { batch_axes }))
}

/// Blocks of a tensor that tuples of indices name.
pub(super) struct Blocks {
    /// Where each begins.
    pub(super) starts: Vec<usize>,
    /// How many elements each has.
    pub(super) length: usize,
    /// The shape of the tuples, then that of a block.
    pub(super) shape: Vec<usize>,
}

/// Reads the last axis of `indices` as tuples that name a block each, within the same place of the batch.
pub(super) fn blocks_of(
    shape: &[usize],
    indices: &Tensor,
    batch_axes: usize,
) -> Result<Blocks, OpError> {
    let wrong = || {
        OpError::shape(format!(
            "tuples of shape {:?} with {batch_axes} batch axes do not fit data of shape {shape:?}",
            indices.shape()
        ))
    };
    require_index_type(indices)?;
    let (width, outer) = indices.shape().split_last().ok_or_else(wrong)?;
    let (batch, rest) = shape.split_at_checked(batch_axes).ok_or_else(wrong)?;
    if outer.get(..batch_axes) != Some(batch) {
        return Err(wrong());
    }
    let (named, block) = rest.split_at_checked(*width).ok_or_else(wrong)?;
    let too_large = || OpError::shape("the sizes of an empty tensor are too large");
    let length = elements_of(block).ok_or_else(too_large)?;
    let full = [outer, block].concat();
    let tuples = elements_of(outer).ok_or_else(too_large)?;
    let mut starts = Vec::new();
    if *width == 0 {
        // Tuples without elements take no memory, so their number is bounded by nothing else.
        return Err(OpError::unsupported("tuples of no indices"));
    }
    if tuples > 0 {
        let strides = row_major(named);
        let batches: usize = batch.iter().product();
        let batch_length = elements_of(rest).ok_or_else(too_large)?;
        starts.reserve(tuples);
        for (at, tuple) in indices.to_i64s()?.chunks_exact(*width).enumerate() {
            let mut start = 0_usize;
            for ((index, size), stride) in tuple.iter().zip(named).zip(&strides) {
                // Past the end of what can be counted only where blocks are empty.
                start = place_of(*index, *size)?.wrapping_mul(*stride).wrapping_add(start);
            }
            let batch = at / (tuples / batches);
            starts.push(start.wrapping_mul(length).wrapping_add(batch * batch_length));
        }
    }
    Ok(Blocks { starts, length, shape: full })
}

impl Operator for GatherNd {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let blocks = blocks_of(data.shape(), indices, self.batch_axes)?;
        let elements = claim_like(context, data, &blocks.shape)?;
        for_unit!(data.dtype(), T, {
            let source = T::of(data)?;
            let mut out: Vec<T> = Vec::with_capacity(elements);
            if blocks.length > 0 {
                for start in blocks.starts {
                    out.extend_from_slice(&source[start..start + blocks.length]);
                }
            }
            Ok(vec![T::tensor(data.dtype(), blocks.shape, out).into()])
        })
    }
}
