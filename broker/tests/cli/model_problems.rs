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

/// Without the answer that is known, whose files lie elsewhere.
fn manifest_of_irises() -> String {
    let text = fs::read_to_string(repository("inference/models/iris-mlp/model.toml")).unwrap();
    let (manifest, _golden) = text.split_once("\n[golden]").unwrap();
    manifest.to_owned()
}

#[test]
fn a_manifest_is_checked_with_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("flowers");
    fs::create_dir(&bundle).unwrap();
    fs::copy(iris(), bundle.join("model.onnx")).unwrap();
    fs::write(bundle.join("model.toml"), manifest_of_irises()).unwrap();
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
    // What only an answer shows.
    let another = manifest_of_irises().replace("\"probabilities\"", "\"label\"");
    fs::write(bundle.join("model.toml"), another).unwrap();
    let check = run(folder.path(), &["model", "check", "flowers"]).expect_code(1);
    assert!(check.stdout.contains("model.toml: post.labels: the output has 1 scores"), "{check:?}");
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
    let renamed = manifest_of_irises() + "rename = { setosa = \"bristle-pointed\" }\n";
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

/// A copy of the bundle of irises with another known score.
fn flowers_with_score(dir: &Path, name: &str, score: &str) {
    let bundle = dir.join(name);
    fs::create_dir(&bundle).unwrap();
    for file in ["model.onnx", "model.toml", "known-input.json"] {
        let from = repository(&format!("inference/models/iris-mlp/{file}"));
        fs::copy(from, bundle.join(file)).unwrap();
    }
    let known = format!(r#"{{"label": "versicolor", "score": {score}}}"#);
    fs::write(bundle.join("known-answer.json"), known).unwrap();
}

#[test]
fn answers_that_are_known_are_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    flowers_with_score(dir, "right", "0.9868837");
    flowers_with_score(dir, "wrong", "0.5");
    let right = run(dir, &["model", "check", "right"]).expect_code(0);
    assert!(
        right.stdout.contains("\ngolden      1 answer is the one that is known\n"),
        "{right:?}"
    );
    let found = json(&run(dir, &["model", "check", "right", "-o", "json"]).expect_code(0));
    assert_eq!((&found["ok"], &found["golden"]), (&true.into(), &1.into()));
    let unasked = run(dir, &["model", "check", "wrong", "--no-run"]).expect_code(0);
    assert!(
        unasked.stdout.contains("\ngolden      1 known answer, not asked for\n"),
        "{unasked:?}"
    );

    let told = "golden: the answer to known-input.json is not known-answer.json: /score is 0.98";
    let wrong = run(dir, &["model", "check", "wrong"]).expect_code(1);
    assert!(wrong.stdout.starts_with("verdict     it runs, in "), "{wrong:?}");
    assert!(wrong.stdout.contains(told) && wrong.stdout.contains("known is 0.5"), "{wrong:?}");
    let found = json(&run(dir, &["model", "check", "wrong", "-o", "json"]).expect_code(1));
    assert_eq!(found["ok"], false);
    assert!(found["problems"][0]["what"].as_str().unwrap().starts_with(told), "{found}");

    let test = run(dir, &["model", "test", "right"]).expect_code(0);
    assert_eq!(test.lines(), ["ok right 1 known answer", "1 passed, 0 failed, 0 unsupported"]);
    let test = run(dir, &["model", "test", "right", "wrong"]).expect_code(1);
    let line = test.lines()[1];
    assert!(line.starts_with("wrong wrong known-answer.json: /score is 0.98"), "{test:?}");
    assert!(line.contains("known is 0.5"), "{test:?}");
    assert_eq!(test.lines()[2], "1 passed, 1 failed, 0 unsupported");
    let test = run(dir, &["model", "test", "right", "--json"]).expect_code(0);
    let found: serde_json::Value = serde_json::from_str(test.lines()[0]).unwrap();
    assert_eq!((&found["verdict"], &found["golden"]), (&"ok".into(), &1.into()));
    let none = repository("inference/models/minilm");
    let missing = run(dir, &["model", "test", &none]).expect_code(1);
    assert!(missing.lines()[0].starts_with("error minilm "), "{missing:?}");
}

#[test]
fn the_bundles_that_come_with_the_program_give_the_answers_that_they_know() {
    let folder = tempfile::tempdir().unwrap();
    for bundle in ["efficientnet-lite0", "magika", "iris-mlp"] {
        let path = repository(&format!("inference/models/{bundle}"));
        let test = run(folder.path(), &["model", "test", &path]).expect_code(0);
        assert_eq!(test.lines()[0], format!("ok {bundle} 1 known answer"), "{test:?}");
    }
}
