//! JPEG files of ONNX's own test data. Decoders round differently, so pixels may be a little apart, here and in `embermq model test`.
//!
//! `EMBERMQ_ONNX_DATA` names the folder `onnx/backend/test/data`; without it nothing is run, which is said.
#![allow(clippy::unwrap_used, reason = "what fails there fails the test")]

use std::path::Path;

use embermq_inference::conformance::read_tensor_file;
use embermq_inference::{Limits, Network, Value};

/// How far apart one channel of one pixel may be.
const APART_MAX: u8 = 4;

#[test]
fn decoded_jpegs_are_near_what_is_expected() {
    let Some(data) = std::env::var_os("EMBERMQ_ONNX_DATA") else {
        eprintln!("NOT RUN: EMBERMQ_ONNX_DATA does not name the folder onnx/backend/test/data");
        return;
    };
    for format in ["rgb", "bgr", "grayscale"] {
        let folder =
            Path::new(&data).join("node").join(format!("test_image_decoder_decode_jpeg_{format}"));
        let network = Network::open(&folder.join("model.onnx"), &Limits::default()).unwrap();
        let set = folder.join("test_data_set_0");
        let outputs =
            network.run(vec![read_tensor_file(&set.join("input_0.pb")).unwrap()]).unwrap();
        let expected = read_tensor_file(&set.join("output_0.pb")).unwrap();
        let (Value::Tensor(found), Value::Tensor(expected)) = (&outputs[0], &expected) else {
            panic!("no tensors")
        };
        assert_eq!(found.shape(), expected.shape(), "{format}");
        let apart = found.raw().iter().zip(expected.raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(apart <= Some(APART_MAX), "{format}: {apart:?}");
    }
}
