//! A request for inference: its JSON head, and the binary tensors behind it.
//!
//! Everything in it comes from outside: what is built of it is bounded by the ports of the model and by [`TENSOR_BYTES_MAX`], and is
//! checked before it is made.

use std::borrow::Cow;

use bytes::Bytes;
use embermq_protocol::code::Code;
use embermq_protocol::limits::REQUEST_BYTES_MAX;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::elements;
use crate::http::failure::Failure;
use crate::http::json::{BoundedList, Object, from_object};
use crate::models::{Datatype, Elements, RawTensor, TensorPort};

/// Bytes of all tensors of a request, or of an answer, in memory.
pub(super) const TENSOR_BYTES_MAX: usize = REQUEST_BYTES_MAX;
/// Axes of a tensor.
const RANK_MAX: usize = 32;
/// Characters of a shape: each axis has at most twenty digits.
const SHAPE_CHARS_MAX: usize = 2_048;
/// The longest `id`.
const ID_BYTES_MAX: usize = 1_024;

/// In which form an output is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Binary,
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Asked {
    /// Echoed.
    pub(super) id: Option<String>,
    /// One for each input of the model, in order.
    pub(super) inputs: Vec<RawTensor>,
    /// One for each output of the model, in order; `None`: it is not wanted.
    pub(super) outputs: Vec<Option<Form>>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    inputs: BoundedList<'a>,
    #[serde(borrow, default)]
    outputs: Option<BoundedList<'a>>,
    #[serde(default)]
    parameters: Option<Object<HeadParameters>>,
}

#[derive(Default, Deserialize)]
struct HeadParameters {
    #[serde(default)]
    binary_data_output: bool,
}

#[derive(Deserialize)]
struct InputHead<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    #[serde(borrow)]
    shape: &'a RawValue,
    #[serde(default)]
    parameters: Option<Object<InputParameters>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    #[serde(default)]
    binary_data_size: Option<u64>,
    #[serde(default)]
    shared_memory_region: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct OutputHead<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    parameters: Option<Object<OutputParameters>>,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    #[serde(default)]
    binary_data: Option<bool>,
    #[serde(default)]
    classification: Option<IgnoredAny>,
    #[serde(default)]
    shared_memory_region: Option<IgnoredAny>,
}

/// Reads a request. `head_bytes` is where its binary part begins; `None`: it has none.
pub(super) fn read(
    body: &Bytes,
    head_bytes: Option<usize>,
    inputs: &[TensorPort],
    outputs: &[TensorPort],
) -> Result<Asked, Failure> {
    let length = body.len();
    let head_end = head_bytes.unwrap_or(length);
    let beyond = || {
        let detail = format!(
            "Inference-Header-Content-Length is {head_end}, the body has {length} bytes only"
        );
        Failure::malformed(detail)
    };
    let text = body.get(..head_end).ok_or_else(beyond)?;
    let head: Head<'_> = from_object(text)
        .map_err(|error| Failure::malformed(format!("the request is no inference: {error}")))?;
    let id = head.id.map(Cow::into_owned);
    if id.as_ref().is_some_and(|id| id.len() > ID_BYTES_MAX) {
        return Err(Failure::invalid(format!("the id has more than {ID_BYTES_MAX} bytes")));
    }
    // Found wanting before the model is run.
    let Object(parameters) = head.parameters.unwrap_or_default();
    let binary = parameters.binary_data_output;
    let outputs = wanted(head.outputs.as_ref(), binary, outputs)?;
    let binary = Binary { rest: body.slice(head_end..), any: head_bytes.is_some() };
    let inputs = tensors(&head.inputs, binary, inputs)?;
    Ok(Asked { id, inputs, outputs })
}

fn too_many(what: &str, limit: usize) -> Failure {
    Failure::invalid(format!("the request names more {what} than the model has: it has {limit}"))
}

fn names(ports: &[TensorPort]) -> String {
    ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The place of a port; the name may have come from anywhere.
fn place(ports: &[TensorPort], kind: &str, name: &str) -> Result<usize, Failure> {
    let found = ports.iter().position(|port| port.name == name);
    found.ok_or_else(|| {
        let name: String = name.chars().take(100).collect();
        Failure::invalid(format!("the model has no {kind} {name:?}; it has {}", names(ports)))
    })
}

/// In which form each output is wanted: without a word all of them, as far as they are tensors.
fn wanted(
    list: Option<&BoundedList<'_>>,
    binary: bool,
    ports: &[TensorPort],
) -> Result<Vec<Option<Form>>, Failure> {
    let form = |binary: bool| if binary { Form::Binary } else { Form::Json };
    let Some(list) = list.filter(|list| !list.elements.is_empty()) else {
        let all = ports.iter().map(|port| port.datatype.is_some().then(|| form(binary)));
        return checked(all.collect(), ports);
    };
    if list.overflow || list.elements.len() > ports.len() {
        return Err(too_many("outputs", ports.len()));
    }
    let mut wanted = vec![None; ports.len()];
    for json in &list.elements {
        let head: OutputHead<'_> = from_object(json.get().as_bytes())
            .map_err(|error| Failure::malformed(format!("an output of the request: {error}")))?;
        let at = place(ports, "output", &head.name)?;
        let Object(parameters) = head.parameters.unwrap_or_default();
        if parameters.classification.is_some() || parameters.shared_memory_region.is_some() {
            let detail = format!(
                "output {:?}: classification and shared memory are not offered; ask for the tensor",
                ports[at].name
            );
            return Err(Failure::invalid(detail));
        }
        if wanted[at].is_some() {
            return Err(Failure::invalid(format!("output {:?} is named twice", ports[at].name)));
        }
        wanted[at] = Some(form(parameters.binary_data.unwrap_or(binary)));
    }
    checked(wanted, ports)
}

fn checked(wanted: Vec<Option<Form>>, ports: &[TensorPort]) -> Result<Vec<Option<Form>>, Failure> {
    for (port, form) in ports.iter().zip(&wanted) {
        if let (Some(datatype @ (Datatype::F16 | Datatype::Bf16)), Some(Form::Json)) =
            (port.datatype, form)
        {
            let detail = format!(
                "output {:?} is {datatype}, which JSON does not carry: ask for it with binary_data",
                port.name
            );
            return Err(Failure::invalid(detail));
        }
    }
    Ok(wanted)
}

/// What stands behind the head.
struct Binary {
    rest: Bytes,
    any: bool,
}

fn tensors(
    list: &BoundedList<'_>,
    mut binary: Binary,
    ports: &[TensorPort],
) -> Result<Vec<RawTensor>, Failure> {
    if list.overflow || list.elements.len() > ports.len() {
        return Err(too_many("inputs", ports.len()));
    }
    let mut room = TENSOR_BYTES_MAX;
    let mut given: Vec<Option<RawTensor>> = ports.iter().map(|_| None).collect();
    for json in &list.elements {
        let head: InputHead<'_> = from_object(json.get().as_bytes())
            .map_err(|error| Failure::malformed(format!("an input of the request: {error}")))?;
        let at = place(ports, "input", &head.name)?;
        let named = |what: String| {
            Failure::invalid(format!("input {:?}: {what}", ports[at].name))
                .with("input", ports[at].name.as_str())
        };
        if given[at].is_some() {
            return Err(named("it is given twice".to_owned()));
        }
        let (datatype, shape) = form_of(&head, &ports[at]).map_err(named)?;
        let (count, bytes) = weight(datatype, &shape).ok_or_else(too_large)?;
        room = room.checked_sub(bytes).ok_or_else(too_large)?;
        let elements = elements_of(&head, datatype, count, &mut binary).map_err(named)?;
        if let Elements::Texts(texts) = &elements {
            let text = texts.iter().map(String::len).sum::<usize>();
            room = room.checked_sub(text).ok_or_else(too_large)?;
        }
        given[at] = Some(RawTensor { datatype, shape, elements });
    }
    if !binary.rest.is_empty() {
        let left = binary.rest.len();
        let detail = format!("{left} bytes behind the request belong to no input");
        return Err(Failure::malformed(detail));
    }
    let missing: Vec<&str> = ports
        .iter()
        .zip(&given)
        .filter(|(_, tensor)| tensor.is_none())
        .map(|(port, _)| port.name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(Failure::invalid(format!("inputs are missing: {}", missing.join(", "))));
    }
    Ok(given.into_iter().flatten().collect())
}

fn too_large() -> Failure {
    let detail =
        format!("the tensors take more than {TENSOR_BYTES_MAX} bytes; send less at a time");
    Failure::new(Code::BodyTooLarge, detail).with("limit_bytes", TENSOR_BYTES_MAX)
}

/// Type and shape, which have to be those of the model.
fn form_of(head: &InputHead<'_>, port: &TensorPort) -> Result<(Datatype, Vec<usize>), String> {
    let datatype = Datatype::named(&head.datatype).ok_or_else(|| {
        let name: String = head.datatype.chars().take(40).collect();
        format!("there is no datatype {name:?}")
    })?;
    match port.datatype {
        Some(wanted) if wanted == datatype => {}
        Some(wanted) => return Err(format!("it is {wanted}, {datatype} was given")),
        None => return Err("it is no tensor of a type that the protocol has".to_owned()),
    }
    let text = head.shape.get();
    let no_shape = || format!("its shape is no list of at most {RANK_MAX} sizes");
    if text.len() > SHAPE_CHARS_MAX {
        return Err(no_shape());
    }
    let shape: Vec<u64> = serde_json::from_str(text).map_err(|_| no_shape())?;
    let shape: Vec<usize> = shape
        .into_iter()
        .map(|size| usize::try_from(size).map_err(|_| no_shape()))
        .collect::<Result<_, _>>()?;
    if shape.len() > RANK_MAX {
        return Err(no_shape());
    }
    if let Some(wanted) = &port.shape {
        let fits = |(wanted, size): (&Option<usize>, &usize)| wanted.is_none_or(|w| w == *size);
        if wanted.len() != shape.len() || !wanted.iter().zip(&shape).all(fits) {
            let wanted: Vec<String> = wanted
                .iter()
                .map(|size| size.map_or_else(|| "-1".to_owned(), |size| size.to_string()))
                .collect();
            return Err(format!("its shape is [{}], {shape:?} was given", wanted.join(", ")));
        }
    }
    Ok((datatype, shape))
}

/// How many elements a shape has, and what they take in memory at least. None: more than is taken.
fn weight(datatype: Datatype, shape: &[usize]) -> Option<(usize, usize)> {
    let count = if shape.contains(&0) {
        Some(0)
    } else {
        shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))
    }?;
    let each = datatype.width().unwrap_or(size_of::<String>());
    let bytes = count.checked_mul(each)?;
    (bytes <= TENSOR_BYTES_MAX).then_some((count, bytes))
}

fn elements_of(
    head: &InputHead<'_>,
    datatype: Datatype,
    count: usize,
    binary: &mut Binary,
) -> Result<Elements, String> {
    let parameters = head.parameters.as_ref().map(|Object(parameters)| parameters);
    if parameters.is_some_and(|parameters| parameters.shared_memory_region.is_some()) {
        return Err("shared memory is not offered; send the tensor".to_owned());
    }
    match (parameters.and_then(|parameters| parameters.binary_data_size), head.data) {
        (Some(_), Some(_)) => {
            Err("it has both data and binary_data_size; send one of them".to_owned())
        }
        (None, None) => Err("it has neither data nor binary_data_size".to_owned()),
        (None, Some(json)) => elements::read(json.get(), datatype, count),
        (Some(size), None) if binary.any => {
            let there = binary.rest.len();
            let size = usize::try_from(size).ok().filter(|size| *size <= there).ok_or_else(|| {
                format!("binary_data_size is {size}, {there} bytes are left of the body")
            })?;
            let bytes = binary.rest.split_to(size);
            from_bytes(bytes, datatype, count)
        }
        (Some(_), None) => Err(
            "it has binary_data_size, but the request has no header Inference-Header-Content-Length"
                .to_owned(),
        ),
    }
}

/// Elements of the binary form: plain ones as they lie in memory, texts each behind its length.
fn from_bytes(bytes: Bytes, datatype: Datatype, count: usize) -> Result<Elements, String> {
    let found = bytes.len();
    if let Some(width) = datatype.width() {
        if found != width * count {
            return Err(format!(
                "{count} elements of {datatype} take {} bytes, binary_data_size is {found}",
                width * count
            ));
        }
        return Ok(Elements::Raw(bytes));
    }
    let mut texts = Vec::with_capacity(count);
    let mut rest = &bytes[..];
    let cut = |at: usize| format!("element {at} of its binary data is cut off");
    for at in 0..count {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(|| cut(at))?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| cut(at))?;
        let (text, behind) = behind.split_at_checked(length).ok_or_else(|| cut(at))?;
        let text = std::str::from_utf8(text).map_err(|_| {
            format!("element {at} of its binary data is no UTF-8, which this model takes")
        })?;
        texts.push(text.to_owned());
        rest = behind;
    }
    if !rest.is_empty() {
        let left = rest.len();
        return Err(format!("{left} bytes are left behind its {count} elements"));
    }
    Ok(Elements::Texts(texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, datatype: Datatype, shape: &[Option<usize>]) -> TensorPort {
        TensorPort { name: name.to_owned(), datatype: Some(datatype), shape: Some(shape.to_vec()) }
    }

    fn ports() -> ([TensorPort; 2], [TensorPort; 2]) {
        let inputs =
            [port("x", Datatype::F32, &[None, Some(2)]), port("t", Datatype::Bytes, &[None])];
        let outputs = [port("y", Datatype::F32, &[None]), port("h", Datatype::F16, &[None])];
        (inputs, outputs)
    }

    fn asked(head: &str, binary: &[u8]) -> Result<Asked, String> {
        let (inputs, outputs) = ports();
        let body = Bytes::from([head.as_bytes(), binary].concat());
        let length = (!binary.is_empty()).then_some(head.len());
        read(&body, length, &inputs, &outputs).map_err(|failure| failure.problem().detail.clone())
    }

    const T: &str = r#"{"name":"t","datatype":"BYTES","shape":[1],"data":["a"]}"#;
    const Y: &str = r#""outputs":[{"name":"y"}]"#;

    #[test]
    fn json_and_binary_give_the_same() {
        let x = r#"{"name":"x","datatype":"FP32","shape":[1,2],"data":[[1,2.5]]}"#;
        let json = asked(&format!(r#"{{"id":"7","inputs":[{T},{x}],{Y}}}"#), b"").unwrap();
        assert_eq!(json.id.as_deref(), Some("7"));
        assert_eq!(json.outputs, [Some(Form::Json), None]);
        let head = r#"{"parameters":{"binary_data_output":true},"inputs":[
            {"name":"t","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}},
            {"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}"#;
        let bytes =
            [&[1, 0, 0, 0, b'a'][..], &1_f32.to_le_bytes(), &2.5_f32.to_le_bytes()].concat();
        let binary = asked(head, &bytes).unwrap();
        assert_eq!(binary.inputs, json.inputs);
        assert_eq!(binary.outputs, [Some(Form::Binary); 2]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let x = |rest: &str| {
            let x = format!(r#"{{"name":"x",{rest}}}"#);
            asked(&format!(r#"{{"inputs":[{x},{T}],{Y}}}"#), b"").unwrap_err()
        };
        let cases = [
            (
                r#""datatype":"FP32","shape":[1,3],"data":[1,2,3]"#,
                "its shape is [-1, 2], [1, 3] was given",
            ),
            (r#""datatype":"FP32","shape":[2],"data":[1,2]"#, "its shape is [-1, 2]"),
            (r#""datatype":"FP64","shape":[1,2],"data":[1,2]"#, "it is FP32, FP64 was given"),
            (r#""datatype":"float","shape":[1,2],"data":[1,2]"#, "no datatype \"float\""),
            (r#""datatype":"FP32","shape":[-1,2],"data":[1,2]"#, "its shape is no list"),
            (
                r#""datatype":"FP32","shape":[9223372036854775807,2],"data":[1,2]"#,
                "the tensors take more than",
            ),
            (r#""datatype":"FP32","shape":[100000000,2],"data":[1,2]"#, "tensors take more than"),
            (r#""datatype":"FP32","shape":[1,2],"data":[1]"#, "1 elements, the shape says 2"),
            (r#""datatype":"FP32","shape":[1,2]"#, "neither data nor"),
            (r#""datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}"#, "no header"),
            (
                r#""datatype":"FP32","shape":[1,2],"parameters":{"shared_memory_region":"r"},"data":[1,2]"#,
                "shared memory",
            ),
        ];
        for (rest, expected) in cases {
            let error = x(rest);
            assert!(error.contains(expected), "{rest}: {error}");
        }
        let wrong = [
            ("{", "no inference"),
            ("[]", "an object is expected"),
            (r#"{"inputs":[["x"]],"outputs":[{"name":"y"}]}"#, "an object is expected"),
            (r#"{"inputs":[],"outputs":[["y"]]}"#, "an object is expected"),
            (r#"{"parameters":[true],"inputs":[]}"#, "no inference"),
            (r#"{"inputs":[]}"#, "binary_data"),
            (r#"{"inputs":[],"outputs":[{"name":"y"}]}"#, "inputs are missing: x, t"),
            (r#"{"inputs":[{},{},{}],"outputs":[{"name":"y"}]}"#, "more inputs"),
            (r#"{"inputs":[],"outputs":[{"name":"z"}]}"#, "no output \"z\"; it has y, h"),
            (r#"{"inputs":[],"outputs":[{"name":"y"},{"name":"y"}]}"#, "named twice"),
            (
                r#"{"inputs":[],"outputs":[{"name":"y","parameters":{"classification":3}}]}"#,
                "classification",
            ),
            (
                r#"{"inputs":[{"name":"z","datatype":"FP32","shape":[]}],"outputs":[{"name":"y"}]}"#,
                "no input \"z\"",
            ),
        ];
        for (head, expected) in wrong {
            let error = asked(head, b"").unwrap_err();
            assert!(error.contains(expected), "{head}: {error}");
        }
        let twice = asked(&format!(r#"{{"inputs":[{T},{T}],{Y}}}"#), b"").unwrap_err();
        assert!(twice.contains("given twice"), "{twice}");
    }

    #[test]
    fn a_tensor_that_is_too_large_is_a_body_that_is() {
        let x = r#"{"name":"x","datatype":"FP32","shape":[20000000,2],"data":[1]}"#;
        let head = format!(r#"{{"inputs":[{x},{T}],{Y}}}"#);
        let (inputs, outputs) = ports();
        let refused = read(&Bytes::from(head), None, &inputs, &outputs).unwrap_err();
        assert_eq!((refused.problem().status, &*refused.problem().code), (413, "body_too_large"));
    }

    #[test]
    fn binary_parts_have_to_be_whole() {
        let ask = |size: usize, binary: &[u8]| {
            let t = format!(
                r#"{{"name":"t","datatype":"BYTES","shape":[2],"parameters":{{"binary_data_size":{size}}}}}"#
            );
            asked(&format!(r#"{{"inputs":[{t}],{Y}}}"#), binary).unwrap_err()
        };
        let two = [1, 0, 0, 0, b'a', 0, 0, 0, 0];
        assert!(ask(9, &two).contains("inputs are missing: x"));
        assert!(ask(10, &two).contains("9 bytes are left of the body"));
        assert!(ask(8, &two).contains("element 1 of its binary data is cut off"));
        assert!(ask(9, &[&two[..], b"more"].concat()).contains("4 bytes behind the request"));
        assert!(ask(9, &[255, 255, 255, 255, b'a', 0, 0, 0, 0]).contains("element 0"));
        assert!(ask(9, &[1, 0, 0, 0, 0xff, 0, 0, 0, 0]).contains("no UTF-8"));
        assert!(ask(10, &[&two[..], b"x"].concat()).contains("1 bytes are left behind"));
        let (inputs, outputs) = ports();
        let beyond = read(&Bytes::from("{}"), Some(3), &inputs, &outputs).unwrap_err();
        assert!(beyond.problem().detail.contains("the body has 2 bytes"));
    }
}
