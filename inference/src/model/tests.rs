//! What models do with payloads, on graphs of one node.

use std::path::Path;
use std::sync::mpsc;

use prost::Message;
use serde_json::json;

use super::*;
use crate::onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};

fn port(name: &str, dims: &[&str]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |dim: &&str| {
        let value = dim.parse().map_or(Value::DimParam((*dim).to_owned()), Value::DimValue);
        Dimension { value: Some(value), ..Dimension::default() }
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(shape) };
    let value = Some(type_proto::Value::TensorType(tensor));
    let r#type = Some(TypeProto { value, ..TypeProto::default() });
    ValueInfoProto { name: Some(name.to_owned()), r#type, ..ValueInfoProto::default() }
}

/// A folder with a model that doubles `x`, f32 of these sizes, to `y`.
fn folder(x: &[&str], y: &[&str], manifest: &str) -> tempfile::TempDir {
    let node = NodeProto {
        input: vec!["x".to_owned(), "x".to_owned()],
        output: vec!["y".to_owned()],
        op_type: Some("Add".to_owned()),
        ..NodeProto::default()
    };
    let graph = GraphProto {
        node: vec![node],
        input: vec![port("x", x)],
        output: vec![port("y", y)],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: None, version: Some(17) };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset],
        graph: Some(graph),
        ..ModelProto::default()
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.onnx"), model.encode_to_vec()).unwrap();
    std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
    folder
}

fn open(path: &Path) -> Model {
    Model::open(path, &ModelOptions::default()).unwrap()
}

fn model(x: &[&str], y: &[&str], manifest: &str) -> Model {
    open(folder(x, y, manifest).path())
}

fn payloads(texts: &[&str]) -> Vec<Payload> {
    texts.iter().map(|text| Payload::from((*text).to_owned())).collect()
}

/// What was answered, and how many ran together.
fn doubled(results: &[Result<Answer, InferError>]) -> Vec<(serde_json::Value, usize)> {
    let answer = |result: &Result<Answer, InferError>| {
        let answer = result.as_ref().unwrap();
        (answer.content.to_json()["y"].clone(), answer.batch)
    };
    results.iter().map(answer).collect()
}

#[test]
fn a_bad_payload_fails_alone() {
    let model = model(&["n", "2"], &["n", "2"], "");
    let results = model.infer(&payloads(&["[1, 2]", "[1", "{\"x\": [[3, 4]]}", "[1, 2, 3]", "7"]));
    for bad in [1, 3, 4] {
        let error = results[bad].as_ref().unwrap_err();
        assert!(!error.is_retryable() && error.class() == "payload", "{error}");
    }
    let good: Vec<_> = results.into_iter().filter(Result::is_ok).collect();
    assert_eq!(doubled(&good), [(json!([2.0, 4.0]), 2), (json!([6.0, 8.0]), 2)]);
    assert!(model.infer(&[]).is_empty());
}

#[test]
fn known_answers_are_compared_with_what_is_answered() {
    let golden = "[[golden]]\ninput = \"in.json\"\noutput = \"out.json\"\n";
    let check = |answer: &str| {
        let folder = folder(&["n", "2"], &["n", "2"], golden);
        std::fs::write(folder.path().join("in.json"), "[1, 2]").unwrap();
        std::fs::write(folder.path().join("out.json"), answer).unwrap();
        let model = open(folder.path());
        assert_eq!(model.golden_count(), 1);
        let mismatches = model.check_golden().err().unwrap_or_default();
        mismatches.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(check(r#"{"y": [2.0, 4.001]}"#).is_empty());
    let off = check(r#"{"y": [2.5, 4.5]}"#).remove(0);
    assert!(off.starts_with("golden: the answer to in.json is not out.json: /y/0 is 2"), "{off}");
    let folder = folder(&["n", "2"], &["n", "2"], "[golden]\ninput = \"in.json\"\nrtoll = 1");
    let error = Model::open(folder.path(), &ModelOptions::default()).unwrap_err().to_string();
    for part in ["did you mean \"rtol\"", "it needs output"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn outputs_that_the_manifest_takes_for_others_show_in_the_first_answer() {
    let told = |y: &[&str], manifest: &str| {
        let model = model(&["n", "2"], y, manifest);
        model.warm_up().unwrap();
        model.try_answer().err().map(|error| error.to_string())
    };
    // What is declared is not what comes out.
    let classes =
        "[post]\nkind = \"classes\"\nactivation = \"none\"\nlabels = [\"a\", \"b\", \"c\"]\n";
    let labels = "post.labels: the output has 2 scores, there are 3 labels";
    assert_eq!(told(&["n", "m"], classes).as_deref(), Some(labels));
    for pooling in ["mean", "cls"] {
        let manifest = format!("[post]\nkind = \"embedding\"\npooling = \"{pooling}\"\n");
        let error = told(&["n", "2"], &manifest).unwrap();
        assert!(error.starts_with("post.pooling: pooling takes positions"), "{error}");
    }
    assert_eq!(told(&["n", "2"], "[post]\nkind = \"embedding\"\npooling = \"none\"\n"), None);
    // Who does not want it run has it not run.
    assert_eq!(told(&["n", "m"], &format!("{classes}[warm_up]\nenabled = false\n")), None);
}

#[test]
fn outputs_without_the_axis_of_the_batch_are_a_problem_of_the_manifest() {
    let keys = |y: &[&str]| {
        let folder = folder(&["n", "2"], y, "[batch]\naxis = 1\n");
        match Model::open(folder.path(), &ModelOptions::default()) {
            Err(OpenError::Problems(problems)) => problems[0].to_string(),
            other => panic!("{other:?}"),
        }
    };
    let error = keys(&["n"]);
    assert!(error.contains("model.toml:2: batch.axis: the output \"y\" has no axis 1"), "{error}");
    // Features say what the input leaves open.
    let manifest = "[pre]\nkind = \"json\"\nfeatures = [\"u\", \"v\"]\n";
    assert_eq!(model(&["n", "m"], &["n", "m"], manifest).warm_up().unwrap().skipped, None);
}

#[test]
fn labels_that_are_none_are_a_problem() {
    let told = |labels: &str| {
        let manifest =
            format!("[post]\nkind = \"classes\"\nactivation = \"none\"\nlabels = {labels}\n");
        let folder = folder(&["n", "2"], &["n", "2"], &manifest);
        std::fs::write(folder.path().join("labels.txt"), "").unwrap();
        Model::open(folder.path(), &ModelOptions::default()).unwrap_err().to_string()
    };
    assert!(told("[]").contains(":4: post.labels: the list is empty"));
    assert!(told("\"labels.txt\"").contains(":4: post.labels: \"labels.txt\" is empty"));
}

#[test]
fn what_may_run_together_follows_from_the_file() {
    let batch = |x: &[&str], y: &[&str], manifest: &str| model(x, y, manifest).batch_max();
    assert_eq!(batch(&["n", "2"], &["n", "2"], ""), 8);
    assert_eq!(batch(&["n", "2"], &["m", "2"], ""), 1);
    assert_eq!(batch(&["n", "2"], &["m", "2"], "[batch]\nmax = 3"), 3);
    assert_eq!(batch(&["1", "2"], &["1", "2"], ""), 1);
    assert_eq!(batch(&["3", "2"], &["3", "2"], ""), 1);
    assert_eq!(batch(&["3", "2"], &["3", "2"], "[batch]\naxis = 0"), 3);
    assert_eq!(batch(&["2", "n"], &["2", "n"], "[batch]\naxis = 1\nmax = 5"), 5);
}

#[test]
fn a_batch_that_is_filled_up_has_a_limit() {
    let whole = ["1099511627776", "1"];
    let folder = folder(&whole, &whole, "[batch]\naxis = 0");
    let error = Model::open(folder.path(), &ModelOptions::default()).unwrap_err().to_string();
    assert!(
        error.contains(
            "batch.axis: the model takes 1099511627776 rows along axis 0, the limit is 65536"
        ),
        "{error}"
    );
    // What fits the limit may still be too large together.
    let wide = ["65536", "16385"];
    let error = model(&wide, &wide, "[batch]\naxis = 0").warm_up().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the inputs of 65536 rows together need 4.0 GiB, the limit for one input is 2 GiB; \
         fewer rows may run together: see [batch] of model.toml"
    );
}

#[test]
fn payloads_that_are_too_large_together_run_in_parts() {
    let folder = folder(&["n", "2"], &["n", "2"], "[batch]\nmax = 4\n[warm_up]\nbatches = [4]");
    let answered = |run_bytes_max, live_bytes_max| {
        let mut options = ModelOptions::default();
        (options.limits.run_bytes_max, options.limits.live_bytes_max) =
            (run_bytes_max, live_bytes_max);
        let model = Model::open(folder.path(), &options).unwrap();
        (model.warm_up().err(), model.infer(&payloads(&["[1, 2]"; 4])))
    };
    // Two rows of 8 bytes.
    let (warm_up, answers) = answered(16, 1 << 10);
    let error = warm_up.unwrap();
    assert!(error.to_string().contains("the limit for one input is 16 bytes"), "{error}");
    assert!(!error.is_retryable() && error.class() == "batch");
    assert_eq!(doubled(&answers), vec![(json!([2.0, 4.0]), 2); 4]);
    let error = answered(1 << 10, 31).0.unwrap().to_string();
    assert!(error.contains("need 32 bytes, the limit for a run is 31 bytes"), "{error}");
}

#[test]
fn batches_lie_along_the_axis_and_fixed_ones_are_filled_up() {
    let three = payloads(&["[1, 2]", "[3, 4]", "[5, 6]"]);
    let expected = |batches: [usize; 3]| -> Vec<_> {
        [json!([2.0, 4.0]), json!([6.0, 8.0]), json!([10.0, 12.0])]
            .into_iter()
            .zip(batches)
            .collect()
    };
    let across = model(&["2", "n"], &["2", "n"], "[batch]\naxis = 1\nmax = 2");
    assert_eq!(doubled(&across.infer(&three)), expected([2, 2, 1]));
    let fixed = model(&["2", "2"], &["2", "2"], "[batch]\naxis = 0");
    assert_eq!(doubled(&fixed.infer(&three)), expected([2, 2, 1]));
    assert_eq!(fixed.warm_up().unwrap().runs.len(), 2);
}

#[test]
fn raw_tensors_bring_their_own_batch() {
    let manifest = "[pre]\nkind = \"tensor\"\n[post]\nkind = \"tensors\"";
    let model = model(&["n", "2"], &["n", "2"], manifest);
    let raw: Vec<u8> =
        [1_f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let results = model.infer(&[Payload::from(raw.clone()), Payload::from(raw[..7].to_vec())]);
    let answer = results[0].as_ref().unwrap();
    let expected: Vec<u8> = [2_f32, 4.0, 6.0, 8.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(answer.content.to_bytes(), expected);
    assert_eq!(answer.content.to_json()["outputs"][0]["shape"], json!([2, 2]));
    assert!(results[1].is_err());
}

#[test]
fn infinity_is_reported() {
    let model = model(&["n", "1"], &["n", "1"], "");
    let results = model.infer(&payloads(&["[3e38]", "[1]"]));
    let flags: Vec<bool> =
        results.iter().map(|result| result.as_ref().unwrap().nonfinite).collect();
    assert_eq!(flags, [true, false]);
    assert_eq!(doubled(&results)[0].0, json!([null]));
}

#[test]
fn all_that_is_wrong_in_a_manifest_is_said() {
    let manifest = "[batch]\nmaximum = 3\n[pre]\nkind = \"json\"\nfeatures = [\"a\"]\n[post]\nkind = \"classes\"\n\
        labels = \"../labels.txt\"\ntop_k = 0\nactivation = \"soft\"\noutput = \"z\"\n";
    let folder = folder(&["n", "2"], &["n", "2"], manifest);
    let error = Model::open(folder.path(), &ModelOptions::default()).unwrap_err();
    let OpenError::Problems(problems) = error else { panic!("{error}") };
    let keys: Vec<(usize, &str)> =
        problems.iter().map(|problem| (problem.line, problem.key.as_str())).collect();
    let expected = [
        (2, "batch.maximum"),
        (5, "pre.features"),
        (8, "post.labels"),
        (9, "post.top_k"),
        (10, "post.activation"),
        (11, "post.output"),
    ];
    assert_eq!(keys, expected, "{problems:?}");
    std::fs::write(folder.path().join("model.toml"), "x = = 1").unwrap();
    assert!(Model::open(folder.path(), &ModelOptions::default()).is_err());
    std::fs::write(folder.path().join("model.toml"), "file = \"../model.onnx\"").unwrap();
    assert!(Model::open(folder.path(), &ModelOptions::default()).is_err());
    assert!(open(&folder.path().join("model.onnx")).batch_max() == 8);
}

#[test]
fn a_word_that_is_none_hides_nothing_of_what_else_is_wrong() {
    let keys = |x: &[&str], manifest: &str| {
        let folder = folder(x, x, manifest);
        let error = Model::open(folder.path(), &ModelOptions::default()).unwrap_err();
        let OpenError::Problems(problems) = error else { panic!("{error}") };
        problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    let kinds = "[batch]\nmax = 0\n[pre]\nkind = \"imag\"\n[post]\nkind = \"figures\"\n[warm_up]\nenabled = 1\n";
    assert_eq!(keys(&["n", "2"], kinds), ["batch.max", "pre.kind", "post.kind", "warm_up.enabled"]);
    let picture = "[pre]\nkind = \"image\"\nfilter = \"soft\"\nlayout = \"chw\"\ncolour = \"red\"\n\
        resize = \"fill\"\nwidths = 3\n[post]\nkind = \"classes\"\nactivation = \"soft\"\ntop_k = 0\n";
    let found = keys(&["n", "3", "4", "4"], picture);
    for key in ["pre.filter", "pre.layout", "pre.colour", "pre.rescale", "pre.resize", "pre.widths"]
    {
        assert!(found.iter().any(|known| known == key), "{key}: {found:?}");
    }
    assert_eq!(found[found.len() - 2..], ["post.activation", "post.top_k"]);
}

#[test]
fn a_feature_that_does_not_fit_is_named() {
    let manifest = "[pre]\nkind = \"json\"\nfeatures = [\"long\", \"wide\"]\n";
    let model = model(&["n", "2"], &["n", "2"], manifest);
    let results = model.infer(&payloads(&[
        r#"{"long": 1, "wide": "x"}"#,
        r#"["y", 2]"#,
        r#"{"long": 1, "wide": [2]}"#,
        "[1, [2]]",
    ]));
    let told: Vec<String> = results.iter().map(|e| e.as_ref().unwrap_err().to_string()).collect();
    assert_eq!(told[0], r#"feature "wide" takes f32, found "x""#);
    assert_eq!(told[1], r#"feature "long" takes f32, found "y""#);
    assert_eq!(told[2], r#"feature "wide" is no number"#);
    assert_eq!(told[3], r#"feature "wide" is no number"#);
}

#[test]
fn a_model_answers_on_the_device_that_was_asked_for() {
    let folder = folder(&["n", "2"], &["n", "2"], "name = \"there\"");
    let device = Device::parse("flex").unwrap();
    let options = ModelOptions { device, ..ModelOptions::default() };
    let bare = folder.path().join("model.onnx");
    for path in [folder.path(), &bare] {
        let model = Model::open(path, &options).unwrap();
        assert!(!model.network().is_on_cpu());
        assert_eq!(doubled(&model.infer(&payloads(&["[1, 2]"])))[0].0, json!([2.0, 4.0]));
    }
    assert!(open(&bare).network().is_on_cpu());
}

#[test]
fn instances_answer_in_order_and_refuse_when_full() {
    let model = model(&["n", "2"], &["n", "2"], "[batch]\nmax = 2");
    let mut options = InstanceOptions::default();
    (options.count, options.queue) = (2, 2);
    let instances = Instances::start(&model, &options).unwrap();
    assert_eq!(instances.warm_up().runs.len(), 2);
    let texts: Vec<String> = (0..21).map(|at| format!("[{at}, 0]")).collect();
    let payloads: Vec<Payload> = texts.iter().map(|text| Payload::from(text.clone())).collect();
    let results = instances.infer(&payloads);
    for (at, result) in results.iter().enumerate() {
        assert_eq!(result.as_ref().unwrap().content.to_json()["y"][0], json!(at as f64 * 2.0));
    }
    // Both are kept busy until told to go on.
    let (started, running) = mpsc::channel();
    let go: Vec<mpsc::Sender<()>> = (0..2)
        .map(|_| {
            let ((go, wait), started) = (mpsc::channel(), started.clone());
            let done = move |_: Results| {
                started.send(()).unwrap();
                let _ = wait.recv();
                panic!("a receiver that panics ends no instance");
            };
            instances.submit(payloads[..1].to_vec(), done).unwrap();
            go
        })
        .collect();
    running.recv().unwrap();
    running.recv().unwrap();
    let (sender, stopped) = mpsc::channel();
    for _ in 0..2 {
        let sender = sender.clone();
        instances
            .submit(payloads[..1].to_vec(), move |results| sender.send(results).unwrap())
            .unwrap();
    }
    let refused = instances.submit(payloads[..3].to_vec(), |_| {}).unwrap_err();
    assert_eq!((refused.waiting, refused.payloads.len(), instances.waiting()), (2, 3, 2));
    drop(go);
    // They go on after the panics, unless they are stopped before.
    assert!(stopped.recv().unwrap()[0].is_ok());
    assert!(stopped.recv().unwrap()[0].is_ok());
    drop(instances);
}

#[test]
fn what_waits_is_told_that_the_instances_stopped() {
    let model = model(&["n", "2"], &["n", "2"], "");
    let mut options = InstanceOptions::default();
    (options.count, options.queue) = (1, 4);
    let instances = Instances::start(&model, &options).unwrap();
    let ((started, running), (sender, results)) = (mpsc::channel(), mpsc::channel());
    let (go, wait) = mpsc::channel::<()>();
    let busy = move |_: Results| {
        started.send(()).unwrap();
        let _ = wait.recv();
    };
    instances.submit(payloads(&["[1, 2]"]), busy).unwrap();
    running.recv().unwrap();
    let done = move |results: Results| {
        // The thread that is busy ends only now.
        drop(go);
        sender.send(results).unwrap();
    };
    instances.submit(payloads(&["[1, 2]"]), done).unwrap();
    drop(instances);
    let results = results.recv().unwrap();
    assert!(matches!(results[..], [Err(InferError::Stopped)]));
}

fn overrides(text: &str) -> Overrides {
    let all: serde_json::Value = serde_json::from_str(text).unwrap();
    let section = |name: &str| all[name].as_object().cloned().unwrap_or_default();
    Overrides::new(section("pre"), section("post"))
}

const THREE: &str = "[post]\nkind = \"classes\"\nactivation = \"none\"\nlabels = [\"a\", \"b\", \"c\"]\n\
                     threshold = 3\n[pre]\nkind = \"json\"\nfeatures = [\"u\", \"v\", \"w\"]\n";

#[test]
fn overrides_give_other_answers_of_the_same_network() {
    let model = model(&["n", "3"], &["n", "3"], THREE);
    let answer = |model: &Model, payload: &str| {
        let answer = model.infer(&payloads(&[payload])).pop().unwrap().unwrap();
        answer.content.to_json()
    };
    assert_eq!(answer(&model, "[1, 3, 2]")["classes"].as_array().unwrap().len(), 2);
    let one = model.overridden(&overrides(r#"{"post": {"top_k": 1}}"#)).unwrap();
    assert_eq!(answer(&one, "[1, 3, 2]")["classes"].as_array().unwrap().len(), 1);
    let no_threshold = overrides(r#"{"post": {"threshold": null}}"#);
    let all = model.overridden(&no_threshold).unwrap();
    assert_eq!(answer(&all, "[1, 3, 2]")["classes"].as_array().unwrap().len(), 3);
    let other_kind = overrides(r#"{"post": {"kind": "values"}, "pre": {"at": "/x"}}"#);
    let values = model.overridden(&other_kind).unwrap();
    let payload = r#"{"x": {"w": 2, "v": 3, "u": 1}}"#;
    assert_eq!(answer(&values, payload), json!({ "y": [2.0, 6.0, 4.0] }));
    assert!(Arc::ptr_eq(&model.inner.bundle, &values.inner.bundle), "there is one network");
}

#[test]
fn overrides_that_do_not_fit_are_named() {
    let model = model(&["n", "3"], &["n", "3"], THREE);
    let wrong = |text: &str| match model.overridden(&overrides(text)) {
        Err(OpenError::Problems(problems)) => {
            let told = problems.iter().map(|problem| {
                assert_eq!(problem.line, 0, "{problem}");
                format!("{}: {}", problem.key, problem.what)
            });
            told.collect::<Vec<_>>().join("\n")
        }
        other => panic!("{text}: {other:?}"),
    };
    for (text, expected) in [
        (r#"{"post": {"topk": 1}}"#, "post.topk: there is no such key; did you mean \"top_k\"?"),
        (r#"{"post": {"top_k": "one"}}"#, "post.top_k: expected a whole number from 1 to"),
        (r#"{"post": {"output": "z"}}"#, "post.output: the model has no output \"z\", only \"y\""),
        (r#"{"pre": {"input": "z"}}"#, "pre.input: the model has no input \"z\", only \"x\""),
        (r#"{"post": {"labels": ["a"]}}"#, "post.labels: there are 1 labels, \"y\" has 3 classes"),
        (r#"{"post": {"labels": "../a"}}"#, "post.labels: cannot read \"../a\""),
        (r#"{"post": {"kind": "values", "top_k": 1}}"#, "post.top_k: there is no such key"),
        (r#"{"post": {"thresholds": {"a": null}}}"#, "post.thresholds: {\"a\":null}: "),
        (r#"{"pre": {"features": ["u"]}}"#, "pre.features: "),
        (r#"{"pre": {"features": ["u", "v", "u"]}}"#, "pre.features: \"u\" is named twice"),
        (r#"{"post": {"kind": "values", "outputs": []}}"#, "post.outputs: it is empty"),
        (
            r#"{"post": {"kind": "values", "outputs": ["y", "y"]}}"#,
            "post.outputs: \"y\" is named twice",
        ),
    ] {
        let told = wrong(text);
        assert!(told.contains(expected), "{text}: {told}");
    }
}
