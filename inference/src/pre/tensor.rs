//! Tensors as they are: raw little-endian elements of one input, or JSON of all of them.

use super::json::{Input, fitted, inputs, of_tensors, parse, row_of, zeros};
use super::{PayloadError, Row, check_bytes, only_input};
use crate::bundle::{Section, Surroundings, declared, fixed};
use crate::dtype::DType;
use crate::graph::Dim;
use crate::network::Port;
use crate::tensor::{Tensor, elements_of};

/// Bytes that are read, unless `bytes_max` says otherwise.
const BYTES_MAX: usize = 64 << 20;

/// How tensors are read.
#[derive(Debug)]
pub(crate) struct TensorPre {
    bytes_max: usize,
    form: Form,
    axis: Option<usize>,
    /// Payloads run one by one.
    alone: bool,
}

#[derive(Debug)]
enum Form {
    Raw { name: String, dtype: DType, dims: Vec<Dim> },
    Json(Vec<Input>),
}

#[derive(Clone, Copy)]
enum Format {
    Raw,
    Json,
}

impl TensorPre {
    pub(super) fn read(
        section: &Section<'_>,
        around: &Surroundings<'_>,
        axis: Option<usize>,
        alone: bool,
    ) -> Option<Self> {
        let bytes_max = section.count("bytes_max", 1..=usize::MAX).unwrap_or(BYTES_MAX);
        let formats = [("raw", Format::Raw), ("json", Format::Json)];
        let format =
            if section.has("format") { section.choice("format", &formats)? } else { Format::Raw };
        let form = match format {
            Format::Json => Form::Json(inputs(section, around.network.inputs())?),
            Format::Raw => {
                let plain = [
                    DType::F32,
                    DType::F64,
                    DType::F16,
                    DType::Bf16,
                    DType::I8,
                    DType::I16,
                    DType::I32,
                    DType::I64,
                    DType::U8,
                    DType::U16,
                    DType::U32,
                    DType::U64,
                    DType::Bool,
                ];
                let (at, dtype) = only_input(section, around, &plain)?;
                let port = around.network.inputs().get(at)?;
                let Some(dims) = declared(port).1.map(<[Dim]>::to_vec) else {
                    let what = format!(
                        "{:?} declares no shape; use format = \"json\" and send it along",
                        port.name
                    );
                    section.problem("format", what);
                    return None;
                };
                let open = |(at, dim): &(usize, &Dim)| Some(*at) != axis && fixed(dim).is_none();
                if dims.iter().enumerate().filter(open).count() > 1 {
                    let what = format!(
                        "{:?} is {}: more than one size varies; use format = \"json\" and send the shape along",
                        port.name, port.value_type
                    );
                    section.problem("format", what);
                    return None;
                }
                Form::Raw { name: port.name.clone(), dtype, dims }
            }
        };
        Some(Self { bytes_max, form, axis, alone })
    }

    pub(super) fn prepare(&self, payload: &[u8]) -> Result<Row, PayloadError> {
        check_bytes(payload, self.bytes_max)?;
        match &self.form {
            Form::Json(inputs) => row_of(&parse(payload)?, inputs, self.axis, self.alone),
            Form::Raw { name, dtype, dims } => {
                let shape = shape_of(payload.len(), *dtype, dims, self.axis).ok_or_else(|| {
                    PayloadError(format!(
                        "{} bytes do not fill {name:?}, which takes {dtype} {}",
                        payload.len(),
                        crate::graph::ValueType::Tensor { dtype: None, dims: Some(dims.clone()) }
                    ))
                })?;
                let tensor = Tensor::from_raw(*dtype, shape, payload)
                    .ok_or_else(|| PayloadError(format!("{name:?} takes no {dtype} bytes")))?;
                let tensor = fitted(tensor, name, Some(dims), self.axis)?;
                of_tensors(vec![tensor], self.axis, self.alone)
            }
        }
    }

    pub(super) fn sample(&self, ports: &[Port]) -> Option<Row> {
        zeros(ports, self.axis)
    }
}

/// The shape that a number of bytes has: one size may follow from it. Where another size varies, a payload is one row; where none
/// does, it may bring a batch of its own.
fn shape_of(bytes: usize, dtype: DType, dims: &[Dim], axis: Option<usize>) -> Option<Vec<usize>> {
    let mut shape: Vec<usize> = dims.iter().map(|dim| fixed(dim).unwrap_or(1)).collect();
    let varies = |at: usize, dim: &Dim| Some(at) != axis && fixed(dim).is_none();
    let open = dims.iter().enumerate().find(|(at, dim)| varies(*at, dim)).map(|(at, _)| at);
    let batch = axis.filter(|axis| dims.get(*axis).is_some_and(|dim| fixed(dim).is_none()));
    if let Some(at) = open.or(batch) {
        let row_bytes = elements_of(&shape)?.checked_mul(dtype.bytes())?;
        if row_bytes == 0 || !bytes.is_multiple_of(row_bytes) {
            return None;
        }
        *shape.get_mut(at)? = bytes / row_bytes;
    }
    (elements_of(&shape)?.checked_mul(dtype.bytes())? == bytes).then_some(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_size_follows_from_the_number_of_bytes() {
        let dims = [Dim::Named("n".into()), Dim::Size(3)];
        assert_eq!(shape_of(24, DType::F32, &dims, Some(0)), Some(vec![2, 3]));
        assert_eq!(shape_of(25, DType::F32, &dims, Some(0)), None);
        let dims = [Dim::Any, Dim::Any];
        assert_eq!(shape_of(24, DType::F32, &dims, Some(0)), Some(vec![1, 6]));
        let dims = [Dim::Size(2), Dim::Size(3)];
        assert_eq!(shape_of(24, DType::F32, &dims, None), Some(vec![2, 3]));
        assert_eq!(shape_of(12, DType::F32, &dims, None), None);
        let dims = [Dim::Any, Dim::Size(usize::MAX), Dim::Size(3)];
        assert_eq!(shape_of(24, DType::F32, &dims, Some(0)), None);
    }
}
