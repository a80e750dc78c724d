//! Memory stays flat: models that come and go leave nothing, and neither do inferences.
//!
//! `EMBERMQ_CYCLES` says how many times a small model is loaded (default 300); a hundred times as many inferences are run, and a model of
//! 5 MB is loaded and run once for each fifteen.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::{Path, PathBuf};

use embermq_inference::{Limits, Network, Tensor, Value};

/// Nothing else may run in this process meanwhile: one test, both parts.
#[test]
fn loading_and_running_a_model_again_and_again_keeps_memory_flat() {
    let cycles: usize =
        std::env::var("EMBERMQ_CYCLES").map_or(300, |cycles| cycles.parse().unwrap());
    let model = of("iris-mlp/model.onnx");
    let limits = Limits::default();
    let input = || Value::from(Tensor::from_f32s(vec![16, 4], vec![0.5; 64]).unwrap());

    let load = || {
        let network = Network::open(&model, &limits).unwrap();
        assert_eq!(network.run(vec![input()]).unwrap().len(), 2);
    };
    // What the allocator and the first run set up once is there after a third.
    (0..cycles / 3).for_each(|_| load());
    let before = resident_bytes();
    (0..cycles).for_each(|_| load());
    assert_flat("loading", before, resident_bytes());

    let network = Network::open(&model, &limits).unwrap();
    let run = || assert_eq!(network.run(vec![input()]).unwrap().len(), 2);
    (0..cycles * 33).for_each(|_| run());
    let before = resident_bytes();
    (0..cycles * 100).for_each(|_| run());
    assert_flat("running", before, resident_bytes());

    // One whose leak would show at once.
    let model = of("efficientnet-lite0/model-int8.onnx");
    let pixels = || Tensor::from_f32s(vec![1, 3, 224, 224], vec![0.5; 3 * 224 * 224]).unwrap();
    let load = || {
        let network = Network::open(&model, &limits).unwrap();
        assert_eq!(network.run(vec![pixels().into()]).unwrap().len(), 1);
    };
    (0..5).for_each(|_| load());
    let before = resident_bytes();
    (0..cycles / 15).for_each(|_| load());
    assert_flat("loading 5 MB", before, resident_bytes());
}

fn of(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(file)
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

#[track_caller]
fn assert_flat(what: &str, before: u64, after: u64) {
    let limit = before + before / 20;
    assert!(after <= limit, "{what}: {before} bytes resident before, {after} after");
}
