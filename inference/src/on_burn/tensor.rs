//! A tensor in a device's memory, of any rank and type: burn's primitive with what it stands for.
//!
//! burn's tensors have at least one axis, so a scalar is one of a single element there.

use std::sync::Arc;

use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{Dispatch, DispatchTensor, ExecutionError, TensorMetadata};
use burn::tensor::{BoolDType, DType as BurnType, Shape as BurnShape, Slice, TensorData};
use burn::tensor::{Bytes as Storage, read_sync};

use super::target::Target;
use crate::dtype::DType;
use crate::error::OpError;
use crate::tensor::{Shape, Tensor, elements_of};

/// A tensor on a device. Cloning shares.
#[derive(Clone, Debug)]
pub(crate) struct DeviceTensor {
    primitive: DispatchTensor,
    shape: Shape,
    dtype: DType,
}

/// Calls the function of burn that fits the type: for floats, for integers, for booleans.
macro_rules! by_kind {
    ($dtype:expr, $float:ident | $int:ident | $bool:ident, ($($argument:expr),* $(,)?)) => {
        match $dtype {
            DType::Bool => Dispatch::$bool($($argument),*),
            DType::I32 | DType::I64 => Dispatch::$int($($argument),*),
            _ => Dispatch::$float($($argument),*),
        }
    };
}

/// The shape that burn knows a tensor by.
pub(super) fn physical(shape: &[usize]) -> BurnShape {
    if shape.is_empty() { BurnShape::from([1]) } else { BurnShape::from(shape) }
}

impl DeviceTensor {
    /// What a function of burn gave back.
    pub(super) fn of(primitive: DispatchTensor, dtype: DType) -> Self {
        let shape = primitive.shape().to_vec();
        Self { primitive, shape, dtype }
    }

    /// As [`of`](Self::of), where the result may be a scalar.
    pub(super) fn shaped(primitive: DispatchTensor, shape: &[usize], dtype: DType) -> Self {
        let known = primitive.shape();
        let primitive = if known == physical(shape) {
            primitive
        } else {
            by_kind!(
                dtype,
                float_reshape | int_reshape | bool_reshape,
                (primitive, physical(shape))
            )
        };
        Self { primitive, shape: shape.to_vec(), dtype }
    }

    /// Copies a tensor to the device.
    pub(crate) fn upload(tensor: &Tensor, target: &Target) -> Result<Self, OpError> {
        let dtype = tensor.dtype();
        let storage = tensor.storage().filter(|_| target.takes(dtype));
        let Some(storage) = storage else {
            return Err(OpError::Type { expected: "a type that the device has", found: dtype });
        };
        let shape = physical(tensor.shape());
        let device = &target.device;
        let primitive = match dtype.to_burn() {
            Some(burn) if dtype.is_float() => Dispatch::float_from_data(
                TensorData::from_bytes((*storage).clone(), shape, burn),
                device,
            ),
            Some(burn) => Dispatch::int_from_data(
                TensorData::from_bytes((*storage).clone(), shape, burn),
                device,
            ),
            None => {
                let bytes = match target.bools {
                    BoolDType::U32 => Storage::from_elems(
                        storage.iter().map(|bit| u32::from(*bit != 0)).collect::<Vec<_>>(),
                    ),
                    _ => Storage::from_elems(
                        storage.iter().map(|bit| u8::from(*bit != 0)).collect::<Vec<_>>(),
                    ),
                };
                let burn = BurnType::Bool(target.bools);
                Dispatch::bool_from_data(TensorData::from_bytes(bytes, shape, burn), device)
            }
        };
        Ok(Self { primitive, shape: tensor.shape().to_vec(), dtype })
    }

    /// Copies indices to the device, in the type that it indexes with.
    pub(super) fn upload_indices(
        indices: &[i64],
        shape: &[usize],
        target: &Target,
    ) -> Result<Self, OpError> {
        if target.indices == burn::tensor::IntDType::I64 {
            return Self::upload(&Tensor::new(shape, indices.to_vec()), target);
        }
        let narrow = |index: &i64| {
            i32::try_from(*index)
                .map_err(|_| OpError::unsupported(format!("index {index} on a device")))
        };
        let narrowed = indices.iter().map(narrow).collect::<Result<Vec<_>, _>>()?;
        Self::upload(&Tensor::new(shape, narrowed), target)
    }

    /// Copies the elements to the CPU's memory.
    pub(crate) fn download(&self) -> Result<Tensor, OpError> {
        let primitive = self.primitive.clone();
        let failed = |error: ExecutionError| OpError::device(&format!("{error:?}"));
        let data = match self.dtype {
            DType::Bool => read_sync(Dispatch::bool_into_data(primitive)),
            DType::I32 | DType::I64 => read_sync(Dispatch::int_into_data(primitive)),
            _ => read_sync(Dispatch::float_into_data(primitive)),
        };
        let (bytes, _, found) = data.map_err(failed)?.into_parts();
        let wrong = || OpError::shape(format!("the device gave {found:?} for {:?}", self.shape));
        if self.dtype == DType::Bool {
            let wide = matches!(found, BurnType::Bool(BoolDType::U32));
            let bits: Vec<u8> = if wide {
                bytes.chunks_exact(4).map(|word| u8::from(word != [0; 4])).collect()
            } else {
                bytes.iter().map(|bit| u8::from(*bit != 0)).collect()
            };
            if elements_of(&self.shape) != Some(bits.len()) {
                return Err(wrong());
            }
            return Ok(Tensor::with_dtype(DType::Bool, self.shape.clone(), bits));
        }
        if self.dtype.to_burn() != Some(found) {
            return Err(wrong());
        }
        Tensor::from_storage(self.dtype, self.shape.clone(), Arc::new(bytes)).ok_or_else(wrong)
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) const fn rank(&self) -> usize {
        self.shape.len()
    }

    pub(super) const fn dtype(&self) -> DType {
        self.dtype
    }

    pub(super) fn into_primitive(self) -> DispatchTensor {
        self.primitive
    }

    /// Applies a function that leaves shape and type alone.
    pub(super) fn map(self, function: impl FnOnce(DispatchTensor) -> DispatchTensor) -> Self {
        Self { primitive: function(self.primitive), shape: self.shape, dtype: self.dtype }
    }

    /// Each element twice over; a first computation on a device that was just opened.
    pub(crate) fn doubled(self) -> Self {
        self.map(|primitive| Dispatch::float_mul_scalar(primitive, 2.0.into()))
    }

    /// The same elements under a shape with as many.
    pub(super) fn reshape(self, shape: &[usize]) -> Self {
        if self.shape == shape {
            return self;
        }
        Self::shaped(self.primitive, shape, self.dtype)
    }

    /// Axes of size 1 in front until there are `rank`.
    pub(super) fn with_rank(self, rank: usize) -> Self {
        if self.rank() >= rank {
            return self;
        }
        let mut shape = vec![1; rank - self.rank()];
        shape.extend(&self.shape);
        self.reshape(&shape)
    }

    pub(super) fn permute(self, axes: &[usize]) -> Self {
        if axes.len() < 2 {
            return self;
        }
        let dtype = self.dtype;
        Self::of(
            by_kind!(dtype, float_permute | int_permute | bool_permute, (self.primitive, axes)),
            dtype,
        )
    }

    /// Repeats axes of size 1; `shape` has at least as many axes.
    pub(super) fn expand(self, shape: &[usize]) -> Self {
        if self.shape == shape {
            return self;
        }
        let dtype = self.dtype;
        let primitive = self.with_rank(shape.len()).primitive;
        let target = physical(shape);
        let primitive =
            by_kind!(dtype, float_expand | int_expand | bool_expand, (primitive, target));
        Self { primitive, shape: shape.to_vec(), dtype }
    }

    /// Takes `start..end` by `step` along each axis.
    pub(super) fn slice(self, ranges: &[(usize, usize, usize)]) -> Option<Self> {
        let slices: Option<Vec<Slice>> = ranges
            .iter()
            .map(|(start, end, step)| {
                let (start, end) = (isize::try_from(*start).ok()?, isize::try_from(*end).ok()?);
                Some(Slice::with_step(start, Some(end), isize::try_from(*step).ok()?))
            })
            .collect();
        let (slices, dtype) = (slices?, self.dtype);
        Some(Self::of(
            by_kind!(dtype, float_slice | int_slice | bool_slice, (self.primitive, &slices)),
            dtype,
        ))
    }

    /// Takes the places that a list of indices names along an axis.
    pub(super) fn select(self, axis: usize, indices: Self) -> Self {
        let dtype = self.dtype;
        let indices = indices.primitive;
        Self::of(
            by_kind!(
                dtype,
                float_select | int_select | bool_select,
                (self.primitive, axis, indices)
            ),
            dtype,
        )
    }

    /// Takes the element that an index names along an axis, for each place of `indices`.
    pub(super) fn gather(self, axis: usize, indices: Self) -> Self {
        let dtype = self.dtype;
        let indices = indices.primitive;
        Self::of(
            by_kind!(
                dtype,
                float_gather | int_gather | bool_gather,
                (axis, self.primitive, indices)
            ),
            dtype,
        )
    }

    /// Joins tensors of one type along an axis.
    pub(super) fn concatenate(tensors: Vec<Self>, axis: usize, dtype: DType) -> Self {
        let primitives = tensors.into_iter().map(Self::into_primitive).collect();
        Self::of(by_kind!(dtype, float_cat | int_cat | bool_cat, (primitives, axis)), dtype)
    }

    pub(super) fn repeat(self, axis: usize, times: usize) -> Self {
        let dtype = self.dtype;
        Self::of(
            by_kind!(
                dtype,
                float_repeat_dim | int_repeat_dim | bool_repeat_dim,
                (self.primitive, axis, times)
            ),
            dtype,
        )
    }

    /// Takes elements of `other` where `mask` is set; all of one shape.
    pub(super) fn replaced_where(self, mask: Self, other: Self) -> Self {
        let (shape, dtype) = (self.shape, self.dtype);
        let (mask, other) = (mask.primitive, other.primitive);
        let primitive = by_kind!(
            dtype,
            float_mask_where | int_mask_where | bool_mask_where,
            (self.primitive, mask, other)
        );
        Self { primitive, shape, dtype }
    }
}
