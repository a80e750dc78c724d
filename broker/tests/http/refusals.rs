//! Bad input: each with the right status, a stable code, a message that helps, and no effect.

use std::time::Duration;

use embermq::http::ServeOptions;
use embermq::{Commit, CommitError, IdempotencyKey, Options};
use embermq_protocol::Code;
use embermq_protocol::batch::Body;
use embermq_protocol::client::Client;
use embermq_protocol::v1::Record;
use serde_json::Value;

use crate::harness::{Running, problem, start, start_with};

const RECORDS: &str = "/v1/topics/t/records";

async fn refused(
    server: &Running,
    kind: &str,
    body: impl Into<reqwest::Body>,
    status: u16,
    code: &str,
) -> Value {
    let request = server.post(RECORDS).header("content-type", kind).body(body);
    let refusal = problem(request.send().await.unwrap(), status, code).await;
    assert_eq!(server.records("t", 0).await.len(), 0, "it must have no effect");
    refusal
}

#[tokio::test]
async fn names_that_are_none() {
    let server = start().await;
    let long = "x".repeat(250);
    for name in ["..%2Fetc", "r%C3%A9", "%F0%9F%94%A5", "a%20b", "a%00", "%FF", "", &long] {
        for path in [format!("/v1/topics/{name}"), format!("/v1/topics/{name}/records")] {
            let answer = server.get(&path).send().await.unwrap();
            problem(answer, 400, "invalid_topic_name").await;
        }
        let answer = server.put(&format!("/v1/topics/{name}")).send().await.unwrap();
        problem(answer, 400, "invalid_topic_name").await;
    }
    // A client that does not tidy its paths up.
    for name in ["..", ".", "%2e%2e", "%2E"] {
        let request =
            format!("PUT /v1/topics/{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let raw = server.raw(request.as_bytes()).await;
        assert!(raw.starts_with("HTTP/1.1 400"), "{raw}");
        assert!(raw.contains("invalid_topic_name"), "{raw}");
    }
    let raw = server
        .raw(b"GET /v1/topics/../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(raw.starts_with("HTTP/1.1 404"), "{raw}");
    assert!(raw.contains("route_not_found"), "{raw}");
    assert_eq!(server.broker.topics().len(), 0);
    server.end().await;
}

#[tokio::test]
async fn topics_that_are_not_there() {
    let server = start().await;
    let answer = server.post("/v1/topics/none/records").body("x").send().await.unwrap();
    let refusal = problem(answer, 404, "topic_not_found").await;
    assert!(refusal["detail"].as_str().unwrap().contains("PUT /v1/topics/none"));
    server.topic("t", 2).await;
    let answer = server.post("/v1/topics/t/records?partition=2").body("x").send().await.unwrap();
    assert_eq!(problem(answer, 404, "partition_not_found").await["details"]["partitions"], 2);
    server.end().await;
}

#[tokio::test]
async fn bodies_that_are_not_what_they_say() {
    let server = start().await;
    server.topic("t", 1).await;
    let json = "application/json";
    refused(&server, json, "{", 400, "malformed_body").await;
    refused(&server, json, "", 400, "malformed_body").await;
    refused(&server, json, "{} {}", 400, "malformed_body").await;
    refused(&server, json, vec![b'"', 0xff, b'"'], 400, "malformed_body").await;
    let record =
        refused(&server, json, r#"{"records":[{"value":1},{"vale":2}]}"#, 400, "malformed_body")
            .await;
    assert_eq!(record["details"]["index"], 1);
    assert!(record["detail"].as_str().unwrap().contains("vale"));
    refused(&server, json, r#"{"records":[]}"#, 400, "malformed_body").await;
    refused(&server, json, r#"{"records":[{"value":1}],"partition":-1}"#, 400, "malformed_body")
        .await;
    refused(
        &server,
        json,
        r#"{"records":[{"value":"?","encoding":"base64"}]}"#,
        400,
        "malformed_body",
    )
    .await;
    refused(
        &server,
        json,
        r#"{"records":[{"value":1,"headers":{"":"x"}}]}"#,
        400,
        "malformed_body",
    )
    .await;
    let ndjson = "application/x-ndjson";
    let line =
        refused(&server, ndjson, "{\"value\":1}\n\n{\"value\":\n", 400, "malformed_body").await;
    assert_eq!(line["details"]["line"], 3);
    assert!(line["detail"].as_str().unwrap().starts_with("line 3"));
    refused(&server, ndjson, "\n", 400, "malformed_body").await;
    let protobuf = "application/x-protobuf";
    for bytes in [
        &b"\xff\xff\xff"[..],
        b"\x52\x7f",
        b"",
        b"\x08\x01",
        b"\x52\x02\x28\x01",
        b"\x62\x04\0\0\0\0",
    ] {
        refused(&server, protobuf, bytes.to_vec(), 400, "malformed_body").await;
    }
    refused(&server, "application/cloudevents-batch+json", "{}", 400, "malformed_body").await;
    let deep = "[".repeat(100_000);
    refused(&server, json, deep, 400, "malformed_body").await;
    server.end().await;
}

#[tokio::test]
async fn a_list_is_no_object() {
    let server = start().await;
    server.topic("t", 1).await;
    for (request, body) in [
        (server.put("/v1/topics/u"), "[7]"),
        (server.put("/v1/topics/t/groups/g"), r#"["none"]"#),
        (server.post("/v1/topics/t/groups/g:lease"), "[3]"),
        (server.post("/v1/topics/t/groups/g:ack"), r#"[["token"]]"#),
        (server.post("/v1/topics/t/groups/g:seek"), r#"["earliest"]"#),
        (server.post("/v1/commits").header("content-type", "application/json"), "[[]]"),
    ] {
        let sent = request.body(body).send().await.unwrap();
        let refusal = problem(sent, 400, "malformed_body").await;
        let detail = refusal["detail"].as_str().unwrap();
        assert!(detail.contains("an object is expected"), "{body}: {detail}");
    }
    // Nor is one within an object.
    let json = ("content-type", "application/json");
    for (request, body) in [
        (server.put("/v1/topics/u"), r#"{"retention":["1d",5]}"#),
        (server.put("/v1/topics/t/groups/h"), r#"{"backoff":["5s","6s"]}"#),
        (server.post(RECORDS).header(json.0, json.1), r#"{"records":[["k","v"]]}"#),
        (server.post(RECORDS).header(json.0, "application/x-ndjson"), r#"["k","v"]"#),
        (server.post("/v1/commits"), r#"{"appends":[["t",0,[{"value":"v"}]]]}"#),
        (server.post("/v1/commits"), r#"{"appends":[{"topic":"t","records":[["k","v"]]}]}"#),
        (server.post("/v1/commits"), r#"{"preconditions":[["t",0,0]]}"#),
        (server.post("/v1/commits"), r#"{"preconditions":[{"topic":"t","key_version":["k"]}]}"#),
        (server.post("/v1/commits"), r#"{"cancels":[["t","s"]]}"#),
        (server.post("/v1/commits"), r#"{"settlements":[["token",true]]}"#),
    ] {
        let sent = request.body(body).send().await.unwrap();
        let refusal = problem(sent, 400, "malformed_body").await;
        let detail = refusal["detail"].as_str().unwrap();
        assert!(detail.contains("an object"), "{body}: {detail}");
    }
    for path in ["/v1/topics/u", "/v1/topics/t/groups/h"] {
        assert_eq!(server.get(path).send().await.unwrap().status(), 404, "{path}");
    }
    assert_eq!(server.records("t", 0).await.len(), 0);
    server.end().await;
}

#[tokio::test]
async fn too_many_and_too_much() {
    let server = start().await;
    server.topic("t", 1).await;
    let empty = Record::new("");
    let many = Body::from_records(std::iter::repeat_n(&empty, 10_001));
    refused(&server, "application/x-protobuf", many.bytes, 413, "too_many_records").await;
    let lines = "{\"value\":1}\n".repeat(10_001);
    refused(&server, "application/x-ndjson", lines, 413, "too_many_records").await;
    let list = format!(r#"{{"records":[{}1]}}"#, "1,".repeat(1_000_000));
    refused(&server, "application/json", list, 413, "too_many_records").await;
    let headers = format!(r#"{{"value":1,"headers":{{"a":[{}""]}}}}"#, r#""","#.repeat(300));
    refused(&server, "application/x-ndjson", headers, 400, "malformed_body").await;
    let chunks =
        futures::stream::iter((0..200).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 64 << 10])));
    refused(&server, "text/plain", reqwest::Body::wrap_stream(chunks), 413, "record_too_large")
        .await;
    server.end().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_length() {
    let server = start().await;
    server.topic("t", 1).await;
    // Not one byte of the body is ever sent.
    for (kind, length, code) in [
        ("text/plain", (8 << 20) + 1, "record_too_large"),
        ("application/x-ndjson", (64 << 20) + 1, "body_too_large"),
        ("text/plain", u64::MAX >> 1, "record_too_large"),
    ] {
        let head = format!(
            "POST {RECORDS} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let mut stream = server.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let answer = crate::harness::read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains(code), "{answer}");
    }
    let settings = vec![b' '; (1 << 20) + 1];
    let answer = server.put("/v1/topics/u").body(settings).send().await.unwrap();
    problem(answer, 413, "body_too_large").await;
    server.end().await;
}

#[tokio::test]
async fn a_full_broker_says_when_to_come_back() {
    let options = Options { admitted_bytes_max: 1_000, ..Options::default() };
    let server = start_with(options, ServeOptions::default()).await;
    server.topic("t", 1).await;
    // Somebody else holds the memory.
    let held = server.broker.admit(900).unwrap();
    let answer = server.post(RECORDS).body(vec![b'x'; 200]).send().await.unwrap();
    let refusal = problem(answer, 429, "overloaded").await;
    assert!(refusal["retry_after_ms"].as_u64().unwrap() > 0);
    drop(held);
    let answer = server.post(RECORDS).body(vec![b'x'; 200]).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    server.end().await;
}

#[tokio::test]
async fn routes_methods_and_types_that_are_none() {
    let server = start().await;
    server.topic("t", 1).await;
    let answer = server.get("/v3/nothing").send().await.unwrap();
    problem(answer, 404, "route_not_found").await;
    let answer = server.client.delete(server.url(RECORDS)).send().await.unwrap();
    assert_eq!(answer.headers()["allow"], "GET, POST");
    problem(answer, 405, "method_not_allowed").await;
    let answer = server
        .put("/v1/topics/u")
        .header("content-type", "text/xml")
        .body("<a/>")
        .send()
        .await
        .unwrap();
    problem(answer, 415, "unsupported_media_type").await;
    let answer =
        server.post(RECORDS).header("content-encoding", "gzip").body("x").send().await.unwrap();
    problem(answer, 415, "unsupported_media_type").await;
    let answer = server.post(RECORDS).header("accept", "text/html").body("x").send().await.unwrap();
    problem(answer, 406, "not_acceptable").await;
    let answer = server.post(&format!("{RECORDS}?durability=disk")).body("x").send().await.unwrap();
    problem(answer, 400, "invalid_argument").await;
    let answer = server.post(&format!("{RECORDS}?partitoin=0")).body("x").send().await.unwrap();
    problem(answer, 400, "invalid_argument").await;
    let request =
        server.post(RECORDS).header("content-type", "application/x-ndjson").header("key", "k");
    problem(request.body("{\"value\":1}").send().await.unwrap(), 400, "invalid_argument").await;
    assert_eq!(server.records("t", 0).await.len(), 0);
    server.end().await;
}

#[tokio::test]
async fn more_keys_than_can_be_remembered() {
    let options = Options { idempotency_bytes_max: 1_100, ..Options::default() };
    let server = start_with(options, ServeOptions::default()).await;
    server.topic("t", 1).await;
    let send = async |key: &str| {
        let request = server.post(RECORDS).header("idempotency-key", key);
        request.body("x").send().await.unwrap()
    };
    for key in ["1", "2", "3", "4"] {
        assert_eq!(send(key).await.status(), 200, "{key}");
    }
    let refused = send("5").await;
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((2..=300).contains(&seconds), "{seconds}");
    let refused = problem(refused, 429, "too_many_idempotency_keys").await;
    assert_eq!(refused["details"]["limit_bytes"], 1_100);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("limits.idempotency_bytes_max"), "{detail}");
    let page = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let gauge =
        page.lines().find_map(|l| l.strip_prefix("embermq_idempotency_bytes{shard=\"0\"} "));
    let kept: u64 = gauge.unwrap().parse().unwrap();
    assert_eq!(refused["details"]["kept_bytes"], kept, "what the refusal speaks of");
    assert!(page.contains("\nembermq_producer_bytes{shard=\"0\"} 0\n"), "{page}");
    let repeat = send("1").await;
    assert_eq!(repeat.headers()["idempotent-replayed"], "true");
    // The client tries no more when it would have to wait for longer than it goes on.
    let topic = Client::new(&server.url("")).unwrap().topic("t").unwrap();
    let refused = topic.produce(&[Record::new("x")]).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::TooManyIdempotencyKeys));
    assert!(refused.retryable() && refused.retry_after() > Some(Duration::from_secs(200)));
    let key = IdempotencyKey { key: "6".to_owned(), fingerprint: 1 };
    let commit = Commit::of_record(&"t".parse().unwrap(), &Record::new("x"));
    let commit = Commit { idempotency_key: Some(key), ..commit };
    let refused = server.broker.commit(commit).await.unwrap_err();
    assert!(matches!(refused, CommitError::TooManyIdempotencyKeys { .. }), "{refused}");
    assert_eq!(server.post(RECORDS).body("x").send().await.unwrap().status(), 200);
    assert_eq!(server.records("t", 0).await.len(), 5);
    server.end().await;
}

#[tokio::test]
async fn more_producers_than_can_be_remembered() {
    let options = Options { producer_bytes_max: 2 << 10, ..Options::default() };
    let server = start_with(options, ServeOptions::default()).await;
    server.topic("t", 1).await;
    let send = async |id: &str, sequence: u32| {
        let request = server.post(RECORDS).header("producer-id", id).header("producer-epoch", "1");
        request.header("producer-seq", sequence.to_string()).body("x").send().await.unwrap()
    };
    assert_eq!(send("1", 0).await.status(), 200);
    assert_eq!(send("2", 0).await.status(), 200);
    let refused = problem(send("3", 0).await, 429, "too_many_producers").await;
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("limits.producer_bytes_max"), "{detail}");
    for sequence in 1..20 {
        assert_eq!(send("1", sequence).await.status(), 200, "it is known");
    }
    assert!(send("1", 19).await.headers().contains_key("idempotent-replayed"));
    let topic = Client::new(&server.url("")).unwrap().topic("t").unwrap();
    let refused = topic.producer().build().send(Record::new("x")).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::TooManyProducers));
    server.end().await;
}
