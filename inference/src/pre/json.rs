//! JSON payloads: an object by the names of the inputs, or one list of named features.
//!
//! With `features`, a payload is an object that has them by name (or a list of numbers in their order), and becomes one input.
//! Without, it is an object by the names of the inputs; a model with one input also takes that input's value alone.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::numbers::tensor_of;
use super::{PayloadError, Row, check_bytes, dtype_among, with_axis};
use crate::bundle::{Section, Surroundings, declared, fixed};
use crate::dtype::DType;
use crate::graph::Dim;
use crate::network::Port;
use crate::tensor::{Tensor, elements_of};

/// Bytes of JSON that are read, unless `bytes_max` says otherwise. In memory it takes a multiple.
const BYTES_MAX: usize = 16 << 20;

/// Elements that a sample for warming up may have.
const SAMPLE_ELEMENTS_MAX: usize = 1 << 26;

/// How JSON becomes inputs.
#[derive(Debug)]
pub(crate) struct JsonPre {
    /// A JSON pointer to what is read within a payload.
    at: Option<String>,
    bytes_max: usize,
    form: Form,
    axis: Option<usize>,
    /// Payloads run one by one.
    alone: bool,
}

#[derive(Debug)]
enum Form {
    Features { names: Vec<String>, defaults: BTreeMap<String, f64>, dtype: DType },
    Inputs(Vec<Input>),
}

/// What an input takes.
#[derive(Debug)]
pub(super) struct Input {
    name: String,
    dtype: DType,
    dims: Option<Vec<Dim>>,
}

impl JsonPre {
    pub(super) fn read(
        section: &Section<'_>,
        around: &Surroundings<'_>,
        axis: Option<usize>,
        alone: bool,
    ) -> Option<Self> {
        let at = section.text("at");
        if at.as_ref().is_some_and(|at| !at.starts_with('/')) {
            section.problem(
                "at",
                "it is a JSON pointer and begins with a slash, as in \"/user/features\"",
            );
        }
        let bytes_max = section.count("bytes_max", 1..=usize::MAX).unwrap_or(BYTES_MAX);
        let names = section.texts("features");
        let defaults = section.numbers_by_name("defaults");
        let form = match names {
            Some(names) => features(section, around, names, defaults)?,
            None => {
                if let Some(name) = defaults.keys().next() {
                    section.problem(
                        "defaults",
                        format!("{name:?} stands for a feature; list pre.features too"),
                    );
                }
                Form::Inputs(inputs(section, around.network.inputs())?)
            }
        };
        Some(Self { at, bytes_max, form, axis, alone })
    }

    pub(super) fn prepare(&self, payload: &[u8]) -> Result<Row, PayloadError> {
        check_bytes(payload, self.bytes_max)?;
        let json = parse(payload)?;
        let json = match &self.at {
            Some(at) => {
                json.pointer(at).ok_or_else(|| PayloadError(format!("there is nothing at {at}")))?
            }
            None => &json,
        };
        match &self.form {
            Form::Inputs(inputs) => row_of(json, inputs, self.axis, self.alone),
            Form::Features { names, defaults, dtype } => {
                let values = match json {
                    Json::Array(values) if values.len() == names.len() => {
                        Json::Array(values.clone())
                    }
                    Json::Array(values) => {
                        let what =
                            format!("{} features are wanted, found {}", names.len(), values.len());
                        return Err(PayloadError(what));
                    }
                    Json::Object(fields) => by_name(fields, names, defaults)?,
                    _ => return Err(PayloadError::new("expected an object or a list of features")),
                };
                let tensor = tensor_of(&values, *dtype, "features")
                    .map_err(|error| unfit_feature(&values, names, *dtype).unwrap_or(error))?;
                let shape = with_axis(tensor.shape(), self.axis);
                let tensor = tensor.reshaped(shape).map_err(|e| PayloadError(e.to_string()))?;
                Ok(Row { inputs: vec![tensor], count: 1, length: None })
            }
        }
    }

    pub(super) fn sample(&self, ports: &[Port]) -> Option<Row> {
        match &self.form {
            // As payloads give it, whatever the input leaves open.
            Form::Features { names, dtype, .. } => {
                let shape = with_axis(&[names.len()], self.axis);
                let bytes = names.len().checked_mul(dtype.bytes())?;
                let input = Tensor::from_raw(*dtype, shape, &vec![0; bytes])?;
                Some(Row { inputs: vec![input], count: 1, length: None })
            }
            Form::Inputs(_) => zeros(ports, self.axis),
        }
    }
}

fn features(
    section: &Section<'_>,
    around: &Surroundings<'_>,
    names: Vec<String>,
    defaults: BTreeMap<String, f64>,
) -> Option<Form> {
    let floats = [DType::F32, DType::F64, DType::F16, DType::I64, DType::I32];
    let (input, dtype) = super::only_input(section, around, &floats)?;
    let (_, dims) = declared(around.network.inputs().get(input)?);
    let wanted = dims.and_then(|dims| dims.last()).and_then(fixed);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != names.len()) {
        let what = format!("{} are named, the input takes {wanted}", names.len());
        section.problem("features", what);
        return None;
    }
    let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
    if let Some((_, name)) = twice {
        section.problem("features", format!("{name:?} is named twice; each feature has one place"));
    }
    if names.is_empty() {
        section.problem("features", "it is empty; name the features, or leave the key out");
    }
    for name in defaults.keys() {
        if !names.contains(name) {
            section.problem("defaults", format!("{name:?} is none of the features"));
        }
    }
    Some(Form::Features { names, defaults, dtype })
}

fn by_name(
    fields: &serde_json::Map<String, Json>,
    names: &[String],
    defaults: &BTreeMap<String, f64>,
) -> Result<Json, PayloadError> {
    let mut missing = Vec::new();
    let mut values = Vec::with_capacity(names.len());
    for name in names {
        let given = fields.get(name).filter(|value| !value.is_null());
        match (given, defaults.get(name)) {
            (Some(Json::Array(_) | Json::Object(_)), _) => {
                return Err(PayloadError(format!("feature {name:?} is no number")));
            }
            (Some(value), _) => values.push(value.clone()),
            (None, Some(default)) => values.push(Json::from(*default)),
            (None, None) => missing.push(format!("{name:?}")),
        }
    }
    if missing.is_empty() {
        Ok(Json::Array(values))
    } else {
        Err(PayloadError(format!("features are missing: {}", missing.join(", "))))
    }
}

/// Which of the features is not what the input takes.
fn unfit_feature(values: &Json, names: &[String], dtype: DType) -> Option<PayloadError> {
    let mut pairs = names.iter().zip(values.as_array()?);
    pairs.find_map(|(name, value)| {
        if value.is_array() || value.is_object() {
            return Some(PayloadError(format!("feature {name:?} is no number")));
        }
        let PayloadError(what) = tensor_of(value, dtype, name).err()?;
        Some(PayloadError(format!("feature {what}")))
    })
}

/// What the inputs of a model take, if JSON can bring it.
pub(super) fn inputs(section: &Section<'_>, ports: &[Port]) -> Option<Vec<Input>> {
    let every = [
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
        DType::String,
    ];
    let input = |port: &Port| {
        let dtype = dtype_among(section, port, &every)?;
        let dims = declared(port).1.map(<[Dim]>::to_vec);
        Some(Input { name: port.name.clone(), dtype, dims })
    };
    // All of them, so that every problem is seen.
    let inputs: Vec<Option<Input>> = ports.iter().map(input).collect();
    inputs.into_iter().collect()
}

pub(super) fn parse(payload: &[u8]) -> Result<Json, PayloadError> {
    serde_json::from_slice(payload).map_err(|error| PayloadError(format!("no JSON: {error}")))
}

/// A row from an object by the names of the inputs, or from the value of the only one.
pub(super) fn row_of(
    json: &Json,
    inputs: &[Input],
    axis: Option<usize>,
    alone: bool,
) -> Result<Row, PayloadError> {
    let fields = json.as_object();
    if let ([input], Some(fields)) = (inputs, fields)
        && !fields.contains_key(&input.name)
        && !(fields.contains_key("data") && fields.contains_key("shape"))
    {
        return Err(PayloadError(format!("input {:?} is missing", input.name)));
    }
    let mut tensors = Vec::with_capacity(inputs.len());
    for input in inputs {
        let value = match (inputs, fields.and_then(|fields| fields.get(&input.name))) {
            (_, Some(value)) => value,
            ([_], None) => json,
            _ => return Err(PayloadError(format!("input {:?} is missing", input.name))),
        };
        let tensor = tensor_of(value, input.dtype, &input.name)?;
        tensors.push(fitted(tensor, &input.name, input.dims.as_deref(), axis)?);
    }
    of_tensors(tensors, axis, alone)
}

/// A tensor in its input's shape: the batch axis may be left out.
pub(super) fn fitted(
    tensor: Tensor,
    name: &str,
    dims: Option<&[Dim]>,
    axis: Option<usize>,
) -> Result<Tensor, PayloadError> {
    let Some(dims) = dims else { return Ok(tensor) };
    let tensor = if axis.is_some() && tensor.rank() + 1 == dims.len() {
        let shape = with_axis(tensor.shape(), axis);
        tensor.reshaped(shape).map_err(|error| PayloadError(error.to_string()))?
    } else {
        tensor
    };
    let agrees = |(at, (dim, size)): (usize, (&Dim, &usize))| {
        Some(at) == axis || fixed(dim).is_none_or(|wanted| wanted == *size)
    };
    let sizes = dims.iter().zip(tensor.shape()).enumerate();
    if dims.len() == tensor.rank() && sizes.into_iter().all(agrees) {
        return Ok(tensor);
    }
    let wanted: Vec<String> =
        dims.iter().map(|dim| fixed(dim).map_or("?".to_owned(), |size| size.to_string())).collect();
    let what = format!("{name:?} takes [{}], found {:?}", wanted.join(", "), tensor.shape());
    Err(PayloadError(what))
}

/// A row of tensors that agree on the size of the batch axis. Where payloads run one by one they need not: it may be an axis of their own.
pub(super) fn of_tensors(
    inputs: Vec<Tensor>,
    axis: Option<usize>,
    alone: bool,
) -> Result<Row, PayloadError> {
    let Some(axis) = axis else { return Ok(Row { inputs, count: 1, length: None }) };
    let mut sizes = inputs.iter().map(|input| input.shape().get(axis).copied().unwrap_or(1));
    let count = sizes.next().unwrap_or(1);
    if sizes.any(|size| size != count) {
        if alone {
            return Ok(Row { inputs, count: 1, length: None });
        }
        return Err(PayloadError(format!("the inputs differ in size along axis {axis}")));
    }
    if count == 0 {
        return Err(PayloadError(format!("the inputs are empty along axis {axis}")));
    }
    Ok(Row { inputs, count, length: None })
}

/// Zeros in the declared shapes. `None`: a shape is not known, or text is wanted.
pub(super) fn zeros(ports: &[Port], axis: Option<usize>) -> Option<Row> {
    let mut inputs = Vec::with_capacity(ports.len());
    for port in ports {
        let (dtype, dims) = declared(port);
        let (dtype, mut shape) = (dtype?, Vec::new());
        for (at, dim) in dims?.iter().enumerate() {
            shape.push(if Some(at) == axis { 1 } else { fixed(dim)? });
        }
        let elements = elements_of(&shape).filter(|elements| *elements <= SAMPLE_ELEMENTS_MAX)?;
        let bytes = elements.checked_mul(dtype.bytes())?;
        inputs.push(Tensor::from_raw(dtype, shape, &vec![0; bytes])?);
    }
    Some(Row { inputs, count: 1, length: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_run_alone_need_not_agree_on_their_first_axis() {
        let inputs = || vec![Tensor::new([4], vec![0_f32; 4]), Tensor::new([2], vec![0_i64; 2])];
        assert!(of_tensors(inputs(), Some(0), false).is_err());
        assert_eq!(of_tensors(inputs(), Some(0), true).unwrap().count, 1);
    }
}
