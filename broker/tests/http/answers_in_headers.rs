//! Stages whose outputs are their inputs once more, with the answer in headers: for the next stage to choose by.

use serde_json::{Value, json};

use crate::harness::{Running, json, problem};
use crate::stages::{register, started};

/// What the model of these tests puts before each value, so that a value like `"jpeg"}` makes an answer.
const CLASSES: &str = r#"{"score":0.75,"label":"#;

async fn stage(server: &Running, name: &str, config: Value) {
    json(server.put(&format!("/v1/stages/{name}")).json(&config).send().await.unwrap()).await;
}

async fn set_up() -> Running {
    let server = started().await;
    for topic in ["in", "known", "out"] {
        server.topic(topic, 1).await;
    }
    register(&server, "kinds/versions/1", CLASSES).await;
    register(&server, "second/versions/1", "seen: ").await;
    let identify =
        json!({ "input": "in", "output": "known", "model": "kinds@1", "answer": "headers" });
    stage(&server, "identify", identify).await;
    server
}

async fn produce(server: &Running, text: &str) {
    let post = server.post("/v1/topics/in/records").header("content-type", "text/x-own");
    json(post.header("key", "k").body(text.to_owned()).send().await.unwrap()).await;
}

/// The records of a topic, once there are so many.
async fn records(server: &Running, topic: &str, count: usize) -> Vec<Value> {
    let mut at = 0;
    while at < count {
        let path = format!("/v1/topics/{topic}/records?offset={at}&wait=20s");
        let page = json(server.get(&path).send().await.unwrap()).await;
        let more = page["records"].as_array().unwrap().len();
        assert!(more > 0, "{topic} has {at} of {count}");
        at += more;
    }
    server.records(topic, 0).await
}

#[tokio::test]
async fn the_input_goes_on_as_it_came_and_the_next_stage_chooses_by_the_answer() {
    let server = set_up().await;
    let classify = json!({
        "input": "known", "output": "out", "model": "second@1", "filter": "x-label-identify == \"jpeg\"",
    });
    stage(&server, "classify", classify).await;
    for kind in [r#""text"}"#, r#""jpeg"}"#, r#"null}"#, r#""jpeg"} "#] {
        produce(&server, kind).await;
    }
    let known = records(&server, "known", 4).await;
    let second = &known[1];
    assert_eq!((&second["value"], &second["key"]), (&json!(r#""jpeg"}"#), &json!("k")));
    let headers = &second["headers"];
    for (name, value) in [
        ("content-type", "text/x-own"),
        ("x-answer-identify", r#"{"score":0.75,"label":"jpeg"}"#),
        ("x-label-identify", "jpeg"),
        ("x-score-identify", "0.75"),
        ("x-stage", "identify"),
        ("x-input", "in/0/1"),
    ] {
        assert_eq!(headers[name], value, "{name}: {second}");
    }
    assert!(known[2]["headers"].get("x-label-identify").is_none(), "{}", known[2]);

    let out = records(&server, "out", 2).await;
    let values: Vec<_> = out.iter().map(|record| record["value"].as_str().unwrap()).collect();
    assert_eq!(values, [r#"seen: "jpeg"}"#, r#"seen: "jpeg"} "#]);
    let inputs: Vec<_> = out.iter().map(|r| r["headers"]["x-input"].as_str().unwrap()).collect();
    assert_eq!(inputs, ["known/0/1", "known/0/3"]);
    let shown = json(server.get("/v1/stages/identify").send().await.unwrap()).await;
    assert_eq!(shown["answer"], "headers");
    // What the filter passed over is done for the second stage, too.
    while server.group("known", "classify").await["lag"]["records"] != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whoever_calls_gets_the_answer_in_headers_too() {
    let server = set_up().await;
    let call = server.post("/v1/topics/in/records:call").body(r#""jpeg"}"#);
    let answer = call.header("prefer", "wait=20").send().await.unwrap();
    assert_eq!(answer.headers()["x-label-identify"], "jpeg");
    assert_eq!(answer.headers()["x-answer-identify"], r#"{"score":0.75,"label":"jpeg"}"#);
    assert_eq!(answer.text().await.unwrap(), r#""jpeg"}"#);
    let known = records(&server, "known", 1).await;
    assert!(known[0]["headers"].get("x-call").is_none(), "nobody calls the next stage: {known:?}");
}

#[tokio::test]
async fn an_answer_that_headers_cannot_hold_is_a_dead_letter_that_says_so() {
    let server = set_up().await;
    let long = format!("\"{}\"}}", "x".repeat(20_000));
    for text in [&*long, r#""jpeg"}"#] {
        produce(&server, text).await;
    }
    let known = records(&server, "known", 1).await;
    assert_eq!(known[0]["headers"]["x-input"], "in/0/1", "its neighbour goes on");
    let letters = records(&server, "in.identify.dlq", 1).await;
    let why = letters[0]["headers"]["x-dead-error"].as_str().unwrap();
    assert!(why.starts_with("answer_too_large: the answer has 20025 bytes"), "{why}");
    assert_eq!(letters[0]["headers"]["x-dead-attempts"], "1", "it is not tried again");
}

#[tokio::test]
async fn a_model_that_takes_no_overrides_says_so() {
    let server = set_up().await;
    let config = json!({
        "input": "in", "output": "known", "model": "kinds@1", "post": { "top_k": 1 },
    });
    let put = server.put("/v1/stages/identify").json(&config).send().await.unwrap();
    let refused = problem(put, 400, "invalid_argument").await;
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("model kinds@1 does not take the overrides: it takes no"), "{detail}");
}
