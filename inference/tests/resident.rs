//! What a loaded model takes: at most 1.3 times its weights, in the form in which they are used, and what lives between operators.
//!
//! Measured with the system's allocator, in a process of its own. An allocator that keeps freed memory takes more for a while.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;

use embermq_inference::{Limits, Network, Tensor, Value};

#[test]
fn a_loaded_model_takes_little_more_than_its_weights() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    // What code and allocator take once is there before.
    let warm_up = Network::open(&models.join("iris-mlp/model.onnx"), &Limits::default()).unwrap();
    warm_up.run(vec![Tensor::from_f32s(vec![1, 4], vec![0.5; 4]).unwrap().into()]).unwrap();
    let before = resident_bytes();

    let model = models.join("efficientnet-lite0/model-int8.onnx");
    let network = Network::open(&model, &Limits::default()).unwrap();
    let pixels = Tensor::from_f32s(vec![1, 3, 224, 224], vec![0.5; 3 * 224 * 224]).unwrap();
    let (_, live_bytes) = network.run_measured(vec![Value::from(pixels)]).unwrap();
    let (taken, weights) = (resident_bytes() - before, network.weight_bytes() as u64);
    assert!(weights > 15 << 20, "{weights}");
    let limit = (weights + live_bytes) * 13 / 10;
    assert!(taken <= limit, "{taken} bytes for {weights} of weights and {live_bytes} of values");
    eprintln!("{taken} bytes for {weights} of weights and {live_bytes} of values");
}

/// Of the heap, of stacks and of model files; pages of the program's code are not a model's.
fn resident_bytes() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut counts, mut sum) = (false, 0);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if !first.ends_with(':') {
            // A mapping begins: addresses, rights, place, device, inode, and a name if it has one.
            counts =
                words.nth(4).is_none_or(|name| name.starts_with('[') || name.ends_with(".onnx"));
        } else if counts && first == "Rss:" {
            sum += words.next().unwrap().parse::<u64>().unwrap() * 1024;
        }
    }
    sum
}
