//! Scatter, ScatterElements, ScatterND, TensorScatter: <https://onnx.ai/onnx/operators/onnx__ScatterND.html>
//!
//! Where two updates hit one place, they are applied in order. An operand that nobody else holds is written in place.

use half::{bf16, f16};
use num_traits::{Float, WrappingAdd, WrappingMul};

use super::gather::{blocks_of, element_places};
use super::units::{Unit, for_unit, require_same_type, writable};
use super::view::row_major;
use crate::dtype::{Element, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

/// What an update does to the element in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduction {
    Replace,
    Add,
    Multiply,
    Largest,
    Smallest,
}

impl Reduction {
    fn read(spec: &NodeSpec<'_>) -> Result<Self, BuildError> {
        Ok(match spec.text("reduction", "none")? {
            "none" => Self::Replace,
            "add" => Self::Add,
            "mul" => Self::Multiply,
            "max" => Self::Largest,
            "min" => Self::Smallest,
            other => return Err(BuildError::invalid(format!("reduction {other:?}"))),
        })
    }

    fn of_float<T: Float>(self) -> fn(T, T) -> T {
        match self {
            Self::Replace => |_, new| new,
            Self::Add => |old, new| old + new,
            Self::Multiply => |old, new| old * new,
            Self::Largest => |old, new| if new > old || new.is_nan() { new } else { old },
            Self::Smallest => |old, new| if new < old || new.is_nan() { new } else { old },
        }
    }

    fn of_integer<T: Copy + Ord + WrappingAdd + WrappingMul>(self) -> fn(T, T) -> T {
        match self {
            Self::Replace => |_, new| new,
            Self::Add => |old, new| old.wrapping_add(&new),
            Self::Multiply => |old, new| old.wrapping_mul(&new),
            Self::Largest => |old, new| old.max(new),
            Self::Smallest => |old, new| old.min(new),
        }
    }

    /// Writes blocks of `length` updates to where they start.
    fn apply(
        self,
        data: Tensor,
        updates: &Tensor,
        starts: &[usize],
        length: usize,
    ) -> Result<Tensor, OpError> {
        require_same_type(&data, updates)?;
        if length == 0 || starts.is_empty() {
            return Ok(data);
        }
        let dtype = data.dtype();
        if self == Self::Replace {
            return for_unit!(dtype, T, {
                let mut data = writable::<T>(data)?;
                let out = T::of_mut(&mut data).unwrap_or_default();
                for (start, block) in starts.iter().zip(T::of(updates)?.chunks_exact(length)) {
                    out[*start..start + length].clone_from_slice(block);
                }
                Ok(data)
            });
        }
        for_dtype!(dtype, T in [f32, f64, f16, bf16], {
            return combined(data, updates, starts, length, self.of_float::<T>());
        }, else {});
        for_dtype!(dtype, T in [i64, i32, i16, i8, u64, u32, u16, u8], {
            combined(data, updates, starts, length, self.of_integer::<T>())
        }, else {
            Err(OpError::Type { expected: "a numeric type", found: dtype })
        })
    }
}

fn combined<T: Element>(
    data: Tensor,
    updates: &Tensor,
    starts: &[usize],
    length: usize,
    f: fn(T, T) -> T,
) -> Result<Tensor, OpError> {
    let shape = data.shape().to_vec();
    let mut out = data.into_vec::<T>()?;
    for (start, block) in starts.iter().zip(updates.as_slice::<T>()?.chunks_exact(length)) {
        for (place, update) in out[*start..start + length].iter_mut().zip(block) {
            *place = f(*place, *update);
        }
    }
    Ok(Tensor::new(shape, out))
}

#[derive(Debug)]
struct ScatterElements {
    axis: i64,
    reduction: Reduction,
}

pub(super) fn scatter_elements(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let reduction = Reduction::read(spec)?;
    Ok(Box::new(ScatterElements { axis: spec.int("axis", 0)?, reduction }))
}

impl Operator for ScatterElements {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.take_tensor(0)?;
        let (indices, updates) = (inputs.tensor(1)?, inputs.tensor(2)?);
        if indices.shape() != updates.shape() {
            return Err(OpError::shape(format!(
                "updates of shape {:?} for indices of shape {:?}",
                updates.shape(),
                indices.shape()
            )));
        }
        let axis = axis_of(self.axis, data.rank())?;
        let places = element_places(data.shape(), indices, axis)?;
        Ok(vec![self.reduction.apply(data, updates, &places, 1)?.into()])
    }
}

#[derive(Debug)]
struct ScatterNd(Reduction);

pub(super) fn scatter_nd(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(ScatterNd(Reduction::read(spec)?)))
}

impl Operator for ScatterNd {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.take_tensor(0)?;
        let (indices, updates) = (inputs.tensor(1)?, inputs.tensor(2)?);
        let blocks = blocks_of(data.shape(), indices, 0)?;
        if updates.shape() != blocks.shape {
            return Err(OpError::shape(format!(
                "updates of shape {:?} where {:?} is wanted",
                updates.shape(),
                blocks.shape
            )));
        }
        Ok(vec![self.0.apply(data, updates, &blocks.starts, blocks.length)?.into()])
    }
}

#[derive(Debug)]
struct TensorScatter {
    axis: i64,
    circular: bool,
}

pub(super) fn tensor_scatter(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let circular = match spec.text("mode", "linear")? {
        "linear" => false,
        "circular" => true,
        other => return Err(BuildError::invalid(format!("mode {other:?}"))),
    };
    Ok(Box::new(TensorScatter { axis: spec.int("axis", -2)?, circular }))
}

impl Operator for TensorScatter {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let cache = inputs.take_tensor(0)?;
        let (update, write_at) = (inputs.tensor(1)?, inputs.optional(2)?);
        let axis = axis_of(self.axis, cache.rank())?;
        let shape = cache.shape();
        let fits = axis > 0
            && update.rank() == shape.len()
            && update.shape()[axis] <= shape[axis]
            && (0..shape.len()).all(|at| at == axis || update.shape()[at] == shape[at]);
        if !fits {
            return Err(OpError::shape(format!(
                "an update of shape {:?} does not fit a cache of shape {shape:?} along axis {axis}",
                update.shape()
            )));
        }
        require_same_type(&cache, update)?;
        if update.is_empty() {
            return Ok(vec![cache.into()]);
        }
        let firsts = match write_at {
            Some(indices) => indices.to_i64s()?,
            None => vec![0; shape[0]],
        };
        if firsts.len() != shape[0] {
            return Err(OpError::shape(format!(
                "{} places to write at for a batch of {}",
                firsts.len(),
                shape[0]
            )));
        }
        let (size, steps, length) = (shape[axis], update.shape()[axis], row_major(shape)[axis]);
        let prefixes = elements_of(&shape[1..axis]).unwrap_or(0);
        let mut starts = Vec::with_capacity(firsts.len() * prefixes * steps);
        for (batch, first) in firsts.into_iter().enumerate() {
            let first = if self.circular {
                let signed_size = i64::try_from(size).unwrap_or(i64::MAX);
                first.rem_euclid(signed_size)
            } else {
                first
            };
            let first = usize::try_from(first)
                .ok()
                .filter(|first| self.circular || *first <= size - steps)
                .ok_or_else(|| {
                    OpError::shape(format!("{steps} rows at {first} leave a cache of {size}"))
                })?;
            for prefix in 0..prefixes {
                let block = (batch * prefixes + prefix) * size;
                starts.extend((0..steps).map(|step| (block + (first + step) % size) * length));
            }
        }
        Ok(vec![Reduction::Replace.apply(cache, update, &starts, length)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::super::gather::place_of;
    use super::*;

    #[test]
    fn repeated_places_are_combined_in_order() {
        let data = Tensor::new([3], vec![1.0_f32, 2.0, 3.0]);
        let updates = Tensor::new([2], vec![5.0_f32, 7.0]);
        let out = Reduction::Add.apply(data.clone(), &updates, &[1, 1], 1).unwrap();
        assert_eq!(out.as_slice::<f32>().unwrap(), [1.0, 14.0, 3.0]);
        let out = Reduction::Replace.apply(data.clone(), &updates, &[1, 1], 1).unwrap();
        assert_eq!(out.as_slice::<f32>().unwrap(), [1.0, 7.0, 3.0]);
        assert_eq!(data.as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0], "it is shared");
        let others = Tensor::new([2], vec![5_i32, 7]);
        assert!(Reduction::Add.apply(data, &others, &[1, 1], 1).is_err());
        assert!(place_of(3, 3).is_err() && place_of(-4, 3).is_err());
    }
}
