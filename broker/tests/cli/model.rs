//! `embermq model` on files and folders, from the fuzzer's corpus and made here.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::run;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/model").join(name)
}

fn iris() -> String {
    corpus("iris-mlp.onnx").display().to_string()
}

#[test]
fn a_model_is_described_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let info = run(folder.path(), &["model", "info", &iris()]).expect_code(0);
    assert!(info.stdout.contains("opsets"), "{}", info.stdout);
    let check = run(folder.path(), &["model", "check", &iris()]).expect_code(0);
    assert!(check.stdout.starts_with("verdict     it can be run"), "{}", check.stdout);
    assert!(check.stdout.contains("memory      about"), "{}", check.stdout);
    let json = run(folder.path(), &["model", "check", &iris(), "-o", "json"]).expect_code(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["ok"], true);
    assert!(json["run_bytes"].as_u64().unwrap() > 0, "{json}");
}

#[test]
fn a_model_answers_inputs_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = ["model", "run", &iris(), "[[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]"];
    let text = run(folder.path(), &inputs).expect_code(0);
    assert!(text.stdout.contains("f32 [2, 3]"), "{}", text.stdout);
    assert!(text.stderr.contains("run in"), "{}", text.stderr);
    let json = run(folder.path(), &[&inputs[..], &["-o", "json"]].concat()).expect_code(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["outputs"]["probabilities"]["shape"], serde_json::json!([2, 3]));
    let wrong = run(folder.path(), &["model", "run", &iris()]).expect_code(64);
    assert!(wrong.stderr.contains("is missing"), "{}", wrong.stderr);
    let wrong = run(folder.path(), &["model", "run", &iris(), "[[1], [2, 3]]"]).expect_code(64);
    assert!(wrong.stderr.contains("an array has"), "{}", wrong.stderr);
}

#[test]
fn a_model_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["model", "bench", &iris(), "--batch", "1,4", "--time", "10ms", "-o", "json"];
    let bench = run(folder.path(), &arguments).expect_code(0);
    let lines = bench.lines();
    assert_eq!(lines.len(), 2, "{}", bench.stdout);
    let json: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(json["batch"], 4);
    assert!(json["items_per_second"].as_f64().unwrap() > 0.0, "{json}");
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text.onnx"), "no model at all").unwrap();
    for verb in ["info", "check", "run", "bench"] {
        let wrong = run(folder.path(), &["model", verb, "text.onnx"]).expect_code(1);
        assert!(wrong.stderr.contains("no ONNX model"), "{}", wrong.stderr);
        let absent = run(folder.path(), &["model", verb, "nothing.onnx"]).expect_code(69);
        assert!(absent.stderr.contains("nothing.onnx"), "{}", absent.stderr);
    }
}

/// A test folder: the model, and a data set with these files.
fn test_folder(dir: &Path, name: &str, model: &str, files: &[(&str, &[u8])]) {
    let set = dir.join(name).join("test_data_set_0");
    fs::create_dir_all(&set).unwrap();
    fs::copy(corpus(model), dir.join(name).join("model.onnx")).unwrap();
    for (file, bytes) in files {
        fs::write(set.join(file), bytes).unwrap();
    }
}

/// An f32 tensor as a `TensorProto`.
fn tensor(dims: &[u8], elements: &[f32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = dims.iter().flat_map(|size| [0x08, *size]).collect();
    bytes.extend([0x10, 1, 0x4a, u8::try_from(elements.len() * 4).unwrap()]);
    bytes.extend(elements.iter().flat_map(|element| element.to_le_bytes()));
    bytes
}

#[test]
fn folders_of_test_data_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    let cases = folder.path().join("cases");
    let input = tensor(&[1, 4], &[5.1, 3.5, 1.4, 0.2]);
    let wrong = tensor(&[1, 3], &[9.0, 9.0, 9.0]);
    // One i64, 0: the first species.
    let label = [&[0x08, 1, 0x10, 7, 0x4a, 8][..], &[0; 8]].concat();
    test_folder(
        &cases,
        "b_wrong",
        "iris-mlp.onnx",
        &[("input_0.pb", &input), ("output_0.pb", &wrong), ("output_1.pb", &label)],
    );
    test_folder(&cases, "c_no_data", "iris-mlp.onnx", &[]);
    let answer =
        run(folder.path(), &["model", "run", &iris(), "[[5.1, 3.5, 1.4, 0.2]]", "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer.expect_code(0).stdout).unwrap();
    let row = answer["outputs"]["probabilities"]["data"][0].as_array().unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "it was f32")]
    let right: Vec<f32> = row.iter().map(|number| number.as_f64().unwrap() as f32).collect();
    let right = tensor(&[1, 3], &right);
    test_folder(
        &cases,
        "a_right",
        "iris-mlp.onnx",
        &[("input_0.pb", &input), ("output_0.pb", &right), ("output_1.pb", &label)],
    );

    let outcome =
        run(folder.path(), &["model", "test", "cases", "--write-expect", "known"]).expect_code(1);
    let lines = outcome.lines();
    assert!(lines[0].starts_with("ok a_right "), "{}", outcome.stdout);
    assert!(lines[1].starts_with("wrong b_wrong test_data_set_0/"), "{}", outcome.stdout);
    assert!(lines[2].starts_with("error c_no_data "), "{}", outcome.stdout);
    assert_eq!(lines[3], "1 passed, 2 failed, 0 unsupported");
    run(folder.path(), &["model", "test", "cases/a_right"]).expect_code(0);

    // Known failures are no news; what gets worse is.
    run(folder.path(), &["model", "test", "cases", "--expect", "known"]).expect_code(0);
    fs::write(folder.path().join("known"), "a_right unsupported\nb_wrong ok\nc_no_data error\n")
        .unwrap();
    let outcome =
        run(folder.path(), &["model", "test", "cases", "--expect", "known"]).expect_code(1);
    assert!(outcome.stdout.contains("improved a_right"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("REGRESSED b_wrong: was ok, is wrong"), "{}", outcome.stdout);
}

fn bundle() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../inference/models/iris-mlp").display().to_string()
}

#[test]
fn a_bundle_is_measured_with_payloads_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let bench = |more: &[&str]| {
        let arguments = ["model", "bench", &bundle(), "--time", "5ms", "-o", "json"];
        run(folder.path(), &[&arguments[..], more].concat())
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let alone = json(&bench(&["--batch", "2"]).expect_code(0).stdout);
    assert_eq!((&alone["batch"], &alone["pre_seconds"]), (&2.into(), &serde_json::Value::Null));
    let payloads = ["[5.1, 3.5, 1.4, 0.2]", "[6.7, 3.0, 5.2, 2.3]", "--batch", "3"];
    let whole = json(&bench(&payloads).expect_code(0).stdout);
    assert_eq!(whole["batch"], 3);
    for part in ["pre_seconds", "compute_seconds", "post_seconds"] {
        assert!(whole[part].as_f64().unwrap() > 0.0, "{whole}");
    }
    bench(&["--batch", "1000"]).expect_code(0);
    for (option, most) in [("--instances", "256"), ("--batch", "65536")] {
        let refused = bench(&[option, "1,100000"]).expect_code(64);
        assert!(refused.stderr.contains(&format!("it can be 1 to {most}")), "{refused:?}");
    }
    let many = bench(&["[5.1, 3.5, 1.4, 0.2]", "--batch", "1000"]).expect_code(64);
    assert!(many.stderr.contains("batch.max"), "{many:?}");
    let bad = bench(&["[1, 2]"]).expect_code(1);
    assert!(bad.stderr.contains("a payload was not answered"), "{bad:?}");
    let arguments = ["model", "bench", &iris(), "[5.1, 3.5, 1.4, 0.2]"];
    let refused = run(folder.path(), &arguments).expect_code(64);
    assert!(refused.stderr.contains("payloads are for a bundle"), "{refused:?}");
}

#[test]
fn a_manifest_is_shown_with_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let info = run(folder.path(), &["model", "info", &bundle()]).expect_code(0);
    for line in ["  takes     json", "  gives     classes", "  labels    3 of them"] {
        assert!(info.stdout.contains(&format!("\n{line}\n")), "{}", info.stdout);
    }
    let json = run(folder.path(), &["model", "info", &bundle(), "-o", "json"]).expect_code(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["manifest"]["pre"]["kind"], "json");
    fs::create_dir(folder.path().join("broken")).unwrap();
    fs::copy(iris(), folder.path().join("broken/model.onnx")).unwrap();
    fs::write(folder.path().join("broken/model.toml"), "[pre\n").unwrap();
    let broken = run(folder.path(), &["model", "info", "broken"]).expect_code(0);
    assert!(broken.stdout.contains("model.toml  it cannot be read: "), "{}", broken.stdout);
}

#[test]
fn a_payload_that_is_called_like_a_file_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let types = concat!(env!("CARGO_MANIFEST_DIR"), "/../inference/models/magika");
    let missing = run(folder.path(), &["model", "run", types, "nosuch.pdf"]).expect_code(64);
    assert!(missing.stderr.contains("there is no such file"), "{}", missing.stderr);
    let directory = run(folder.path(), &["model", "run", types, "."]).expect_code(64);
    assert!(directory.stderr.contains("it is a folder"), "{}", directory.stderr);
    let empty = run(folder.path(), &["model", "run", types, "/dev/null"]).expect_code(0);
    assert!(empty.stdout.contains("empty"), "{}", empty.stdout);
    for text in ["a text. of two sentences", "Great.", "...", "3.14", "https://example.org/a.html"]
    {
        run(folder.path(), &["model", "run", types, text]).expect_code(0);
    }
}

#[test]
fn raw_answers_are_what_a_broker_would_write() {
    let folder = tempfile::tempdir().unwrap();
    let raw = |arguments: &[&str]| {
        let arguments = [&["model", "run"], arguments, &["-o", "raw"]].concat();
        run(folder.path(), &arguments).expect_code(0).stdout
    };
    let answer = raw(&[&bundle(), "[5.1, 3.5, 1.4, 0.2]"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["label"], "setosa");
    // Zeros have the same bytes as text.
    fs::write(folder.path().join("identity.onnx"), identity()).unwrap();
    assert_eq!(raw(&["identity.onnx", "[0, 0, 0]"]), "\0".repeat(12));
}

/// A model whose output is its input: three f32.
fn identity() -> Vec<u8> {
    let field = |number: u8, content: &[u8]| {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    };
    let tensor = [vec![8, 1], field(2, &field(1, &[8, 3]))].concat();
    let port = |name: &[u8]| [field(1, name), field(2, &field(1, &tensor))].concat();
    let node = [field(1, b"x"), field(2, b"y"), field(4, b"Identity")].concat();
    let graph =
        [field(1, &node), field(2, b"g"), field(11, &port(b"x")), field(12, &port(b"y"))].concat();
    [vec![8, 8], field(7, &graph), field(8, &[16, 17])].concat()
}
