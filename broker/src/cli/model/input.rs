//! Inputs of a model from files and from the command line: `.pb` (`TensorProto`), `.npy`, `.json`, JSON itself, and raw
//! little-endian elements in any other file.

use std::fs;
use std::path::Path;

use embermq_inference::conformance::read_tensor_file;
use embermq_inference::{DType, Dim, Network, Port, Sizes, Tensor, Value, ValueType};

use super::Failure;
use super::payload::standard_input;

/// How `NumPy`'s files begin.
const NPY: &[u8] = b"\x93NUMPY";

/// A value for each input of a network. `given`: `NAME=WHAT`, or `WHAT` for the inputs that are not named, in order.
pub(super) fn values(
    network: &Network,
    given: &[String],
    sizes: &Sizes,
) -> Result<Vec<Value>, Failure> {
    let ports = network.inputs();
    let mut values: Vec<Option<Value>> = vec![None; ports.len()];
    let mut unnamed = Vec::new();
    for text in given {
        let named = text.split_once('=').and_then(|(name, what)| {
            let at = ports.iter().position(|port| port.name == name)?;
            Some((at, what))
        });
        match named {
            Some((at, what)) => values[at] = Some(value(&ports[at], what, sizes)?),
            None => {
                if let Some(name) = unknown_name(text) {
                    return Err(Failure::usage(super::one_line(&format!(
                        "the model has no input {name:?}; it wants {}",
                        list(ports)
                    ))));
                }
                unnamed.push(text);
            }
        }
    }
    let mut unnamed = unnamed.into_iter();
    for (port, slot) in ports.iter().zip(&mut values) {
        if slot.is_none() {
            let what = unnamed.next().ok_or_else(|| missing(ports, port))?;
            *slot = Some(value(port, what, sizes)?);
        }
    }
    if let Some(left) = unnamed.next() {
        let count = ports.len();
        return Err(Failure::usage(format!("{left:?} is too many: the model has {count} inputs")));
    }
    Ok(values.into_iter().flatten().collect())
}

/// What stands before the `=` of a text that is neither JSON nor the name of a file.
fn unknown_name(text: &str) -> Option<&str> {
    let (name, _) = text.split_once('=')?;
    (!is_json(text) && !name.is_empty() && !Path::new(text).exists()).then_some(name)
}

fn list(ports: &[Port]) -> String {
    let all: Vec<String> =
        ports.iter().map(|port| format!("{} ({})", port.name, port.value_type)).collect();
    all.join(", ")
}

fn missing(ports: &[Port], port: &Port) -> Failure {
    Failure::usage(super::one_line(&format!(
        "input {:?} is missing; the model wants {}",
        port.name,
        list(ports)
    )))
}

fn value(port: &Port, what: &str, sizes: &Sizes) -> Result<Value, Failure> {
    let from = if what == "-" { "standard input" } else { what };
    let failed = |why: String| {
        Failure::usage(super::one_line(&format!("input {:?} from {from}: {why}", port.name)))
    };
    if what == "-" {
        return streamed(port, &standard_input()?, sizes).map_err(failed);
    }
    read(port, what, sizes).map_err(failed)
}

/// A value that has no name to tell its form by.
fn streamed(port: &Port, bytes: &[u8], sizes: &Sizes) -> Result<Value, String> {
    if bytes.starts_with(NPY) {
        npy(bytes)
    } else if serde_json::from_slice::<&serde_json::value::RawValue>(bytes).is_ok() {
        json(port, bytes)
    } else {
        raw(port, bytes, sizes)
    }
}

/// Whether a text is meant as JSON.
fn is_json(text: &str) -> bool {
    text.starts_with(['[', '{', '"', '-']) || text.starts_with(|c: char| c.is_ascii_digit())
}

fn read(port: &Port, what: &str, sizes: &Sizes) -> Result<Value, String> {
    let path = Path::new(what);
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if is_json(what) && !path.exists() {
        return json(port, what.as_bytes());
    }
    match ending.to_ascii_lowercase().as_str() {
        "pb" => read_tensor_file(path),
        "npy" => npy(&file(path)?),
        "json" => json(port, &file(path)?),
        _ => raw(port, &file(path)?, sizes),
    }
}

fn file(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| error.to_string())
}

fn dtype_of(port: &Port) -> Result<DType, String> {
    match &port.value_type {
        ValueType::Tensor { dtype: Some(dtype), .. } => Ok(*dtype),
        other => Err(format!("it is declared as {other}: only .pb and .npy say what they hold")),
    }
}

fn json(port: &Port, text: &[u8]) -> Result<Value, String> {
    let json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let tensor = Tensor::from_json(&json, dtype_of(port)?).map_err(|error| error.to_string())?;
    Ok(tensor.into())
}

/// Elements alone. One axis whose size is not known follows from the length.
fn raw(port: &Port, bytes: &[u8], sizes: &Sizes) -> Result<Value, String> {
    let dtype = dtype_of(port)?;
    let ValueType::Tensor { dims: Some(dims), .. } = &port.value_type else {
        return Err("its shape is not declared: use .npy or .pb".to_owned());
    };
    let size = |dim: &Dim| match dim {
        Dim::Size(size) => Some(*size),
        Dim::Named(name) => sizes.named.get(name).copied(),
        Dim::Any => None,
    };
    let mut shape: Vec<Option<usize>> = dims.iter().map(size).collect();
    let known = shape.iter().flatten().try_fold(dtype.bytes(), |all, size| all.checked_mul(*size));
    let open = shape.iter().filter(|size| size.is_none()).count();
    match (open, known) {
        (1, Some(known)) if known > 0 && bytes.len().is_multiple_of(known) => {
            shape.iter_mut().for_each(|size| {
                size.get_or_insert(bytes.len() / known);
            });
        }
        (0, _) => {}
        _ => {
            let len = bytes.len();
            return Err(format!("{len} bytes do not give {}; use --dim", port.value_type));
        }
    }
    let shape = shape.into_iter().flatten().collect();
    elements(dtype, shape, bytes)
}

fn elements(dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Result<Value, String> {
    let wrong = format!("{} bytes are no {dtype} {shape:?}", bytes.len());
    Ok(Tensor::from_raw(dtype, shape, bytes).ok_or(wrong)?.into())
}

/// `NumPy`'s format, <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, in C order and little-endian.
fn npy(bytes: &[u8]) -> Result<Value, String> {
    let broken = || "it is no .npy file".to_owned();
    let rest = bytes.strip_prefix(NPY).ok_or_else(broken)?;
    let (major, rest) =
        (rest.first().copied().ok_or_else(broken)?, rest.get(2..).ok_or_else(broken)?);
    let (len, rest) = if major == 1 {
        let (len, rest) = rest.split_first_chunk::<2>().ok_or_else(broken)?;
        (usize::from(u16::from_le_bytes(*len)), rest)
    } else {
        let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        (usize::try_from(u32::from_le_bytes(*len)).map_err(|_| broken())?, rest)
    };
    let (header, data) = rest.split_at_checked(len).ok_or_else(broken)?;
    let header = std::str::from_utf8(header).map_err(|_| broken())?;
    let field = |name: &str| {
        let at = header.find(&format!("'{name}':"))?;
        Some(header.get(at + name.len() + 3..)?.trim_start())
    };
    if !field("fortran_order").ok_or_else(broken)?.starts_with("False") {
        return Err("it is in Fortran's order; save np.ascontiguousarray(array)".to_owned());
    }
    let code = field("descr").and_then(|text| text.split('\'').nth(1)).ok_or_else(broken)?;
    let dtype = npy_dtype(code).ok_or_else(|| format!("its type {code:?} is not supported"))?;
    let shape = field("shape").and_then(|text| text.strip_prefix('(')?.split(')').next());
    let shape = shape.ok_or_else(broken)?.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape = shape.map(|size| size.parse().map_err(|_| broken())).collect::<Result<_, _>>()?;
    elements(dtype, shape, data)
}

fn npy_dtype(code: &str) -> Option<DType> {
    Some(match code {
        "<f4" => DType::F32,
        "<f8" => DType::F64,
        "<f2" => DType::F16,
        "|i1" => DType::I8,
        "<i2" => DType::I16,
        "<i4" => DType::I32,
        "<i8" => DType::I64,
        "|u1" => DType::U8,
        "<u2" => DType::U16,
        "<u4" => DType::U32,
        "<u8" => DType::U64,
        "|b1" => DType::Bool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(dims: Vec<Dim>) -> Port {
        let value_type = ValueType::Tensor { dtype: Some(DType::F32), dims: Some(dims) };
        Port { name: "x".to_owned(), value_type }
    }

    fn shape(value: &Value) -> Vec<usize> {
        let Value::Tensor(tensor) = value else { panic!("{value:?}") };
        tensor.shape().to_vec()
    }

    #[test]
    fn raw_bytes_tell_the_one_size_that_is_open() {
        let open = port(vec![Dim::Named("batch".to_owned()), Dim::Size(2)]);
        assert_eq!(shape(&raw(&open, &[0; 24], &Sizes::default()).unwrap()), [3, 2]);
        for len in [1, 4, 12] {
            assert!(raw(&open, &vec![0; len], &Sizes::default()).is_err(), "{len}");
        }
        let two = port(vec![Dim::Any, Dim::Any]);
        assert!(raw(&two, &[0; 24], &Sizes::default()).is_err());
        let none = port(vec![Dim::Any, Dim::Size(0)]);
        assert!(raw(&none, &[], &Sizes::default()).is_err());
    }

    #[test]
    fn numpy_files_are_read_and_broken_ones_refused() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend([0; 8]);
        assert_eq!(shape(&npy(&bytes).unwrap()), [2, 1]);
        for len in 0..bytes.len() {
            assert!(npy(&bytes[..len]).is_err(), "{len}");
        }
    }
}
