//! Commits over many topics.

use embermq_protocol::batch::Body;
use embermq_protocol::v1::{Append, CommitRequest, CommitResponse, Record, RecordBatch};
use prost::Message as _;
use serde_json::json;

use crate::harness::{json, problem, start};

#[tokio::test]
async fn many_topics_all_or_nothing() {
    let server = start().await;
    server.topic("a", 1).await;
    server.topic("b", 2).await;
    let commit = async |body: serde_json::Value| {
        server.post("/v1/commits").json(&body).send().await.unwrap()
    };
    let both = json!({
        "preconditions": [{"topic": "a", "next_offset": 0}],
        "appends": [
            {"topic": "a", "records": [{"value": "1"}, {"value": {"n": 2}}]},
            {"topic": "b", "partition": 1, "records": [{"value": "3"}]},
        ],
        "idempotency_key": "once",
    });
    let done = json(commit(both.clone()).await).await;
    assert!(done["position"].is_u64());
    assert_eq!(
        done["appends"],
        json!([
            {"topic": "a", "partition": 0, "base_offset": 0, "count": 2},
            {"topic": "b", "partition": 1, "base_offset": 0, "count": 1},
        ])
    );
    let again = commit(both).await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(json(again).await, done);

    let appends = json!([{"topic": "a", "records": [{"value": "x"}]}, {"topic": "b", "records": [{"value": "x"}]}]);
    let stale = json!({"preconditions": [{"topic": "a", "next_offset": 0}], "appends": appends});
    problem(commit(stale).await, 409, "offset_conflict").await;
    let missing = json!({"appends": [{"topic": "a", "records": [{"value": "x"}]}, {"topic": "none", "records": [{"value": "x"}]}]});
    problem(commit(missing).await, 404, "topic_not_found").await;
    let vague = json!({"preconditions": [{"topic": "b", "next_offset": 0}], "appends": appends});
    problem(commit(vague).await, 400, "invalid_argument").await;
    problem(commit(json!({})).await, 400, "invalid_argument").await;
    problem(commit(json!({"append": []})).await, 400, "malformed_body").await;
    let bad = json!({"appends": [{"topic": "a", "records": [{"value": "x"}, {"val": "x"}]}]});
    problem(commit(bad).await, 400, "malformed_body").await;
    assert_eq!(server.records("a", 0).await.len(), 2);
    assert_eq!(server.records("b", 0).await.len() + server.records("b", 1).await.len(), 1);
    server.end().await;
}

#[tokio::test]
async fn the_message_form_works_too() {
    let server = start().await;
    server.topic("a", 1).await;
    let kind = "application/x-protobuf";
    let batch =
        RecordBatch { records: vec![Record::new("1"), Record::new("2")], ..RecordBatch::default() };
    let request = CommitRequest {
        appends: vec![Append { topic: "a".into(), partition: None, batch: Some(batch) }],
        ..CommitRequest::default()
    };
    let post = async |bytes: Vec<u8>| {
        let request =
            server.post("/v1/commits").header("content-type", kind).header("accept", kind);
        request.body(bytes).send().await.unwrap()
    };
    let answer = post(request.encode_to_vec()).await;
    assert_eq!(answer.status(), 200);
    let done = CommitResponse::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!((done.appends[0].base_offset, done.appends[0].count), (0, 2));
    let body = Body::from_records(&[Record::new("x")]);
    problem(post(body.bytes.to_vec()).await, 400, "invalid_argument").await;
    // A bomb of empty appends is counted before it is built.
    problem(post([0x12, 0].repeat(1 << 20)).await, 413, "too_many_records").await;
    server.end().await;
}
