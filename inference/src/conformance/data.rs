//! The values of a data set: protobuf files whose message depends on the type of the graph's input or output.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;

use crate::graph::ValueType;
use crate::limits::Limits;
use crate::mapping;
use crate::network::Port;
use crate::onnx::proto::{OptionalProto, SequenceProto, TensorProto};
use crate::onnx::{ExternalData, read_tensor};
use crate::value::Value;

/// Why a file of test data could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub(super) struct DataError {
    file: PathBuf,
    what: String,
}

/// The values `KIND_0.pb`, `KIND_1.pb`, ... for the ports.
pub(super) fn read_values(set: &Path, kind: &str, ports: &[Port]) -> Result<Vec<Value>, DataError> {
    let mut values = Vec::with_capacity(ports.len());
    for (at, port) in ports.iter().enumerate() {
        let file = set.join(format!("{kind}_{at}.pb"));
        values.push(read_value(&file, &port.value_type)?);
    }
    Ok(values)
}

pub(super) fn read_tensor_file(file: &Path) -> Result<Value, DataError> {
    read_value(file, &ValueType::Unknown)
}

fn read_value(file: &Path, value_type: &ValueType) -> Result<Value, DataError> {
    let failed = |what: String| DataError { file: file.to_owned(), what };
    let limits = Limits::default();
    let mapping = mapping::read(file, limits.file_bytes_max);
    let bytes = mapping.map_err(|e| failed(e.to_string()))?.bytes().clone();
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut external = ExternalData::beneath(folder, limits.file_bytes_max);
    let mut tensor = |proto: &TensorProto| {
        read_tensor(proto, &mut external, &limits)
            .map(Value::Tensor)
            .map_err(|fault| failed(fault.to_string()))
    };
    let decode_error = |e: prost::DecodeError| failed(e.to_string());
    match value_type {
        ValueType::Sequence(_) => {
            let proto = SequenceProto::decode(bytes).map_err(decode_error)?;
            sequence(&proto, &mut tensor, &failed)
        }
        ValueType::Optional(_) => {
            let proto = OptionalProto::decode(bytes).map_err(decode_error)?;
            let inner = match (&proto.tensor_value, &proto.sequence_value) {
                (Some(proto), _) => Some(tensor(proto)?),
                (None, Some(proto)) => Some(sequence(proto, &mut tensor, &failed)?),
                (None, None) => None,
            };
            Ok(Value::Optional(inner.map(Arc::new)))
        }
        _ => tensor(&TensorProto::decode(bytes).map_err(decode_error)?),
    }
}

fn sequence(
    proto: &SequenceProto,
    tensor: &mut impl FnMut(&TensorProto) -> Result<Value, DataError>,
    failed: &impl Fn(String) -> DataError,
) -> Result<Value, DataError> {
    let strange = !proto.map_values.is_empty() || !proto.sparse_tensor_values.is_empty();
    if strange || !proto.sequence_values.is_empty() {
        return Err(failed("a sequence of something else than tensors".to_owned()));
    }
    let values = proto.tensor_values.iter().map(tensor).collect::<Result<Vec<_>, _>>()?;
    Ok(Value::Sequence(Arc::new(values)))
}
