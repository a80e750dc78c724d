//! `TensorProto` to [`Tensor`].
//!
//! Bytes are taken over without a copy where they are aligned, which a writer that pads or puts weights into files of
//! their own sees to; elsewhere they are copied once.

use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes as Storage};
use bytes::Bytes;
use embermq_kernels::Pages;
use half::{bf16, f16};

use super::external::ExternalData;
use super::proto::{TensorProto, tensor_proto};
use crate::byte_count::ByteCount;
use crate::dtype::{DType, for_repr};
use crate::limits::Limits;
use crate::tensor::{Shape, Tensor, elements_of};

/// What is wrong with a tensor of a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TensorFault {
    #[error("elements of type {} are not supported", DType::unsupported_name(*.0))]
    DType(i32),
    #[error("axis {axis} has size {size}")]
    Size { axis: usize, size: i64 },
    #[error("it has {rank} axes, the limit is {limit}")]
    Rank { rank: usize, limit: usize },
    #[error("its shape {shape:?} takes more than the {} that a model may have", ByteCount(*.limit_bytes))]
    TooLarge { shape: Vec<i64>, limit_bytes: u64 },
    #[error("its shape {shape:?} has {expected} elements, the file has {found}")]
    Length { shape: Shape, expected: usize, found: usize },
    #[error("its shape {shape:?} takes {expected} bytes, the file has {found}")]
    RawLength { shape: Shape, expected: usize, found: usize },
    #[error("element {0} is no UTF-8 text")]
    Text(usize),
    #[error("segmented tensors are not supported")]
    Segmented,
    #[error("its data lies in another file, and says not which")]
    ExternalWithoutLocation,
    #[error("its {key} in another file is {found:?}, which is no number")]
    ExternalNumber { key: &'static str, found: String },
    #[error("its data is to lie at {location:?}: only files in the model's own folder are read")]
    ExternalOutside { location: String },
    #[error("its data lies in {location:?}: {what}")]
    ExternalFile { location: String, what: String },
    #[error("its data is to lie behind the end of {location:?}, which has {size} bytes")]
    ExternalRange { location: String, size: u64 },
}

/// Reads a tensor of a file.
pub(crate) fn read_tensor(
    proto: &TensorProto,
    external: &mut ExternalData,
    limits: &Limits,
) -> Result<Tensor, TensorFault> {
    let number = proto.data_type();
    let dtype = DType::from_onnx(number).ok_or(TensorFault::DType(number))?;
    if proto.segment.is_some() {
        return Err(TensorFault::Segmented);
    }
    let shape = read_shape(&proto.dims, dtype, limits)?;
    let elements = elements_of(&shape).unwrap_or(0);
    if proto.data_location() == tensor_proto::DataLocation::External {
        let bytes = external.bytes_of(proto)?;
        return from_raw(dtype, shape, &bytes);
    }
    if dtype == DType::String {
        return strings(proto, shape, elements);
    }
    match &proto.raw_data {
        Some(bytes) if !(bytes.is_empty() && has_typed(proto)) => from_raw(dtype, shape, bytes),
        _ => from_typed(proto, dtype, shape, elements),
    }
}

fn read_shape(dims: &[i64], dtype: DType, limits: &Limits) -> Result<Shape, TensorFault> {
    if dims.len() > limits.rank_max {
        return Err(TensorFault::Rank { rank: dims.len(), limit: limits.rank_max });
    }
    let size = |(axis, size): (usize, &i64)| {
        usize::try_from(*size).map_err(|_| TensorFault::Size { axis, size: *size })
    };
    let shape = dims.iter().enumerate().map(size).collect::<Result<Shape, _>>()?;
    let bytes = elements_of(&shape).and_then(|elements| elements.checked_mul(dtype.bytes()));
    match bytes {
        Some(bytes) if bytes as u64 <= limits.weight_bytes_max => Ok(shape),
        _ => Err(TensorFault::TooLarge {
            shape: dims.to_vec(),
            limit_bytes: limits.weight_bytes_max,
        }),
    }
}

const fn has_typed(proto: &TensorProto) -> bool {
    !(proto.float_data.is_empty()
        && proto.int32_data.is_empty()
        && proto.int64_data.is_empty()
        && proto.double_data.is_empty()
        && proto.uint64_data.is_empty())
}

fn strings(proto: &TensorProto, shape: Shape, elements: usize) -> Result<Tensor, TensorFault> {
    let found = proto.string_data.len();
    if found != elements {
        return Err(TensorFault::Length { shape, expected: elements, found });
    }
    let text = |(at, bytes): (usize, &Bytes)| {
        String::from_utf8(bytes.to_vec()).map_err(|_| TensorFault::Text(at))
    };
    let texts = proto.string_data.iter().enumerate().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::strings(shape, texts))
}

/// Elements that two of share a byte.
const fn is_nibble(dtype: DType) -> bool {
    matches!(dtype, DType::I4 | DType::U4 | DType::F4E2M1)
}

/// Tensors of little-endian bytes.
fn from_raw(dtype: DType, shape: Shape, bytes: &Bytes) -> Result<Tensor, TensorFault> {
    let elements = elements_of(&shape).unwrap_or(0);
    let expected = if is_nibble(dtype) { elements.div_ceil(2) } else { elements * dtype.bytes() };
    if dtype == DType::String || bytes.len() != expected {
        return Err(TensorFault::RawLength { shape, expected, found: bytes.len() });
    }
    if is_nibble(dtype) {
        return Ok(nibbles(dtype, shape, bytes, elements));
    }
    let width = dtype.bytes();
    if dtype == DType::Bool {
        let bits = bytes.iter().map(|byte| *byte != 0);
        return Ok(Tensor::bools(shape, bits));
    }
    if bytes.as_ptr().addr().is_multiple_of(width) {
        let storage = Arc::new(Storage::from_shared(bytes.clone(), AllocationProperty::Other));
        let fault = TensorFault::RawLength { shape: shape.clone(), expected, found: bytes.len() };
        return Tensor::from_storage(dtype, shape, storage).ok_or(fault);
    }
    if let Some(pages) = Pages::of(bytes) {
        return Ok(Tensor::in_pages(dtype, shape, pages));
    }
    Ok(for_repr!(dtype, T, {
        Tensor::from_units(dtype, shape, bytemuck::pod_collect_to_vec::<u8, T>(bytes))
    }, else { Tensor::strings(shape, Vec::new()) }))
}

fn nibbles(dtype: DType, shape: Shape, bytes: &[u8], elements: usize) -> Tensor {
    let halves = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]).take(elements);
    if dtype == DType::I4 {
        // The sign is the fourth bit.
        let signed = halves.map(|half| ((half << 4).cast_signed()) >> 4).collect::<Vec<i8>>();
        return Tensor::with_dtype(dtype, shape, signed);
    }
    Tensor::with_dtype(dtype, shape, halves.collect::<Vec<u8>>())
}

/// Tensors of the typed fields. Narrow types stand in `int32_data`, which the specification lets wrap.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the field is wider than what it carries"
)]
fn from_typed(
    proto: &TensorProto,
    dtype: DType,
    shape: Shape,
    elements: usize,
) -> Result<Tensor, TensorFault> {
    let ints = &proto.int32_data;
    let found = match dtype {
        DType::F32 => proto.float_data.len(),
        DType::F64 => proto.double_data.len(),
        DType::I64 => proto.int64_data.len(),
        DType::U32 | DType::U64 => proto.uint64_data.len(),
        // Two to a byte, a byte to a field.
        _ if is_nibble(dtype) => {
            let expected = elements.div_ceil(2);
            if ints.len() == expected {
                let bytes = ints.iter().map(|int| *int as u8).collect::<Vec<_>>();
                return Ok(nibbles(dtype, shape, &bytes, elements));
            }
            ints.len()
        }
        _ => ints.len(),
    };
    if found != elements {
        return Err(TensorFault::Length { shape, expected: elements, found });
    }
    Ok(match dtype {
        DType::F32 => Tensor::new(shape, proto.float_data.clone()),
        DType::F64 => Tensor::new(shape, proto.double_data.clone()),
        DType::I64 => Tensor::new(shape, proto.int64_data.clone()),
        DType::U32 => Tensor::new(shape, proto.uint64_data.iter().map(|v| *v as u32).collect()),
        DType::U64 => Tensor::new(shape, proto.uint64_data.clone()),
        DType::I32 => Tensor::new(shape, ints.clone()),
        DType::I16 => Tensor::new(shape, ints.iter().map(|v| *v as i16).collect()),
        DType::I8 => Tensor::new(shape, ints.iter().map(|v| *v as i8).collect()),
        DType::U16 => Tensor::new(shape, ints.iter().map(|v| *v as u16).collect()),
        DType::F16 => Tensor::new(shape, ints.iter().map(|v| f16::from_bits(*v as u16)).collect()),
        DType::Bf16 => {
            Tensor::new(shape, ints.iter().map(|v| bf16::from_bits(*v as u16)).collect())
        }
        DType::Bool => Tensor::bools(shape, ints.iter().map(|v| *v != 0)),
        _ => Tensor::with_dtype(dtype, shape, ints.iter().map(|v| *v as u8).collect()),
    })
}
