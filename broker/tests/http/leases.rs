//! Leases over REST: taken, settled, lost, waited for.

use std::time::Duration;

use embermq_protocol::batch::{Body, BodyBuilder};
use embermq_protocol::paths;
use embermq_protocol::v1::settlement::{Ack, Decision};
use embermq_protocol::v1::{
    Append, CommitRequest, Compression, LeaseRequest, LeaseResponse, ProduceRequest, Record,
    RecordBatch, SettleRequest, SettleResponse, Settlement,
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::harness::{Running, json, problem, read_to_end, start};

/// Much sooner than a wait of 30 s ends by itself.
const SHORT: Duration = Duration::from_secs(15);

/// A server with a topic `t` that holds these records.
async fn with_records(texts: &[&str]) -> Running {
    let server = start().await;
    server.topic("t", 1).await;
    for text in texts {
        server.say("t", text).await;
    }
    server
}

async fn until_the_group_exists(server: &Running) {
    let mut asked = 0;
    while server.get("/v1/topics/t/groups/g").send().await.unwrap().status() != 200 {
        asked += 1;
        assert!(asked < 10_000, "a lease makes no group");
    }
}

#[tokio::test]
async fn a_producer_cannot_say_for_which_group_a_record_is() {
    let server = start().await;
    server.topic("t", 1).await;
    let hidden = server.post("/v1/topics/t/records").header("X-Redrive-Group", "t/nobody");
    assert_eq!(hidden.body("for all").send().await.unwrap().status(), 200);
    let hidden = r#"{"records":[{"value":"for all","headers":{"x-redrive-group":"t/nobody"}}]}"#;
    let hidden = server.post("/v1/topics/t/records").body(hidden);
    let hidden = hidden.header("content-type", "application/json");
    assert_eq!(hidden.send().await.unwrap().status(), 200);
    let hidden = Record::new("for all").with_key("k").with_header("x-redrive-group", "t/nobody");
    let mut many = BodyBuilder::default();
    (0..50).for_each(|_| many.push(&hidden));
    for body in [
        Body::from_records([&hidden]).bytes,
        many.finish_compressed(Compression::Lz4).unwrap().bytes,
    ] {
        let hidden = server.post("/v1/topics/t/records").body(body);
        let hidden = hidden.header("content-type", "application/x-protobuf");
        assert_eq!(hidden.send().await.unwrap().status(), 200);
    }
    let batch = Some(RecordBatch { records: vec![hidden], ..RecordBatch::default() });
    let produce = ProduceRequest { topic: "t".into(), batch, ..ProduceRequest::default() };
    let append = Append { topic: "t".into(), batch: produce.batch.clone(), ..Append::default() };
    let commit = CommitRequest { appends: vec![append], ..CommitRequest::default() };
    for (path, kind, message) in [
        (paths::PRODUCE, "application/proto", produce.encode_to_vec()),
        (paths::COMMIT, "application/proto", commit.encode_to_vec()),
        ("/v1/commits", "application/x-protobuf", commit.encode_to_vec()),
    ] {
        let hidden = server.post(path).header("content-type", kind).body(message);
        assert_eq!(hidden.send().await.unwrap().status(), 200, "{path}");
    }
    let leases = server.lease("t", "g", 100).await;
    assert_eq!(leases.len(), 56);
    for lease in leases {
        assert_eq!(lease["value"], "for all", "{lease}");
        assert!(lease["headers"].get("x-redrive-group").is_none());
    }
    server.end().await;
}

#[tokio::test]
async fn what_is_acknowledged_is_done() {
    let server = with_records(&["1", "2", "3"]).await;
    let lease = server.post("/v1/topics/t/groups/g:lease").send().await.unwrap();
    let first = json(lease).await["leases"].as_array().unwrap().clone();
    assert_eq!(first.len(), 1, "an empty body wishes for one record");
    let mut lease = first[0].clone();
    for name in ["token", "expires_at", "first_leased_at", "append_time"] {
        assert!(lease.as_object_mut().unwrap().remove(name).unwrap().is_string(), "{name}");
    }
    let record = &server.records("t", 0).await[0];
    assert_eq!(first[0]["append_time"], record["append_time"]);
    let expected = json!({
        "topic": "t", "partition": 0, "offset": 0, "attempt": 1, "key": null, "headers": record["headers"], "value": "1",
    });
    assert_eq!(lease, expected);
    let rest = server.lease("t", "g", 10).await;
    assert_eq!(rest.len(), 2);
    assert_eq!(server.group("t", "g").await["in_flight"], 3);
    let tokens = [&first[0]["token"], &rest[0]["token"], &rest[1]["token"]];
    let results = server.settle("t", "g:ack", json!({ "tokens": tokens })).await;
    let expected = tokens.map(|token| json!({"token": token, "ok": true}));
    assert_eq!(results, expected);
    assert_eq!(server.lease("t", "g", 10).await.len(), 0);
    let group = server.group("t", "g").await;
    assert_eq!((&group["in_flight"], &group["lag"]["records"]), (&json!(0), &json!(0)));
    server.end().await;
}

#[tokio::test]
async fn an_ack_of_what_is_done_says_so_and_harms_nobody() {
    let server = with_records(&["1", "2"]).await;
    let leases = server.lease("t", "g", 2).await;
    let token = &leases[0]["token"];
    assert_eq!(server.settle("t", "g:ack", json!({"token": token})).await[0]["ok"], true);
    // One bad token does not spoil the others.
    let tokens = json!({"tokens": [token, leases[1]["token"], "garbage"]});
    let results = server.settle("t", "g:ack", tokens).await;
    assert_eq!(results[0]["ok"], false);
    assert_eq!(results[0]["error"]["code"], "lease_lost");
    assert_eq!(results[0]["error"]["retryable"], false);
    assert!(results[0]["error"]["detail"].as_str().unwrap().len() > 10);
    assert_eq!(results[1]["ok"], true);
    assert_eq!(results[2]["error"]["code"], "invalid_lease_token");
    server.end().await;
}

#[tokio::test]
async fn tokens_that_are_not_the_groups_have_no_effect() {
    let server = with_records(&["1"]).await;
    let lease = server.lease("t", "g", 1).await.remove(0);
    let foreign = server.lease("t", "other", 1).await.remove(0);
    let token = lease["token"].as_str().unwrap();
    let mut forged: Vec<String> = (0..token.len())
        .map(|at| {
            let letter = if &token[at..=at] == "A" { "B" } else { "A" };
            format!("{}{letter}{}", &token[..at], &token[at + 1..])
        })
        .collect();
    forged.extend(["", "garbage", "🔥", &token[1..], &token[..token.len() - 1]].map(str::to_owned));
    forged.push(format!("{token}A"));
    forged.push(token.repeat(1_000));
    forged.push(foreign["token"].as_str().unwrap().to_owned());
    for verb in ["g:ack", "g:release"] {
        for result in server.settle("t", verb, json!({ "tokens": forged })).await {
            let code = result["error"]["code"].as_str();
            assert!(matches!(code, Some("invalid_lease_token" | "lease_lost")), "{result}");
        }
    }
    assert_eq!(server.group("t", "g").await["in_flight"], 1);
    assert_eq!(server.group("t", "other").await["in_flight"], 1);
    assert_eq!(server.settle("t", "g:ack", json!({"token": token})).await[0]["ok"], true);
    server.end().await;
}

#[tokio::test]
async fn what_failed_comes_again_when_it_is_due() {
    let server = with_records(&["1", "2"]).await;
    let leases = server.lease("t", "g", 2).await;
    let long = json!({"token": leases[0]["token"], "delay": "1h", "error": "no connection"});
    let results = server.settle("t", "g:nack", long).await;
    assert!(
        results[0]["next_attempt_at"].as_str().unwrap() > leases[0]["expires_at"].as_str().unwrap()
    );
    assert_eq!(server.lease("t", "g", 2).await.len(), 0);
    let group = server.group("t", "g").await;
    assert_eq!((&group["waiting"], &group["in_flight"]), (&json!(1), &json!(1)));
    server.settle("t", "g:nack", json!({"token": leases[1]["token"], "delay": "50ms"})).await;
    // The long poll wakes when it is due.
    let waited = json(server.verb("t", "g:lease", json!({"wait": "30s"})).await).await;
    let again = &waited["leases"][0];
    assert_eq!((&again["value"], &again["attempt"]), (&json!("2"), &json!(2)));
    assert_eq!(again["first_leased_at"], leases[1]["first_leased_at"]);
    server.end().await;
}

#[tokio::test]
async fn what_was_not_tried_goes_to_somebody_else_and_was_no_attempt() {
    let server = with_records(&["1"]).await;
    let lease = server.lease("t", "g", 1).await.remove(0);
    let released = server.settle("t", "g:release", json!({"token": lease["token"]})).await;
    assert_eq!(released[0]["ok"], true);
    let again = server.lease("t", "g", 1).await.remove(0);
    assert_eq!((&again["offset"], &again["attempt"]), (&json!(0), &json!(1)));
    let by = json!({"token": again["token"], "by": "2h"});
    let extended = server.settle("t", "g:extend", by).await;
    assert!(extended[0]["expires_at"].as_str().unwrap() > again["expires_at"].as_str().unwrap());
    server.end().await;
}

#[tokio::test]
async fn numbers_out_of_their_limits_are_refused_with_the_limits() {
    let server = with_records(&["1"]).await;
    let lease = server.lease("t", "g", 1).await.remove(0);
    let token = &lease["token"];
    for (verb, body, limit) in [
        ("g:lease", json!({"max_records": 0}), "1 to 1000"),
        ("g:lease", json!({"max_records": 1001}), "1 to 1000"),
        ("g:lease", json!({"max_records": u64::MAX}), "1 to 1000"),
        ("g:lease", json!({"max_records": -1}), "0 or more"),
        ("g:lease", json!({"max_records": 1.5}), "whole number"),
        ("g:lease", json!({"wait": "31s"}), "0s to 30s"),
        ("g:lease", json!({"wait": "-1s"}), "0s to 30s"),
        ("g:lease", json!({"wait": "a while"}), "duration"),
        ("g:lease", json!({"lease": "0s"}), "1s to 43200s"),
        ("g:lease", json!({"lease": "13h"}), "1s to 43200s"),
        ("g:lease", json!({"max": 1}), "max_records"),
        ("g:nack", json!({"token": token, "delay": "-5s"}), "0s to 2592000s"),
        ("g:nack", json!({"token": token, "delay": -5}), "0s to 2592000s"),
        ("g:nack", json!({"token": token, "delay": "400d"}), "0s to 2592000s"),
        ("g:extend", json!({"token": token, "by": "0s"}), "1s to 43200s"),
        ("g:extend", json!({"token": token, "by": "-1s"}), "1s to 43200s"),
        ("g:extend", json!({"token": token, "by": "1d"}), "1s to 43200s"),
        ("g:extend", json!({"token": token}), "needs `by`"),
        ("g:ack", json!({}), "tokens"),
        ("g:ack", json!({"tokens": []}), "tokens"),
        ("g:ack", json!({"tokens": [7]}), "token 0"),
        ("g:ack", json!({"tokens": [token], "delay": "1s"}), "delay"),
    ] {
        let answer = server.verb("t", verb, body.clone()).await;
        assert_eq!(answer.status(), 400, "{verb} {body}");
        let refusal = json_of(answer).await;
        assert!(refusal["detail"].as_str().unwrap().contains(limit), "{verb} {body}: {refusal}");
    }
    let many = vec!["x"; 1_001];
    let many = server.verb("t", "g:ack", json!({ "tokens": many })).await;
    problem(many, 413, "too_many_records").await;
    assert_eq!(server.group("t", "g").await["in_flight"], 1, "nothing had an effect");
    server.end().await;
}

async fn json_of(response: reqwest::Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn groups_that_are_not_there() {
    let server = with_records(&[]).await;
    for (verb, body) in [
        ("none:ack", json!({"token": "x"})),
        ("none:nack", json!({"token": "x"})),
        ("none:redrive", json!({})),
    ] {
        let refusal = problem(server.verb("t", verb, body).await, 404, "group_not_found").await;
        assert_eq!(refusal["details"]["group"], "none");
    }
    problem(server.verb("none", "g:lease", json!({})).await, 404, "topic_not_found").await;
    assert_eq!(server.lease("t", "g", 1).await.len(), 0);
    assert_eq!(server.group("t", "g").await["group"], "g", "a lease makes the group");
    server.end().await;
}

#[tokio::test]
async fn a_long_poll_wakes_on_a_record() {
    let server = with_records(&[]).await;
    let waiting = server.verb("t", "g:lease", json!({"max_records": 5, "wait": "30s"}));
    let (leased, _said) = tokio::join!(waiting, async {
        until_the_group_exists(&server).await;
        server.say("t", "news").await
    });
    assert_eq!(json(leased).await["leases"][0]["value"], "news");
    server.end().await;
}

#[tokio::test]
async fn a_long_poll_ends_when_the_server_closes() {
    let mut server = with_records(&[]).await;
    let url = server.url("/v1/topics/t/groups/g:lease");
    let waiting = tokio::spawn(server.client.post(url).json(&json!({"wait": "30s"})).send());
    until_the_group_exists(&server).await;
    server.stop();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(json(answer).await, json!({"leases": []}));
    server.end().await;
}

#[tokio::test]
async fn a_consumer_that_went_away_while_it_waited_gets_nothing() {
    let server = with_records(&[]).await;
    let body = r#"{"wait":"30s","lease":"30s"}"#;
    let mut gone = server.connect().await;
    let head = format!(
        "POST /v1/topics/t/groups/g:lease HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    gone.write_all(head.as_bytes()).await.unwrap();
    until_the_group_exists(&server).await;
    // As somebody does who is killed, and somebody who still reads; so that it is known when the broker knows.
    gone.shutdown().await.unwrap();
    let answer = timeout(SHORT, read_to_end(&mut gone)).await.unwrap();
    assert!(answer.ends_with(r#"{"leases":[]}"#), "{answer}");
    server.say("t", "1").await;
    let lease = &server.lease("t", "g", 1).await[0];
    assert_eq!((&lease["value"], &lease["attempt"]), (&json!("1"), &json!(1)));
    server.end().await;
}

#[tokio::test]
async fn records_are_shown_as_a_fetch_shows_them() {
    let server = with_records(&[]).await;
    let json_record = server.post("/v1/topics/t/records").json(&json!({"n": 1}));
    json(json_record.header("key", "k").send().await.unwrap()).await;
    server.post("/v1/topics/t/records").body(vec![0xff, 0]).send().await.unwrap();
    let records = server.records("t", 0).await;
    let leases = server.lease("t", "g", 2).await;
    for (lease, record) in leases.iter().zip(&records) {
        for (name, value) in record.as_object().unwrap() {
            assert_eq!(&lease[name], value, "{name}");
        }
    }
    assert_eq!(leases[0]["value"], json!({"n": 1}));
    assert_eq!((&leases[1]["value"], &leases[1]["encoding"]), (&json!("/wA="), &json!("base64")));
    let path = "/v1/topics/t/groups/h:lease?encoding=base64";
    let leased = json(server.post(path).send().await.unwrap()).await;
    assert_eq!(leased["leases"][0]["encoding"], "base64");
    let wrong = server.post("/v1/topics/t/groups/h:lease?encoding=hex").send().await.unwrap();
    problem(wrong, 400, "invalid_argument").await;
    server.end().await;
}

#[tokio::test]
async fn the_message_form_works_too() {
    let server = with_records(&["1"]).await;
    let kind = "application/x-protobuf";
    let post = async |verb: &str, bytes: Vec<u8>| {
        let request = server.post(&format!("/v1/topics/t/groups/g:{verb}"));
        let request = request.header("content-type", kind).header("accept", kind);
        request.body(bytes).send().await.unwrap()
    };
    let wish = LeaseRequest { max_records: 5, ..LeaseRequest::default() };
    let answer = post("lease", wish.encode_to_vec()).await;
    assert_eq!(answer.headers()["content-type"], kind);
    let leased = LeaseResponse::decode(answer.bytes().await.unwrap()).unwrap();
    let lease = leased.leases.into_iter().next().unwrap();
    assert_eq!((lease.attempt, lease.record.unwrap().value.unwrap()), (1, "1".into()));
    let settlement = Settlement { lease: lease.token, decision: Some(Decision::Ack(Ack {})) };
    let settle = SettleRequest { settlements: vec![settlement], ..SettleRequest::default() };
    problem(post("nack", settle.encode_to_vec()).await, 400, "invalid_argument").await;
    let elsewhere = SettleRequest { topic: "u".into(), ..settle.clone() };
    problem(post("ack", elsewhere.encode_to_vec()).await, 400, "invalid_argument").await;
    problem(post("ack", vec![0xff; 3]).await, 400, "malformed_body").await;
    let answer = post("ack", settle.encode_to_vec()).await;
    let settled = SettleResponse::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!((settled.results.len(), &settled.results[0].error), (1, &None));
    server.end().await;
}
