//! Real models give the answers of their reference: from golden tensors and pixels (logits within 1e-3, embeddings within 1e-4, the same
//! five best classes), from files (the same best class, probabilities within 0.05), in batches of 1, 3 and 16, with 1 and 2 threads.
//!
//! What is too large for this repository is read from the folder that `EMBERMQ_MODELS` names; without it those tests say that they were
//! skipped.
#![expect(clippy::unwrap_used, reason = "a test ends where what it expects is not there")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "class ids and numbers of a formula are small"
)]

use std::fs;
use std::path::{Path, PathBuf};

use embermq_inference::{
    Answer, Content, DType, InferError, InstanceOptions, Instances, Model, ModelOptions, Payload,
    Tensor, Value,
};
use serde_json::Value as Json;

/// Batch sizes that must give the same answers.
const BATCHES: [usize; 3] = [1, 3, 16];

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

fn open(path: &Path) -> Model {
    match Model::open(path, &ModelOptions::default()) {
        Ok(model) => model,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// A copy of a bundle of ours that takes batches of 16.
fn wide(name: &str, edit: impl Fn(String) -> String) -> tempfile::TempDir {
    let bundle = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(models().join(name)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), bundle.path().join(entry.file_name())).unwrap();
        }
    }
    let manifest = bundle.path().join("model.toml");
    let text = edit(fs::read_to_string(&manifest).unwrap());
    let text = if text.contains("[batch]\nmax = 4\n") {
        text.replace("[batch]\nmax = 4\n", "[batch]\nmax = 16\n")
    } else {
        assert!(!text.contains("[batch]"), "{name} has another batch");
        format!("{text}\n[batch]\nmax = 16\n")
    };
    fs::write(manifest, text).unwrap();
    bundle
}

/// The same, completed with files that are too large for the repository. `None`: they are not here.
fn completed(
    name: &str,
    files: &[&str],
    edit: impl Fn(String) -> String,
) -> Option<tempfile::TempDir> {
    let Some(folder) = std::env::var_os("EMBERMQ_MODELS") else {
        eprintln!("SKIPPED: {name} needs {files:?}; EMBERMQ_MODELS names no folder with models");
        return None;
    };
    let bundle = wide(name, edit);
    for file in files {
        let from = Path::new(&folder).join(name).join(file);
        fs::copy(&from, bundle.path().join(file)).unwrap_or_else(|e| panic!("{from:?}: {e}"));
    }
    Some(bundle)
}

fn golden(folder: &Path) -> Json {
    serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap()
}

fn floats(path: &Path) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&fs::read(path).unwrap())
}

/// Answers in batches of a size, on instances of a number of threads.
fn answers(model: &Model, payloads: &[Payload], batch: usize, threads: usize) -> Vec<Answer> {
    let mut options = InstanceOptions::default();
    (options.count, options.threads, options.warm_up) = (1, threads, false);
    let instances = Instances::start(model, &options).unwrap();
    let mut answers = Vec::new();
    for part in payloads.chunks(batch) {
        let (sender, receiver) = std::sync::mpsc::channel();
        instances.submit(part.to_vec(), move |results| sender.send(results).unwrap()).unwrap();
        let results: Vec<Result<Answer, InferError>> = receiver.recv().unwrap();
        answers.extend(results.into_iter().map(|result| result.unwrap()));
    }
    assert_eq!(answers.len(), payloads.len());
    answers
}

/// Every batch size and number of threads.
fn every_way(model: &Model, payloads: &[Payload], check: impl Fn(&[Answer])) {
    for (batch, threads) in BATCHES.into_iter().flat_map(|batch| [(batch, 1), (batch, 2)]) {
        check(&answers(model, payloads, batch, threads));
    }
}

fn close(found: f64, expected: &Json, within: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= within, "{what}: {found}, expected {expected}");
}

fn json(answer: &Answer) -> &Json {
    match &answer.content {
        Content::Json(json) => json,
        other => panic!("no JSON: {other:?}"),
    }
}

fn run(model: &Model, inputs: Vec<Tensor>) -> Tensor {
    let outputs = model.network().run(inputs.into_iter().map(Value::Tensor).collect()).unwrap();
    match outputs.into_iter().next() {
        Some(Value::Tensor(tensor)) => tensor,
        other => panic!("no tensor: {other:?}"),
    }
}

#[test]
fn iris() {
    let bundle = wide("iris-mlp", |text| text);
    let (model, golden) = (open(bundle.path()), golden(&models().join("iris-mlp")));
    let rows = golden["rows"].as_array().unwrap();
    let payload = |row: &Json| Payload::from(row["features"].to_string().into_bytes());
    let payloads: Vec<Payload> = rows.iter().cycle().take(16).map(payload).collect();
    let batches = std::cell::RefCell::new(std::collections::BTreeSet::new());
    every_way(&model, &payloads, |answers| {
        for (answer, row) in answers.iter().zip(rows.iter().cycle()) {
            batches.borrow_mut().insert(answer.batch);
            assert_eq!(json(answer)["label"], row["name"]);
            assert_eq!(json(answer)["class"], row["label"]);
            for class in json(answer)["classes"].as_array().unwrap() {
                let at = class["class"].as_u64().unwrap() as usize;
                close(class["score"].as_f64().unwrap(), &row["probabilities"][at], 1e-5, "iris");
            }
        }
    });
    assert!(BATCHES.iter().all(|batch| batches.borrow().contains(batch)), "{batches:?}");
    let by_name =
        br#"{"petal_width": 0.2, "sepal_length": 5.1, "petal_length": 1.4, "sepal_width": 3.5}"#;
    let answers = model.infer(&[Payload::from(by_name.to_vec())]);
    assert_eq!(json(answers[0].as_ref().unwrap())["label"], "setosa");
}

#[test]
fn magika_tensors() {
    let folder = models().join("magika");
    let model = open(&folder);
    let input = fs::read(folder.join("golden.input.bin")).unwrap();
    let expected = floats(&folder.join("golden.output.bin"));
    for rows in [1, 3, 16, 21] {
        let bytes = &input[..rows * 2048 * 4];
        let tensor = Tensor::from_raw(DType::I32, vec![rows, 2048], bytes).unwrap();
        let output = run(&model, vec![tensor]);
        assert_eq!(output.shape(), [rows, 214]);
        for (found, expected) in output.f32s().unwrap().iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-4, "{found}, expected {expected}");
        }
    }
}

#[test]
fn magika_files() {
    let folder = models().join("magika");
    let bundle = wide("magika", |text| text);
    let (model, golden) = (open(bundle.path()), golden(&folder));
    let samples = golden["samples"].as_array().unwrap();
    let payload = |sample: &Json| {
        Payload::from(fs::read(folder.join(sample["file"].as_str().unwrap())).unwrap())
    };
    let payloads: Vec<Payload> = samples.iter().map(payload).collect();
    every_way(&model, &payloads, |answers| {
        for (answer, sample) in answers.iter().zip(samples) {
            assert_eq!(json(answer)["label"], sample["output"], "{}", sample["file"]);
            let best = json(answer)["classes"].as_array().unwrap();
            match sample["model"].as_array() {
                None => assert!(best.is_empty() && answer.batch == 0),
                Some(expected) => {
                    assert_eq!(best[0]["class"], expected[0]["class"]);
                    let score = best[0]["score"].as_f64().unwrap();
                    close(score, &expected[0]["score"], 1e-3, "magika");
                }
            }
        }
    });
}

/// The tensor that `golden.json` gives as a formula.
fn formula(elements: usize) -> Vec<f32> {
    let value = |i: u64| {
        let scattered = (i * 2_654_435_761) % (1 << 32);
        ((scattered as f64 / f64::from(1 << 16).powi(2) - 0.5) * 4.0) as f32
    };
    (0..elements as u64).map(value).collect()
}

fn efficientnet(model: &Model, file: &str, logits: &Path) {
    let golden = golden(&models().join("efficientnet-lite0"));
    let input = formula(2 * 3 * 224 * 224);
    let tensor = Tensor::from_f32s(vec![2, 3, 224, 224], input).unwrap();
    let output = run(model, vec![tensor]);
    let expected = floats(logits);
    assert_eq!(output.shape(), [2, 1000]);
    for (found, expected) in output.f32s().unwrap().iter().zip(&expected) {
        let within = 1e-3 + 1e-3 * expected.abs();
        assert!((found - expected).abs() <= within, "logit {found}, expected {expected}");
    }
    let images = golden["images"].as_array().unwrap();
    for image in images {
        let stretched = &image["results"]["stretch"];
        let pixels = stretched["pixels"]["file"].as_str().unwrap();
        from_pixels(model, pixels, &stretched[file]["top5"]);
    }
    let payload = |image: &Json| {
        let name = image["file"].as_str().unwrap().trim_start_matches("images/");
        Payload::from(fs::read(models().join("samples").join(name)).unwrap())
    };
    let payloads: Vec<Payload> = images.iter().map(payload).collect();
    // Sixteen photos: each of them three times, the first four times.
    let many: Vec<Payload> = payloads.iter().cycle().take(16).cloned().collect();
    for (batch, threads) in [(1, 1), (3, 1), (16, 1), (16, 2)] {
        let payloads = if batch == 16 { &many } else { &payloads };
        let answers = answers(model, payloads, batch, threads);
        assert!(answers.iter().any(|answer| answer.batch == batch), "no batch of {batch}");
        for (answer, image) in answers.iter().zip(images.iter().cycle()) {
            let best = &image["results"]["stretch"][file]["top5"][0];
            assert_eq!(json(answer)["class"], best["class"], "{}", image["file"]);
            let score = json(answer)["score"].as_f64().unwrap();
            close(score, &best["probability"], 0.05, "probability");
        }
    }
}

/// From the pixels of the reference: the same five best classes, with the same logits.
fn from_pixels(model: &Model, file: &str, top5: &Json) {
    let bytes = fs::read(models().join("efficientnet-lite0").join(file)).unwrap();
    let plane = |channel: usize| bytes.iter().skip(channel).step_by(3);
    let planes = (0..3).flat_map(plane).map(|byte| (f32::from(*byte) - 127.0) / 128.0).collect();
    let tensor = Tensor::from_f32s(vec![1, 3, 224, 224], planes).unwrap();
    let output = run(model, vec![tensor]);
    let logits = output.f32s().unwrap();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    for (class, expected) in order.iter().zip(top5.as_array().unwrap()) {
        assert_eq!(Json::from(*class), expected["class"], "{file}");
        let wanted = expected["logit"].as_f64().unwrap();
        close(f64::from(logits[*class]), &expected["logit"], 1e-3 + 1e-3 * wanted.abs(), file);
    }
}

#[test]
fn efficientnet_int8() {
    let folder = models().join("efficientnet-lite0");
    let bundle = wide("efficientnet-lite0", |text| text);
    efficientnet(
        &open(bundle.path()),
        "model-int8.onnx",
        &folder.join("golden/model-int8.logits.bin"),
    );
}

#[test]
fn efficientnet_f32() {
    let edit = |text: String| text.replace("model-int8.onnx", "model.onnx");
    let files = ["model.onnx", "golden/model.logits.bin"];
    let Some(folder) = std::env::var_os("EMBERMQ_MODELS") else {
        eprintln!(
            "SKIPPED: efficientnet-lite0 needs {files:?}; EMBERMQ_MODELS names no folder with models"
        );
        return;
    };
    let Some(bundle) = completed("efficientnet-lite0", &files[..1], edit) else { return };
    let logits = Path::new(&folder).join("efficientnet-lite0").join(files[1]);
    efficientnet(&open(bundle.path()), "model.onnx", &logits);
}

#[test]
fn minilm() {
    let files = ["model.onnx", "tokenizer.json"];
    let Some(bundle) = completed("minilm", &files, |text| text) else { return };
    let folder = models().join("minilm");
    let (model, golden) = (open(bundle.path()), golden(&folder));
    let sentences = golden["sentences"].as_array().unwrap();
    let text = |sentence: &Json| Payload::from(sentence["text"].as_str().unwrap().to_owned());
    let payloads: Vec<Payload> = sentences.iter().map(text).collect();
    let expected = floats(&folder.join("golden.embeddings.bin"));
    every_way(&model, &payloads, |answers| {
        for (answer, expected) in answers.iter().zip(expected.chunks_exact(384)) {
            let embedding = json(answer)["embedding"].as_array().unwrap();
            assert_eq!(embedding.len(), 384);
            for (found, expected) in embedding.iter().zip(expected) {
                close(found.as_f64().unwrap(), &Json::from(*expected), 1e-4, "embedding");
            }
        }
    });
}

#[test]
fn minilm_padded_to_the_longest() {
    let files = ["model.onnx", "tokenizer.json"];
    let edit = |text: String| text.replace("lengths = [16, 32, 64, 128, 256]", "lengths = []");
    let Some(bundle) = completed("minilm", &files, edit) else { return };
    let folder = models().join("minilm");
    let (model, golden) = (open(bundle.path()), golden(&folder));
    assert!(model.lengths().is_empty());
    let sentences = golden["sentences"].as_array().unwrap();
    let text = |sentence: &Json| Payload::from(sentence["text"].as_str().unwrap().to_owned());
    let payloads: Vec<Payload> = sentences.iter().map(text).collect();
    for (answer, sentence) in answers(&model, &payloads, 16, 1).iter().zip(sentences) {
        for (at, expected) in sentence["embedding_first_4"].as_array().unwrap().iter().enumerate() {
            let found = json(answer)["embedding"][at].as_f64().unwrap();
            close(found, expected, 1e-4, "embedding");
        }
    }
}
