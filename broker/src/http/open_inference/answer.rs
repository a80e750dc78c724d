//! The answer to an inference: a JSON head, and behind it the outputs that were asked for in binary form.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use serde_json::json;

use super::ask::{Form, TENSOR_BYTES_MAX};
use crate::http::failure::Failure;
use crate::http::media::JSON;
use crate::models::{Datatype, Elements, RawTensor, TensorPort};
use crate::stage::Identity;

/// Where the binary part begins.
pub(super) const HEAD_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// An answer, written.
#[derive(Debug)]
pub(super) struct Written {
    body: Vec<u8>,
    /// Where the binary part begins.
    head_bytes: Option<usize>,
}

/// Writes the outputs that are wanted.
pub(super) fn write(
    identity: &Identity,
    id: Option<&str>,
    ports: &[TensorPort],
    outputs: &[(Option<Form>, Option<RawTensor>)],
) -> Result<Written, Failure> {
    let bytes: usize =
        outputs.iter().filter_map(|(_, tensor)| tensor.as_ref()).map(RawTensor::bytes).sum();
    if bytes > TENSOR_BYTES_MAX {
        return Err(too_large());
    }
    let mut head = json!({ "model_name": identity.name, "model_version": identity.version });
    if let Some(id) = id {
        head["id"] = id.into();
    }
    let (mut text, mut binary) = (head.to_string().into_bytes(), Vec::new());
    text.pop();
    text.extend_from_slice(b",\"outputs\":[");
    let (mut first, mut any_binary) = (true, false);
    for (port, (form, tensor)) in ports.iter().zip(outputs) {
        let (Some(form), Some(tensor)) = (form, tensor) else { continue };
        if !std::mem::replace(&mut first, false) {
            text.push(b',');
        }
        let (name, datatype, shape) = (&port.name, tensor.datatype.name(), &tensor.shape);
        let mut head = json!({ "name": name, "datatype": datatype, "shape": shape });
        match form {
            Form::Binary => {
                any_binary = true;
                let before = binary.len();
                put_binary(&mut binary, &tensor.elements);
                head["parameters"] = json!({ "binary_data_size": binary.len() - before });
                text.extend_from_slice(head.to_string().as_bytes());
            }
            Form::Json => {
                text.extend_from_slice(head.to_string().as_bytes());
                text.pop();
                text.extend_from_slice(b",\"data\":[");
                put_json(&mut text, tensor)?;
                text.extend_from_slice(b"]}");
            }
        }
    }
    text.extend_from_slice(b"]}");
    let head_bytes = any_binary.then_some(text.len());
    text.extend_from_slice(&binary);
    Ok(Written { body: text, head_bytes })
}

impl Written {
    /// As a response.
    pub(super) fn into_response(self) -> Response {
        let kind = if self.head_bytes.is_some() { "application/octet-stream" } else { JSON };
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
        let mut response = (kind, self.body).into_response();
        if let Some(length) = self.head_bytes {
            response.headers_mut().insert(HEAD_LENGTH, length.into());
        }
        response
    }
}

pub(super) fn too_large() -> Failure {
    let detail = format!(
        "the answer has more than {TENSOR_BYTES_MAX} bytes of tensors; ask for fewer outputs, or send smaller inputs"
    );
    Failure::new(Code::BodyTooLarge, detail).with("limit_bytes", TENSOR_BYTES_MAX)
}

fn put_binary(out: &mut Vec<u8>, elements: &Elements) {
    match elements {
        Elements::Raw(bytes) => out.extend_from_slice(bytes),
        Elements::Texts(texts) => {
            for text in texts {
                // All of them together are below the limit, which fits.
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}

/// All elements in one list. What is no number in JSON (NaN, infinity) is `null`.
fn put_json(out: &mut Vec<u8>, tensor: &RawTensor) -> Result<(), Failure> {
    macro_rules! numbers {
        ($bytes:expr, $type:ty) => {{
            let (elements, _) = $bytes.as_chunks::<{ size_of::<$type>() }>();
            list(out, elements.iter().map(|bytes| <$type>::from_le_bytes(*bytes)))
        }};
    }
    let written = match (&tensor.elements, tensor.datatype) {
        (Elements::Texts(texts), _) => list(out, texts.iter()),
        (Elements::Raw(bytes), datatype) => match datatype {
            Datatype::Bool => list(out, bytes.iter().map(|byte| *byte != 0)),
            Datatype::U8 => numbers!(bytes, u8),
            Datatype::U16 => numbers!(bytes, u16),
            Datatype::U32 => numbers!(bytes, u32),
            Datatype::U64 => numbers!(bytes, u64),
            Datatype::I8 => numbers!(bytes, i8),
            Datatype::I16 => numbers!(bytes, i16),
            Datatype::I32 => numbers!(bytes, i32),
            Datatype::I64 => numbers!(bytes, i64),
            Datatype::F32 => numbers!(bytes, f32),
            Datatype::F64 => numbers!(bytes, f64),
            Datatype::F16 | Datatype::Bf16 | Datatype::Bytes => {
                let detail = format!("{datatype} cannot be written as JSON; ask with binary_data");
                return Err(Failure::invalid(detail));
            }
        },
    };
    written.map_err(|error| Failure::new(Code::Internal, format!("an output: {error}")))
}

fn list<T: serde::Serialize>(
    out: &mut Vec<u8>,
    elements: impl Iterator<Item = T>,
) -> serde_json::Result<()> {
    for (element, at) in elements.zip(0_usize..) {
        if at > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &element)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, datatype: Datatype, elements: Elements) -> (Vec<u8>, Option<usize>) {
        let identity = Identity {
            name: "m".to_owned(),
            version: "1".to_owned(),
            digest: String::new(),
            overrides: None,
        };
        let port = TensorPort { name: "y".to_owned(), datatype: Some(datatype), shape: None };
        let tensor = RawTensor { datatype, shape: vec![2], elements };
        let ports = [port.clone(), port];
        let outputs = [(None, None), (Some(form), Some(tensor))];
        let Written { body, head_bytes } =
            write(&identity, Some("i\"d"), &ports, &outputs).unwrap();
        (body, head_bytes)
    }

    #[test]
    fn an_answer_has_a_head_and_perhaps_bytes_behind_it() {
        let floats = [1.5_f32, f32::NAN].map(f32::to_le_bytes).concat();
        let floats = Elements::Raw(floats.into());
        let (body, head) = written(Form::Json, Datatype::F32, floats.clone());
        assert_eq!(head, None);
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = json!({
            "model_name": "m", "model_version": "1", "id": "i\"d",
            "outputs": [{ "name": "y", "datatype": "FP32", "shape": [2], "data": [1.5, null] }],
        });
        assert_eq!(json, expected);
        let (body, head) = written(Form::Binary, Datatype::F32, floats);
        let (head, binary) = body.split_at(head.unwrap());
        let json: serde_json::Value = serde_json::from_slice(head).unwrap();
        assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 8);
        assert_eq!(binary[..4], 1.5_f32.to_le_bytes());
        let texts = Elements::Texts(vec!["a".to_owned(), String::new()]);
        let (body, head) = written(Form::Binary, Datatype::Bytes, texts);
        assert_eq!(body[head.unwrap()..], [1, 0, 0, 0, b'a', 0, 0, 0, 0]);
    }

    #[test]
    fn whole_numbers_lose_nothing() {
        let most = Elements::Raw([u64::MAX, 0].map(u64::to_le_bytes).concat().into());
        let (body, _) = written(Form::Json, Datatype::U64, most);
        let text = String::from_utf8(body).unwrap();
        assert!(text.contains("[18446744073709551615,0]"), "{text}");
    }
}
