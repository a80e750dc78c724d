//! Models and stages of a broker from the command line.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::binary::{Outcome, Server};

fn bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../inference/models/iris-mlp")
}

fn row(outcome: &Outcome) -> Value {
    serde_json::from_str(outcome.lines()[0]).unwrap()
}

#[test]
fn a_model_is_pushed_attached_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    let bundle = bundle().display().to_string();
    let none = server.run(dir, &["model", "list"]).expect_code(0);
    assert!(none.stderr.contains("no models"), "{none:?}");

    let push = ["model", "push", &bundle, "flowers", "1", "--alias", "champion", "-o", "json"];
    let pushed = server.run(dir, &push).expect_code(0);
    let digest = row(&pushed)["digest"].as_str().unwrap().to_owned();
    assert!(digest.starts_with("sha256:"), "{pushed:?}");
    let again = server.run(dir, &push).expect_code(0);
    assert_eq!(row(&again), row(&pushed), "the same folder is the same version");
    let onnx = format!("{bundle}/model.onnx");
    server.run(dir, &["model", "push", &onnx, "flowers", "2"]).expect_code(0);
    let other = server.run(dir, &["model", "push", &onnx, "flowers", "1"]).expect_code(65);
    assert!(other.stderr.contains("versions never change"), "{other:?}");
    let listed = server.run(dir, &["model", "list"]).expect_code(0);
    assert_eq!(listed.lines().len(), 2, "{listed:?}");
    assert!(listed.lines()[0].ends_with("champion"), "{listed:?}");

    for topic in ["measured", "named"] {
        server.run(dir, &["topic", "create", topic]).expect_code(0);
    }
    let create = [
        "stage",
        "create",
        "classify",
        "--input",
        "measured",
        "--model",
        "flowers",
        "--out",
        "named",
        "--max-attempts",
        "3",
        "--max-queue-delay",
        "2ms",
        "--call-timeout",
        "20s",
    ];
    let created = server.run(dir, &create).expect_code(0);
    assert!(created.stdout.contains("state         running"), "{created:?}");
    assert!(created.stdout.contains("max queue delay 2ms"), "{created:?}");
    server.run(dir, &["produce", "measured", "[5.1, 3.5, 1.4, 0.2]"]).expect_code(0);
    let answer =
        server.run(dir, &["consume", "named", "-n", "1", "-f", "-o", "raw"]).expect_code(0);
    assert!(answer.stdout.contains("\"label\":\"setosa\""), "{answer:?}");
    let shown = server.run(dir, &["stage", "show", "classify"]).expect_code(0);
    assert!(shown.stdout.contains("flowers@1 from offset 0 on"), "{shown:?}");

    let used = server.run(dir, &["model", "delete", "flowers", "1"]).expect_code(65);
    assert!(used.stderr.contains("is used by stage classify"), "{used:?}");
    server.run(dir, &["model", "alias", "flowers", "champion", "2"]).expect_code(0);
    let listed = server.run(dir, &["stage", "list"]).expect_code(0);
    assert!(listed.stdout.contains("measured -> named"), "{listed:?}");
    assert!(listed.stdout.contains("flowers@2") && listed.stdout.contains("running"), "{listed:?}");
    server.run(dir, &["model", "delete", "flowers", "1"]).expect_code(0);
    server.run(dir, &["model", "alias", "flowers", "champion", "--remove"]).expect_code(0);

    let paused = server.run(dir, &["stage", "pause", "classify", "-o", "json"]).expect_code(0);
    assert_eq!(row(&paused)["status"]["state"], "paused");
    let resumed = server.run(dir, &["stage", "resume", "classify", "-o", "json"]).expect_code(0);
    assert_eq!(row(&resumed)["status"]["state"], "running");
    server.run(dir, &["stage", "delete", "classify"]).expect_code(0);
    let gone = server.run(dir, &["stage", "show", "classify"]).expect_code(66);
    assert!(gone.stderr.contains("embermq stage list"), "{gone:?}");
}

#[test]
fn a_stage_is_told_its_backoff_and_shows_how_it_is_doing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    let bundle = bundle().display().to_string();
    server.run(dir, &["model", "push", &bundle, "flowers", "1"]).expect_code(0);
    for topic in ["in", "out"] {
        server.run(dir, &["topic", "create", topic]).expect_code(0);
    }
    let what = "stage create s --input in --model flowers --out out";
    let backoff = "--backoff-initial 10ms --backoff-multiplier 1.5 --backoff-no-jitter";
    let create: Vec<&str> = what.split(' ').chain(backoff.split(' ')).collect();
    let created = server.run(dir, &create).expect_code(0);
    let backoff = r#"backoff       {"initial":"10ms","jitter":false,"multiplier":1.5}"#;
    for line in [backoff, "lag           0 records, the oldest 0.0 s old", "dead letters  0 open"] {
        assert!(created.lines().contains(&line), "{line}: {created:?}");
    }
    server.run(dir, &["produce", "in", "no flower"]).expect_code(0);
    // Both are there once the attempt has ended.
    loop {
        let shown = server.run(dir, &["stage", "show", "s"]).expect_code(0);
        let failure = shown.lines().into_iter().find(|line| line.starts_with("last failure  "));
        let dead = shown.lines().contains(&"dead letters  1 open");
        if let (true, Some(failure)) = (dead, failure) {
            assert!(failure.contains(" 0/0 attempt 1: "), "{failure}");
            return;
        }
    }
}

#[test]
fn what_is_no_model_is_not_pushed_and_what_is_the_brokers_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    fs::create_dir(dir.join("empty")).unwrap();
    let empty = server.run(dir, &["model", "push", "empty", "m", "1"]).expect_code(64);
    assert!(empty.stderr.contains("neither a model.toml nor a model.onnx"), "{empty:?}");
    server.run(dir, &["model", "push", "nothing.onnx", "m", "1"]).expect_code(69);
    fs::write(dir.join("text.onnx"), "no model at all").unwrap();
    let text = server.run(dir, &["model", "push", "text.onnx", "m", "1"]).expect_code(64);
    assert!(text.stderr.contains("the model cannot be used"), "{text:?}");

    // A bundle that answers something else than it says.
    let copy = dir.join("flowers");
    fs::create_dir(&copy).unwrap();
    for file in ["model.toml", "model.onnx"] {
        fs::copy(bundle().join(file), copy.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(copy.join("model.toml")).unwrap();
    let (manifest, _golden) = manifest.split_once("\n[golden]").unwrap();
    let golden = "\n[golden]\ninput = \"in.json\"\noutput = \"out.json\"\n";
    fs::write(copy.join("model.toml"), format!("{manifest}{golden}")).unwrap();
    fs::write(copy.join("in.json"), "[5.1, 3.5, 1.4, 0.2]").unwrap();
    fs::write(copy.join("out.json"), r#"{"label": "setosa", "score": 0.5}"#).unwrap();
    let differs = server.run(dir, &["model", "push", "flowers", "m", "1"]).expect_code(64);
    assert!(
        differs.stderr.contains("the answer to in.json is not out.json: /score is"),
        "{differs:?}"
    );
    fs::write(copy.join("out.json"), r#"{"label": "setosa", "score": 0.9976389}"#).unwrap();
    server.run(dir, &["model", "push", "flowers", "m", "1"]).expect_code(0);

    let refused = server.run(dir, &["produce", "_models", "x"]).expect_code(77);
    assert!(refused.stderr.contains("the broker's own"), "{refused:?}");
    server.run(dir, &["topic", "delete", "_models"]).expect_code(77);
    server.run(dir, &["topic", "create", "_mine"]).expect_code(77);
    let events = server.run(dir, &["consume", "_models", "-o", "raw"]).expect_code(0);
    assert_eq!(events.lines().len(), 1, "{events:?}");
}

#[test]
fn a_stage_sets_keys_of_its_model_and_gives_answers_in_headers() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let server = Server::start(dir);
    let bundle = bundle().display().to_string();
    server.run(dir, &["model", "push", &bundle, "flowers", "1"]).expect_code(0);
    for topic in ["in", "out"] {
        server.run(dir, &["topic", "create", topic]).expect_code(0);
    }
    let create = |more: &[&str]| {
        let what = ["stage", "create", "s", "--input", "in", "--model", "flowers", "--out", "out"];
        server.run(dir, &[&what, more].concat())
    };
    let set = ["--set", "post.top_k=1", "--set", "pre.at=/flower", "--answer", "headers"];
    let created = create(&set).expect_code(0);
    for line in [
        "answer        headers",
        r#"post          {"top_k":1}"#,
        r#"pre           {"at":"/flower"}"#,
    ] {
        assert!(created.lines().contains(&line), "{line}: {created:?}");
    }
    let flower = r#"{"flower": [5.1, 3.5, 1.4, 0.2]}"#;
    server.run(dir, &["produce", "in", flower]).expect_code(0);
    let taken = ["consume", "out", "-n", "1", "-f", "-o", "json"];
    let output = row(&server.run(dir, &taken).expect_code(0));
    assert_eq!(output["headers"]["x-label-s"], "setosa", "{output}");
    let answer: Value =
        serde_json::from_str(output["headers"]["x-answer-s"].as_str().unwrap()).unwrap();
    assert_eq!(answer["classes"].as_array().unwrap().len(), 1, "{answer}");
    assert!(output["value"].to_string().contains("flower"), "it goes on as it came: {output}");

    let wrong = create(&["--set", "post.topk=1"]).expect_code(64);
    assert!(wrong.stderr.contains("did you mean \"top_k\"?"), "{wrong:?}");
    let wrong = create(&["--set", "batch.max=1"]).expect_code(64);
    assert!(wrong.stderr.contains("keys of pre and post can"), "{wrong:?}");
    let shown = row(&server.run(dir, &["stage", "show", "s", "-o", "json"]).expect_code(0));
    assert_eq!(shown["post"]["top_k"], 1, "what was refused has changed nothing: {shown}");
}
