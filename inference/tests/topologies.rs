//! Whole networks of ONNX's own test data (`onnx/backend/test/data/light`): AlexNet, DenseNet, ResNet and others, with constants for weights.
//!
//! `EMBERMQ_ONNX_DATA` names the folder `onnx/backend/test/data`; without it nothing is run, which is said.
#![allow(clippy::unwrap_used, reason = "what fails there fails the test")]

use std::path::Path;

use embermq_inference::conformance::read_tensor_file;
use embermq_inference::{Dim, Limits, Network, Tensor, Value, ValueType};

/// As the runner of ONNX's tests makes them: a ramp from 0 towards 1.
fn ramp(declared: &ValueType) -> Value {
    let ValueType::Tensor { dims: Some(dims), .. } = declared else { panic!("{declared:?}") };
    let size = |dim: &Dim| if let Dim::Size(size) = dim { *size } else { 1 };
    let shape: Vec<usize> = dims.iter().map(size).collect();
    let count: usize = shape.iter().product();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "the runner divides in f64 and rounds"
    )]
    let elements = (0..count).map(|at| (at as f64 / count as f64) as f32).collect();
    Value::Tensor(Tensor::from_f32s(shape, elements).unwrap())
}

/// What is different, if anything is.
fn difference(found: &Value, expected: &Value) -> Option<String> {
    let (Value::Tensor(found), Value::Tensor(expected)) = (found, expected) else {
        return Some("no tensors".to_owned());
    };
    if found.shape() != expected.shape() {
        return Some(format!("shape {:?}, expected {:?}", found.shape(), expected.shape()));
    }
    let (found, expected) = (found.f32s().unwrap(), expected.f32s().unwrap());
    let near = |(a, b): &(&f32, &f32)| (*a - *b).abs() <= 1e-6 + 1e-3 * b.abs();
    let (a, b) = found.iter().zip(expected).find(|pair| !near(pair))?;
    Some(format!("{a}, expected {b}"))
}

fn run(model: &Path) -> Result<(), String> {
    let network = Network::open(model, &Limits::default()).map_err(|error| error.to_string())?;
    let inputs = network.inputs().iter().map(|port| ramp(&port.value_type)).collect();
    let outputs = network.run(inputs).map_err(|error| error.to_string())?;
    for (at, output) in outputs.iter().enumerate() {
        let name = model.file_stem().unwrap().to_string_lossy();
        let expected = read_tensor_file(&model.with_file_name(format!("{name}_output_{at}.pb")))?;
        if let Some(what) = difference(output, &expected) {
            return Err(format!("output {at}: {what}"));
        }
    }
    Ok(())
}

#[test]
fn whole_networks_answer_as_expected() {
    let Some(data) = std::env::var_os("EMBERMQ_ONNX_DATA") else {
        eprintln!("NOT RUN: EMBERMQ_ONNX_DATA does not name the folder onnx/backend/test/data");
        return;
    };
    let light = Path::new(&data).join("light");
    let mut models: Vec<_> = std::fs::read_dir(&light)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .collect();
    models.sort();
    assert!(!models.is_empty(), "{} holds no models", light.display());
    let mut failed = Vec::new();
    for model in models {
        if let Err(what) = run(&model) {
            failed.push(format!("{}: {what}", model.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
