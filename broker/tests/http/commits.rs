//! Commits over many topics.

use embermq_protocol::batch::Body;
use embermq_protocol::v1::{
    Append, CommitRequest, CommitResponse, Durability, Record, RecordBatch,
};
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
    let vague = problem(commit(vague).await, 400, "invalid_argument").await;
    assert!(!vague["detail"].as_str().unwrap().contains('?'), "it has no query: {vague}");
    let alone = json!({"preconditions": [{"topic": "a", "next_offset": 2}]});
    for nothing in [json!({}), alone] {
        let nothing = problem(commit(nothing).await, 400, "invalid_argument").await;
        assert!(nothing["detail"].as_str().unwrap().contains("settlement"), "{nothing}");
    }
    let text = problem(commit(json!("x")).await, 400, "malformed_body").await;
    assert!(text["detail"].as_str().unwrap().contains("expected a commit"), "{text}");
    problem(commit(json!({"append": []})).await, 400, "malformed_body").await;
    let bad = json!({"appends": [{"topic": "a", "records": [{"value": "x"}, {"val": "x"}]}]});
    problem(commit(bad).await, 400, "malformed_body").await;
    assert_eq!(server.records("a", 0).await.len(), 2);
    assert_eq!(server.records("b", 0).await.len() + server.records("b", 1).await.len(), 1);
    server.end().await;
}

#[tokio::test]
async fn what_a_commit_would_not_heed_is_refused() {
    let server = start().await;
    server.topic("a", 1).await;
    let mut body = json!({"appends": [{"topic": "a", "records": [{"value": "x"}]}]});
    for (name, value, instead) in [
        ("if-offset-match", "7", "next_offset"),
        ("if-key-version", "7", "key_version"),
        ("key", "k", "key in the body"),
        ("delay", "1h", "delay in the body"),
        ("deliver-at", "2099-01-01T00:00:00Z", "deliver_at in the body"),
        ("producer-id", "7", "RecordBatch"),
        ("producer-epoch", "1", "RecordBatch"),
        ("producer-seq", "0", "RecordBatch"),
    ] {
        let request = server.post("/v1/commits").header(name, value).json(&body);
        let refused = problem(request.send().await.unwrap(), 400, "invalid_argument").await;
        assert_eq!(refused["details"]["header"], name);
        assert!(refused["detail"].as_str().unwrap().contains(instead), "{refused}");
    }
    let request = server.post("/v1/commits").header("idempotency-key", "").json(&body);
    problem(request.send().await.unwrap(), 400, "invalid_argument").await;
    body["idempotency_key"] = "".into();
    let empty = server.post("/v1/commits").json(&body).send().await.unwrap();
    problem(empty, 400, "invalid_argument").await;
    for durability in ["garbage", ""] {
        let request = server.post("/v1/commits").header("durability", durability);
        let request = request.json(&json!({"appends": body["appends"]}));
        problem(request.send().await.unwrap(), 400, "invalid_argument").await;
    }
    assert_eq!(server.records("a", 0).await.len(), 0);
    server.end().await;
}

#[tokio::test]
async fn what_header_and_body_both_say_must_agree() {
    let server = start().await;
    server.topic("a", 1).await;
    let appends = json!([{"topic": "a", "records": [{"value": "x"}]}]);
    let body = json!({"appends": appends, "idempotency_key": "ключ", "durability": "fsync"});
    let message = CommitRequest {
        appends: vec![Append {
            topic: "a".to_owned(),
            batch: Some(RecordBatch { records: vec![Record::new("x")], ..RecordBatch::default() }),
            ..Append::default()
        }],
        idempotency_key: "ключ".to_owned(),
        durability: Durability::Fsync.into(),
        ..CommitRequest::default()
    };
    let forms = || {
        let protobuf = server.post("/v1/commits").header("content-type", "application/x-protobuf");
        [server.post("/v1/commits").json(&body), protobuf.body(message.encode_to_vec())]
    };
    for (name, value) in [("idempotency-key", "other"), ("durability", "os")] {
        for form in forms() {
            let refused = form.header(name, value).send().await.unwrap();
            let refused = problem(refused, 400, "invalid_argument").await;
            assert_eq!(refused["details"]["header"], name, "{refused}");
        }
    }
    assert_eq!(server.records("a", 0).await.len(), 0);
    for form in forms() {
        let agreed = form.header("idempotency-key", "\"ключ\"").header("durability", "fsync");
        assert_eq!(agreed.send().await.unwrap().status(), 200);
    }
    // Whoever repeats it with the key in one of both places repeats it.
    let in_head = server.post("/v1/commits").header("idempotency-key", "ключ");
    let in_head = in_head.json(&json!({"appends": appends})).send().await.unwrap();
    assert_eq!(in_head.headers()["idempotent-replayed"], "true");
    assert_eq!(server.records("a", 0).await.len(), 1);
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
        appends: vec![Append { topic: "a".into(), batch: Some(batch), ..Append::default() }],
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

#[tokio::test]
async fn outputs_and_acks_are_one() {
    let server = start().await;
    server.topic("in", 1).await;
    server.topic("out", 1).await;
    for text in ["1", "2", "3"] {
        server.say("in", text).await;
    }
    let leases = server.lease("in", "g", 3).await;
    let body = json!({
        "appends": [{"topic": "out", "records": [{"value": "done 1"}]}],
        "settlements": [
            {"token": leases[0]["token"], "ack": true},
            {"token": leases[1]["token"], "nack": {"delay": "1h", "error": "later"}},
        ],
    });
    let done = json(server.post("/v1/commits").json(&body).send().await.unwrap()).await;
    assert_eq!(done["appends"][0]["count"], 1);
    let settled = done["settlements"].as_array().unwrap();
    assert_eq!(settled[0], json!({"token": leases[0]["token"], "ok": true}));
    assert!(settled[1]["ok"] == true && settled[1]["next_attempt_at"].is_string(), "{settled:?}");
    // Settlements alone are a commit too.
    let alone = json!({"settlements": [{"token": leases[2]["token"], "ack": true}]});
    let done = json(server.post("/v1/commits").json(&alone).send().await.unwrap()).await;
    assert_eq!(done["appends"], json!([]));
    let group = server.group("in", "g").await;
    assert_eq!((&group["in_flight"], &group["waiting"]), (&json!(0), &json!(1)));
    assert_eq!(server.records("out", 0).await.len(), 1);
    server.end().await;
}

#[tokio::test]
async fn a_commit_whose_third_part_conflicts_does_nothing() {
    let server = start().await;
    server.topic("in", 1).await;
    let topics = ["a", "b", "c", "d", "e"];
    for topic in topics {
        server.topic(topic, 1).await;
    }
    for text in ["1", "2", "3", "4", "5"] {
        server.say("in", text).await;
    }
    let leases = server.lease("in", "g", 5).await;
    let commit = async |body: serde_json::Value| {
        server.post("/v1/commits").json(&body).send().await.unwrap()
    };
    let appends = topics.map(|topic| json!({"topic": topic, "records": [{"value": "x"}]}));
    let expected =
        topics.map(|topic| json!({"topic": topic, "next_offset": u32::from(topic == "c")}));
    let acks: Vec<_> =
        leases.iter().map(|lease| json!({"token": lease["token"], "ack": true})).collect();
    let conflict = json!({"preconditions": expected, "appends": appends, "settlements": acks});
    problem(commit(conflict).await, 409, "offset_conflict").await;

    let settled =
        server.settle("in", "g:nack", json!({"token": leases[2]["token"], "delay": "1h"})).await;
    assert_eq!(settled[0]["ok"], true, "{settled:?}");
    let stale = json!({"appends": appends, "settlements": acks});
    let stale = problem(commit(stale).await, 409, "lease_lost").await;
    assert_eq!(stale["details"]["index"], 2);
    let mut forged = acks.clone();
    forged[2]["token"] = "forged".into();
    let forged = json!({"appends": appends, "settlements": forged});
    problem(commit(forged).await, 400, "invalid_lease_token").await;

    for topic in topics {
        assert_eq!(server.records(topic, 0).await.len(), 0, "{topic}");
    }
    assert_eq!(server.group("in", "g").await["in_flight"], 4);
    let rest: Vec<_> = [0, 1, 3, 4].iter().map(|at| acks[*at].clone()).collect();
    json(commit(json!({"appends": appends, "settlements": rest})).await).await;
    assert_eq!(server.records("c", 0).await.len(), 1);
    server.end().await;
}

#[tokio::test]
async fn short_forms_settle_all_or_nothing() {
    let server = start().await;
    server.topic("in", 1).await;
    for text in ["1", "2", "3", "4", "5"] {
        server.say("in", text).await;
    }
    let leases = server.lease("in", "g", 5).await;
    let token = |at: usize| leases[at]["token"].clone();
    let commit = async |body: &serde_json::Value| {
        server.post("/v1/commits").json(body).send().await.unwrap()
    };
    // The third of five is stale.
    json(commit(&json!({"acks": [token(2)]})).await).await;
    let mut body = json!({
        "settlements": [{"token": token(0), "extend": {"by": "1h"}}],
        "acks": [token(1), token(2)],
        "nacks": [{"token": token(3), "delay": "1h", "error": "later"}],
        "rejects": [{"token": token(4)}],
    });
    let stale = problem(commit(&body).await, 409, "lease_lost").await;
    assert_eq!(stale["details"]["index"], 2);
    let group = server.group("in", "g").await;
    assert_eq!((&group["in_flight"], &group["dead"]), (&json!(4), &json!(0)), "nothing happened");

    body["acks"] = json!([token(1)]);
    let done = json(commit(&body).await).await;
    let settled = done["settlements"].as_array().unwrap();
    let tokens: Vec<_> = settled.iter().map(|result| result["token"].clone()).collect();
    assert_eq!(tokens, [token(0), token(1), token(3), token(4)]);
    assert!(settled[0]["expires_at"].is_string() && settled[2]["next_attempt_at"].is_string());
    assert_eq!(settled[3]["dead_letter"]["topic"], "in.g.dlq");
    let group = server.group("in", "g").await;
    let figures = ["in_flight", "waiting", "dead"].map(|name| group[name].clone());
    assert_eq!(figures, [json!(1), json!(1), json!(1)], "{group}");
    server.end().await;
}

#[tokio::test]
async fn settlements_that_make_no_sense_are_refused() {
    let server = start().await;
    server.topic("a", 1).await;
    let appends = json!([{"topic": "a", "records": [{"value": "x"}]}]);
    for (settlement, code) in [
        (json!({"token": "x"}), "malformed_body"),
        (json!({"token": "x", "ack": true, "release": true}), "malformed_body"),
        (json!({"token": "x", "acked": true}), "malformed_body"),
        (json!({"token": "x", "reject": {"reason": 1}}), "malformed_body"),
        (json!({"token": "x", "nack": {"delay": "-1s"}}), "invalid_argument"),
        (json!({"token": "x", "extend": {"by": "13h"}}), "invalid_argument"),
    ] {
        let good = json!({"token": "x", "ack": true});
        let body = json!({"appends": appends, "settlements": [good, settlement]});
        let answer = server.post("/v1/commits").json(&body).send().await.unwrap();
        assert_eq!(problem(answer, 400, code).await["details"]["index"], 1);
    }
    for (forms, code) in [
        (json!({"acks": ["x", 1]}), "malformed_body"),
        (json!({"acks": ["x"], "nacks": [{"token": "x", "reason": "x"}]}), "malformed_body"),
        (json!({"acks": ["x"], "nacks": [{"token": "x", "delay": "-1s"}]}), "invalid_argument"),
        (json!({"acks": ["x"], "rejects": [{"reason": "x"}]}), "malformed_body"),
    ] {
        let answer = server.post("/v1/commits").json(&forms).send().await.unwrap();
        assert_eq!(problem(answer, 400, code).await["details"]["index"], 1);
    }
    let acks = vec![json!("x"); 501];
    let full = vec![json!({"token": "x", "ack": true}); 500];
    let together = json!({"appends": appends, "settlements": full, "acks": acks});
    let answer = server.post("/v1/commits").json(&together).send().await.unwrap();
    problem(answer, 413, "too_many_records").await;
    let many = vec![json!({"token": "x", "ack": true}); 1_001];
    let body = json!({"appends": appends, "settlements": many});
    let answer = server.post("/v1/commits").json(&body).send().await.unwrap();
    problem(answer, 413, "too_many_records").await;
    assert_eq!(server.records("a", 0).await.len(), 0);
    server.end().await;
}
