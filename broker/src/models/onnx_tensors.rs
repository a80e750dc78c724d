//! ONNX models with tensors in and out: the network alone, without what a bundle does before and behind it.

use bytes::Bytes;
use embermq_inference::{DType, Dim, Model, Port, RunError, Tensor, Value, ValueType};

use super::tensors::{Datatype, Elements, RawTensor, TensorFault, TensorModel, TensorPort};

impl TensorModel for Model {
    fn platform(&self) -> &'static str {
        "onnx"
    }

    fn inputs(&self) -> Vec<TensorPort> {
        self.network().inputs().iter().map(port_of).collect()
    }

    fn outputs(&self) -> Vec<TensorPort> {
        self.network().outputs().iter().map(port_of).collect()
    }

    fn run(
        &self,
        inputs: Vec<RawTensor>,
        wanted: &[bool],
        bytes_max: usize,
    ) -> Result<Vec<Option<RawTensor>>, TensorFault> {
        let values = inputs.into_iter().map(value_of).collect::<Result<Vec<_>, _>>()?;
        let outputs = self.network().run(values).map_err(|error| fault_of(&error))?;
        let ports = self.network().outputs();
        // Before they are copied.
        let bytes = wanted_bytes(&outputs, wanted);
        if bytes > bytes_max {
            return Err(TensorFault::TooLarge { bytes, bytes_max });
        }
        let mut tensors = Vec::with_capacity(outputs.len());
        for ((value, port), wanted) in outputs.iter().zip(ports).zip(wanted) {
            tensors.push(if *wanted { Some(tensor_of(value, &port.name)?) } else { None });
        }
        Ok(tensors)
    }
}

fn wanted_bytes(outputs: &[Value], wanted: &[bool]) -> usize {
    let bytes = |(value, wanted): (&Value, &bool)| match value {
        Value::Tensor(tensor) if *wanted => tensor.bytes(),
        _ => 0,
    };
    outputs.iter().zip(wanted).map(bytes).fold(0, usize::saturating_add)
}

/// A run that fails does so because of what it was given, unless something panicked.
fn fault_of(error: &RunError) -> TensorFault {
    let what = error.to_string();
    match error {
        RunError::Panicked { .. } => TensorFault::Model { what },
        _ => TensorFault::Request { what },
    }
}

fn port_of(port: &Port) -> TensorPort {
    let (datatype, shape) = match &port.value_type {
        ValueType::Tensor { dtype, dims } => {
            let size = |dim: &Dim| match dim {
                Dim::Size(size) => Some(*size),
                Dim::Named(_) | Dim::Any => None,
            };
            let shape = dims.as_ref().map(|dims| dims.iter().map(size).collect());
            (dtype.and_then(datatype_of), shape)
        }
        _ => (None, None),
    };
    TensorPort { name: port.name.clone(), datatype, shape }
}

const fn datatype_of(dtype: DType) -> Option<Datatype> {
    Some(match dtype {
        DType::Bool => Datatype::Bool,
        DType::U8 => Datatype::U8,
        DType::U16 => Datatype::U16,
        DType::U32 => Datatype::U32,
        DType::U64 => Datatype::U64,
        DType::I8 => Datatype::I8,
        DType::I16 => Datatype::I16,
        DType::I32 => Datatype::I32,
        DType::I64 => Datatype::I64,
        DType::F16 => Datatype::F16,
        DType::Bf16 => Datatype::Bf16,
        DType::F32 => Datatype::F32,
        DType::F64 => Datatype::F64,
        DType::String => Datatype::Bytes,
        _ => return None,
    })
}

const fn dtype_of(datatype: Datatype) -> DType {
    match datatype {
        Datatype::Bool => DType::Bool,
        Datatype::U8 => DType::U8,
        Datatype::U16 => DType::U16,
        Datatype::U32 => DType::U32,
        Datatype::U64 => DType::U64,
        Datatype::I8 => DType::I8,
        Datatype::I16 => DType::I16,
        Datatype::I32 => DType::I32,
        Datatype::I64 => DType::I64,
        Datatype::F16 => DType::F16,
        Datatype::Bf16 => DType::Bf16,
        Datatype::F32 => DType::F32,
        Datatype::F64 => DType::F64,
        Datatype::Bytes => DType::String,
    }
}

fn value_of(tensor: RawTensor) -> Result<Value, TensorFault> {
    let RawTensor { datatype, shape, elements } = tensor;
    let made = match elements {
        Elements::Raw(bytes) => Tensor::from_raw(dtype_of(datatype), shape, &bytes),
        Elements::Texts(texts) => Tensor::from_strings(shape, texts),
    };
    let wrong = || TensorFault::Request {
        what: "a tensor has another number of elements than its shape".to_owned(),
    };
    made.map(Value::Tensor).ok_or_else(wrong)
}

fn tensor_of(value: &Value, name: &str) -> Result<RawTensor, TensorFault> {
    let unfit = |what: &str| TensorFault::Request {
        what: format!("output {name:?} is {what}, which the protocol cannot carry; ask for others"),
    };
    let Value::Tensor(tensor) = value else { return Err(unfit(value.kind())) };
    let datatype = datatype_of(tensor.dtype()).ok_or_else(|| unfit(tensor.dtype().name()))?;
    let elements = match tensor.texts() {
        Some(texts) => Elements::Texts(texts.to_vec()),
        None => Elements::Raw(Bytes::copy_from_slice(tensor.raw())),
    };
    Ok(RawTensor { datatype, shape: tensor.shape().to_vec(), elements })
}

#[cfg(test)]
mod tests {
    use embermq_inference::ModelOptions;

    use super::*;

    #[test]
    fn outputs_that_are_too_large_together_are_not_copied() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../inference/models/iris-mlp");
        let model = Model::open(folder.as_ref(), &ModelOptions::default()).unwrap();
        let elements = Elements::Raw(vec![0; 16].into());
        let input = RawTensor { datatype: Datatype::F32, shape: vec![1, 4], elements };
        let wanted: Vec<bool> =
            TensorModel::outputs(&model).iter().map(|port| port.name == "probabilities").collect();
        let run = |bytes_max| TensorModel::run(&model, vec![input.clone()], &wanted, bytes_max);
        assert_eq!(run(12).unwrap().iter().flatten().map(RawTensor::bytes).sum::<usize>(), 12);
        assert_eq!(run(11), Err(TensorFault::TooLarge { bytes: 12, bytes_max: 11 }));
    }
}
