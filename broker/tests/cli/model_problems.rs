//! What `embermq model` says of models, sizes and payloads that are not right.

use std::fs;
use std::path::Path;

use crate::binary::{Outcome, command, finish, run};

fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).display().to_string()
}

fn iris() -> String {
    repository("fuzz/corpus/model/iris-mlp.onnx")
}

fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// A field of protobuf that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

/// A value of f32 with these sizes, as an input or output declares it.
fn port(name: &str, sizes: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = sizes.iter().flat_map(|size| field(1, &[8, *size])).collect();
    let tensor = [vec![8, 1], field(2, &dims)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

/// A model that multiplies two matrices.
fn product(left: &[u8], right: &[u8], y: &[u8]) -> Vec<u8> {
    let node = [field(1, b"a"), field(1, b"b"), field(2, b"y"), field(4, b"MatMul")].concat();
    let graph = [
        field(1, &node),
        field(2, b"g"),
        field(11, &port("a", left)),
        field(11, &port("b", right)),
        field(12, &port("y", y)),
    ];
    [vec![8, 8], field(7, &graph.concat()), field(8, &[16, 17])].concat()
}

#[test]
fn a_model_that_fails_in_its_trial_run_is_not_said_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fs::write(dir.join("good.onnx"), product(&[1, 3], &[3, 4], &[1, 4])).unwrap();
    run(dir, &["model", "check", "good.onnx"]).expect_code(0);
    fs::write(dir.join("bad.onnx"), product(&[1, 3], &[4, 3], &[1, 3])).unwrap();
    let text = run(dir, &["model", "check", "bad.onnx"]).expect_code(1);
    assert!(
        text.stdout.starts_with("verdict     it loads, in 1 steps, but did not run\n"),
        "{text:?}"
    );
    assert!(text.stdout.contains("a run with made-up inputs failed: MatMul"), "{text:?}");
    let found = json(&run(dir, &["model", "check", "bad.onnx", "-o", "json"]).expect_code(1));
    assert_eq!(found["ok"], false);
    assert!(found["problems"][0]["what"].as_str().unwrap().contains("MatMul"), "{found}");
    run(dir, &["model", "check", "bad.onnx", "--no-run"]).expect_code(0);
    // What JSON cannot bring can come from files.
    let sequence =
        repository("fuzz/corpus/model/sequence_map_add_1_sequence_1_tensor_expanded.onnx");
    run(dir, &["model", "check", &sequence]).expect_code(0);
}

#[test]
fn a_manifest_is_checked_with_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("flowers");
    fs::create_dir(&bundle).unwrap();
    fs::copy(iris(), bundle.join("model.onnx")).unwrap();
    fs::copy(repository("inference/models/iris-mlp/model.toml"), bundle.join("model.toml"))
        .unwrap();
    run(folder.path(), &["model", "check", "flowers"]).expect_code(0);
    let manifest = "[pre]\nkind = \"jsno\"\n[post]\nkind = \"classes\"\nactivation = \"soft\"\noutput = \"probabilities\"\n";
    fs::write(bundle.join("model.toml"), manifest).unwrap();
    let check = run(folder.path(), &["model", "check", "flowers"]).expect_code(1);
    assert!(check.stdout.contains("it cannot be run: 2 problems\n"), "{check:?}");
    let lines = ["  flowers/model.toml:2: pre.kind: ", "  flowers/model.toml:5: post.activation: "];
    for line in lines {
        assert!(check.stdout.contains(&format!("\n{line}")), "{check:?}");
    }
    let found =
        json(&run(folder.path(), &["model", "check", "flowers", "-o", "json"]).expect_code(1));
    assert_eq!((&found["ok"], found["problems"].as_array().unwrap().len()), (&false.into(), 2));
    let refused = run(folder.path(), &["model", "run", "flowers", "[1, 2, 3, 4]"]).expect_code(1);
    assert_eq!(refused.stderr.lines().count(), 2, "{refused:?}");
}

#[test]
fn weights_that_grow_when_they_are_loaded_are_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let check = |bundle: &str| {
        let path = repository(&format!("inference/models/{bundle}"));
        run(folder.path(), &["model", "check", &path, "--no-run"]).expect_code(0)
    };
    let photos = check("efficientnet-lite0");
    assert!(photos.stdout.contains("those of 8 bits as floats of 32"), "{photos:?}");
    let flowers = check("iris-mlp");
    assert!(!flowers.stdout.contains("8 bits"), "{flowers:?}");
}

#[test]
fn items_are_counted_that_were_there() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fs::write(dir.join("one.onnx"), product(&[1, 3], &[3, 4], &[1, 4])).unwrap();
    let bench = |model: &str, sizes: &[&str]| {
        let arguments = ["model", "bench", model, "--time", "1ms", "-o", "json"];
        run(dir, &[&arguments[..], sizes].concat())
    };
    let refused = bench("one.onnx", &["--batch", "16"]).expect_code(64);
    assert!(refused.stderr.contains("cannot take a batch of 16"), "{refused:?}");
    assert_eq!(json(&bench("one.onnx", &[]).expect_code(0))["batch"], 1);
    for zero in [["--batch", "0"], ["--instances", "0"]] {
        let refused = bench("one.onnx", &zero).expect_code(64);
        assert!(refused.stderr.contains("it has to be 1 or more"), "{refused:?}");
    }
    let refused = run(dir, &["model", "check", "one.onnx", "--batch", "16"]).expect_code(64);
    assert!(refused.stderr.contains("cannot take a batch of 16"), "{refused:?}");
    assert_eq!(json(&bench(&iris(), &["--batch", "4"]).expect_code(0))["batch"], 4);
}

#[test]
fn sizes_of_axes_that_are_not_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for verb in ["run", "bench", "check"] {
        let arguments = ["model", verb, &iris(), "--dim", "btach=2"];
        let refused = run(folder.path(), &arguments).expect_code(64);
        assert!(refused.stderr.contains("no axis of that name"), "{refused:?}");
    }
    let bundle = repository("inference/models/iris-mlp");
    let arguments = ["model", "run", &bundle, "[1, 2, 3, 4]", "--dim", "n=1"];
    let refused = run(folder.path(), &arguments).expect_code(64);
    assert!(refused.stderr.contains("does nothing for a bundle"), "{refused:?}");
}

#[test]
fn a_name_of_a_file_is_no_payload_and_a_wrong_input_no_value() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let bundle = repository("inference/models/iris-mlp");
    for path in ["nothere.json", "./nothere"] {
        let refused = run(dir, &["model", "run", &bundle, path]).expect_code(64);
        assert!(refused.stderr.contains("there is no such file"), "{refused:?}");
    }
    // JSON with a point in it is no name.
    run(dir, &["model", "run", &bundle, "[1, 2, 3, 4.5]"]).expect_code(0);
    let refused = run(dir, &["model", "run", &iris(), "wrong=[[1, 2, 3, 4]]"]).expect_code(64);
    assert!(refused.stderr.contains("no input \"wrong\"; it wants "), "{refused:?}");
    let arguments = ["model", "run", &iris(), "-", "-o", "json"];
    let answered = finish(command(dir).args(arguments), b"[[5.1, 3.5, 1.4, 0.2]]").expect_code(0);
    assert_eq!(json(&answered)["outputs"]["probabilities"]["shape"], serde_json::json!([1, 3]));
    let raw = [5.1_f32, 3.5, 1.4, 0.2].map(f32::to_le_bytes).concat();
    let same = finish(command(dir).args(arguments), &raw).expect_code(0);
    assert_eq!(json(&same)["outputs"], json(&answered)["outputs"]);
}

#[test]
fn the_answer_comes_before_the_classes_that_it_was_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("flowers");
    fs::create_dir(&bundle).unwrap();
    fs::copy(iris(), bundle.join("model.onnx")).unwrap();
    let manifest = fs::read_to_string(repository("inference/models/iris-mlp/model.toml")).unwrap();
    let renamed = manifest + "rename = { setosa = \"bristle-pointed\" }\n";
    fs::write(bundle.join("model.toml"), renamed).unwrap();
    let arguments = ["model", "run", "flowers", "[5.1, 3.5, 1.4, 0.2]"];
    let answer = run(folder.path(), &arguments).expect_code(0);
    let lines = answer.lines();
    assert!(lines[0].starts_with("bristle-pointed  0.9"), "{answer:?}");
    assert!(lines[1].starts_with("  0.9") && lines[1].ends_with("  setosa"), "{answer:?}");
}

#[test]
fn a_bundle_runs_on_the_device_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = repository("inference/models/iris-mlp");
    let on = |device: &str| {
        run(folder.path(), &["model", "run", &bundle, "[1, 2, 3, 4]", "--device", device])
    };
    on("flex").expect_code(0);
    let refused = on("gpu").expect_code(64);
    assert!(refused.stderr.contains("\"gpu\" is no device; there are cpu, flex"), "{refused:?}");
}

#[test]
fn a_model_that_computes_for_ever_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let endless = repository("fuzz/corpus/model/endless-loop.onnx");
    let arguments = ["model", "check", &endless, "--time-max", "50ms"];
    let check = run(folder.path(), &arguments).expect_code(1);
    assert!(check.stdout.contains("it did not end within 50ms; --time-max"), "{check:?}");
}

#[test]
fn a_newer_operator_set_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let model = product(&[1, 3], &[3, 4], &[1, 4]);
    let newer = [&model[..model.len() - 1], &[99]].concat();
    fs::write(folder.path().join("newer.onnx"), newer).unwrap();
    let check = run(folder.path(), &["model", "check", "newer.onnx"]).expect_code(1);
    assert!(check.stdout.contains("operator set 99 is newer than 28"), "{check:?}");
    assert!(check.stdout.contains("export the model for 28 or below"), "{check:?}");
}
