//! Every kind of body, and everything that a producer can ask for.

use embermq_protocol::batch::{Body, BodyBuilder, ProducerFields};
use embermq_protocol::v1::{Compression, ProduceResponse, Record};
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::{json, problem, start};

const PROTOBUF: &str = "application/x-protobuf";

#[tokio::test]
async fn a_raw_body_is_a_record() {
    let server = start().await;
    server.topic("photos", 1).await;
    let request = server
        .post("/v1/topics/photos/records")
        .header("content-type", "image/jpeg")
        .header("key", "cam-7")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("x-camera", "north")
        .header("x-request-id", "mine")
        .header("authorization", "secret")
        .body(vec![0xff, 0xd8, 0x00]);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "mine");
    assert_eq!(answer.text().await.unwrap(), r#"{"topic":"photos","partition":0,"offset":0}"#);
    let records = server.records("photos", 0).await;
    assert_eq!(records[0]["key"], "cam-7");
    assert_eq!(records[0]["value"], "/9gA");
    assert_eq!(records[0]["encoding"], "base64");
    assert_eq!(
        records[0]["headers"],
        json!({
            "content-type": "image/jpeg",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "x-camera": "north",
        })
    );
    server.end().await;
}

#[tokio::test]
async fn what_curl_says_by_default_is_text() {
    let server = start().await;
    server.topic("notes", 1).await;
    let request = server
        .post("/v1/topics/notes/records")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("a=1&b=2");
    assert_eq!(json(request.send().await.unwrap()).await["offset"], 0);
    let records = server.records("notes", 0).await;
    assert_eq!(records[0]["value"], "a=1&b=2");
    assert_eq!(records[0]["headers"], json!({}));
    assert_eq!(records[0]["key"], Value::Null);
    server.end().await;
}

#[tokio::test]
async fn an_empty_body_is_an_empty_value_and_null_is_a_tombstone() {
    let server = start().await;
    server.topic("t", 1).await;
    server.say("t", "").await;
    let request = server
        .post("/v1/topics/t/records")
        .header("content-type", "application/x-ndjson")
        .body("{\"key\":\"k\",\"value\":null}\n");
    json(request.send().await.unwrap()).await;
    let records = server.records("t", 0).await;
    assert_eq!(records[0]["value"], "");
    assert_eq!(records[1]["value"], Value::Null);
    server.end().await;
}

#[tokio::test]
async fn json_is_a_batch_or_a_record() {
    let server = start().await;
    server.topic("t", 1).await;
    let send = async |body: &str| {
        let request =
            server.post("/v1/topics/t/records").header("content-type", "application/json");
        json(request.body(body.to_owned()).send().await.unwrap()).await
    };
    let batch = r#"{"records":[{"key":"a","value":{"n":1.50}},{"value":"text"},{"value":"AP8=","encoding":"base64"}]}"#;
    assert_eq!(
        send(batch).await,
        json!({"topic":"t","records":[
            {"partition":0,"offset":0},{"partition":0,"offset":1},{"partition":0,"offset":2}]})
    );
    assert_eq!(send(r#"{"records":[],"more":1}"#).await["offset"], 3);
    assert_eq!(send("[1,2]").await["offset"], 4);
    assert_eq!(send(r#"{"records":7}"#).await["offset"], 5);
    let page = server.get("/v1/topics/t/records").send().await.unwrap().text().await.unwrap();
    // Numbers are kept as they were written.
    assert!(page.contains(r#""value":{"n":1.50}"#), "{page}");
    let records = server.records("t", 0).await;
    assert_eq!(records[0]["headers"]["content-type"], "application/json");
    assert_eq!(records[1]["value"], "text");
    assert_eq!(records[1]["headers"], json!({}));
    assert_eq!(records[2]["value"], "AP8=");
    assert_eq!(records[3]["value"], json!({"records":[],"more":1}));
    assert_eq!(records[4]["value"], json!([1, 2]));
    server.end().await;
}

#[tokio::test]
async fn what_a_consumer_sees_can_be_produced_again() {
    let server = start().await;
    server.topic("one", 1).await;
    server.topic("two", 1).await;
    let lines = concat!(
        r#"{"key":"k","value":{"a":[1,2]},"headers":{"x-a":["1","2"],"bin":{"base64":"/w=="}},"event_time":"2026-11-22T10:00:00.5Z"}"#,
        "\n\n",
        r#"{"key":"/w==","key_encoding":"base64","value":"\"quoted\"","headers":{"content-type":"application/json"}}"#,
        "\r\n",
        r#"{"value":"not json","headers":{"content-type":"text/plain"}}"#,
        "\n",
        r#"{"key":"gone","value":null}"#,
    );
    let request =
        server.post("/v1/topics/one/records").header("content-type", "application/x-ndjson");
    json(request.body(lines).send().await.unwrap()).await;
    let fetch = async |topic: &str| {
        let request = server
            .get(&format!("/v1/topics/{topic}/records"))
            .header("accept", "application/x-ndjson");
        request.send().await.unwrap().text().await.unwrap()
    };
    let first = fetch("one").await;
    assert_eq!(first.lines().count(), 4);
    let request =
        server.post("/v1/topics/two/records").header("content-type", "application/x-ndjson");
    json(request.body(first.clone()).send().await.unwrap()).await;
    let strip = |lines: &str| -> Vec<Value> {
        lines
            .lines()
            .map(|line| {
                let mut record: Value = serde_json::from_str(line).unwrap();
                record["topic"] = Value::Null;
                record["append_time"] = Value::Null;
                record
            })
            .collect()
    };
    assert_eq!(strip(&first), strip(&fetch("two").await));
    server.end().await;
}

#[tokio::test]
async fn cloud_events_come_in_three_modes() {
    let server = start().await;
    server.topic("events", 1).await;
    let records = "/v1/topics/events/records";
    let binary = || {
        server
            .post(records)
            .header("ce-specversion", "1.0")
            .header("ce-id", "1")
            .header("ce-source", "/cam/7")
            .header("ce-type", "seen")
            .header("ce-time", "2026-11-22T10:00:00Z")
            .header("ce-partitionkey", "cam-7")
            .header("content-type", "application/json")
            .body(r#"{"cat":true}"#)
    };
    assert_eq!(json(binary().send().await.unwrap()).await["offset"], 0);
    // The same event again is the same record.
    let again = binary().send().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(json(again).await["offset"], 0);
    let structured = r#"{"specversion":"1.0","id":"2","source":"/cam/7","type":"seen","n":5,"data":{"cat":false}}"#;
    let request = server.post(records).header("content-type", "application/cloudevents+json");
    assert_eq!(json(request.body(structured).send().await.unwrap()).await["offset"], 1);
    let batch = r#"[{"specversion":"1.0","id":"3","source":"s","type":"t","data_base64":"AP8="},
        {"specversion":"1.0","id":"4","source":"s","type":"t","datacontenttype":"text/plain","data":"hi"}]"#;
    let request = server.post(records).header("content-type", "application/cloudevents-batch+json");
    assert_eq!(json(request.body(batch).send().await.unwrap()).await["records"][1]["offset"], 3);
    let stored = server.records("events", 0).await;
    assert_eq!(stored[0]["key"], "cam-7");
    assert_eq!(stored[0]["event_time"], "2026-11-22T10:00:00.000000Z");
    assert_eq!(stored[0]["headers"]["ce-type"], "seen");
    assert_eq!(stored[0]["value"], json!({"cat": true}));
    assert_eq!(stored[1]["headers"]["ce-n"], "5");
    assert_eq!(stored[1]["value"], json!({"cat": false}));
    assert_eq!(stored[2]["value"], "AP8=");
    assert_eq!(stored[3]["value"], "hi");
    // Nothing but source and id together names an event.
    for (source, id, offset) in [("a", "b c", 4), ("a b", "c", 5), ("a", &"x".repeat(300), 6)] {
        for replayed in [false, true] {
            let event =
                json!({"specversion": "1.0", "id": id, "source": source, "type": "t", "data": 1});
            let request = server.post(records);
            let request = request.header("content-type", "application/cloudevents+json");
            let answer = request.body(event.to_string()).send().await.unwrap();
            assert_eq!(answer.headers().contains_key("idempotent-replayed"), replayed, "{id}");
            assert_eq!(json(answer).await["offset"], offset, "{id}");
        }
    }
    let other = r#"{"specversion":"1.0","id":"c","source":"a b","type":"t","data":2}"#;
    let request = server.post(records).header("content-type", "application/cloudevents+json");
    let answer = request.body(other).send().await.unwrap();
    let refused = problem(answer, 422, "idempotency_key_reused").await;
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("id \"c\" and source \"a b\""), "{detail}");
    let incomplete = r#"{"specversion":"1.0","id":"2","source":"s"}"#;
    let request = server.post(records).header("content-type", "application/cloudevents+json");
    let answer = request.body(incomplete).send().await.unwrap();
    assert!(problem(answer, 400, "malformed_body").await["detail"].to_string().contains("type"));
    server.end().await;
}

#[tokio::test]
async fn protobuf_is_stored_as_it_was_sent() {
    let server = start().await;
    server.topic("t", 1).await;
    let mut builder = BodyBuilder::default();
    for number in 0..100 {
        builder.push(&Record::new(format!("the same text again and again {number}")).with_key("k"));
    }
    let body = builder.finish_compressed(Compression::Lz4).unwrap();
    let batch =
        body.to_batch(ProducerFields { producer_id: 9, producer_epoch: 1, base_sequence: 0 });
    let send = async || {
        let request = server
            .post("/v1/topics/t/records")
            .header("content-type", PROTOBUF)
            .header("accept", PROTOBUF);
        let answer = request.body(batch.clone()).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], PROTOBUF);
        ProduceResponse::decode(answer.bytes().await.unwrap()).unwrap()
    };
    let first = send().await;
    assert_eq!(
        (first.results[0].base_offset, first.results[0].count, first.replayed),
        (0, 100, false)
    );
    let again = send().await;
    assert_eq!((again.results[0].base_offset, again.replayed), (0, true));
    let request = server.get("/v1/topics/t/records?compressed=true").header("accept", PROTOBUF);
    let stored = request.send().await.unwrap().bytes().await.unwrap();
    let stored_as_sent = stored.windows(body.bytes.len()).any(|window| window == &body.bytes[..]);
    assert!(stored_as_sent, "the body is in the answer byte for byte");
    server.end().await;
}

#[tokio::test]
async fn keys_decide_partitions_and_answers_keep_the_order() {
    let server = start().await;
    server.topic("t", 8).await;
    let lines: String =
        (0..50).map(|n| format!("{{\"key\":\"k{}\",\"value\":\"{n}\"}}\n", n % 7)).collect();
    let request =
        server.post("/v1/topics/t/records").header("content-type", "application/x-ndjson");
    let answer = json(request.body(lines).send().await.unwrap()).await;
    let placed = answer["records"].as_array().unwrap();
    assert_eq!(placed.len(), 50);
    for (number, place) in placed.iter().enumerate() {
        let (partition, offset) =
            (place["partition"].as_u64().unwrap(), place["offset"].as_u64().unwrap());
        let path = format!("/v1/topics/t/records?partition={partition}&offset={offset}&max=1");
        let page = json(server.get(&path).send().await.unwrap()).await;
        assert_eq!(page["records"][0]["value"], number.to_string());
        assert_eq!(page["records"][0]["key"], format!("k{}", number % 7));
    }
    let chosen = r#"{"records":[{"value":"a","partition":3},{"value":"b","partition":1},{"value":"c","partition":3}]}"#;
    let request = server.post("/v1/topics/t/records").header("content-type", "application/json");
    let answer = json(request.body(chosen).send().await.unwrap()).await;
    let partitions: Vec<_> = answer["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| place["partition"].clone())
        .collect();
    assert_eq!(partitions, [3, 1, 3]);
    server.end().await;
}

#[tokio::test]
async fn a_repeat_with_the_same_key_gets_the_same_answer() {
    let server = start().await;
    server.topic("t", 4).await;
    let send = async |key: &str, body: &str| {
        let request = server.post("/v1/topics/t/records").header("idempotency-key", key);
        request.body(body.to_owned()).send().await.unwrap()
    };
    let first = send("\"one\"", "hello").await;
    assert!(!first.headers().contains_key("idempotent-replayed"));
    let first = json(first).await;
    let again = send("one", "hello").await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(json(again).await, first);
    problem(send("one", "other").await, 422, "idempotency_key_reused").await;
    problem(send("", "x").await, 400, "invalid_argument").await;
    problem(send(&"k".repeat(256), "x").await, 400, "invalid_argument").await;
    server.end().await;
}

#[tokio::test]
async fn a_repeat_gets_the_same_answer_when_its_topic_has_more_partitions_by_then() {
    let server = start().await;
    let records: Vec<Value> =
        (0..40).map(|number| json!({ "key": format!("k{number}"), "value": number })).collect();
    let unkeyed = json!({ "value": "no key" });
    let records: Vec<Value> = records.into_iter().chain([unkeyed]).collect();
    let body = json!({ "records": records });
    for (before, after) in [(1, 3), (2, 3), (2, 4), (5, 7)] {
        for name in ["idempotency-key", "producer-id"] {
            let topic = format!("{name}-{before}-{after}");
            server.topic(&topic, before).await;
            let send = async || {
                let request = server.post(&format!("/v1/topics/{topic}/records")).header(name, "7");
                let request = request.header("content-type", "application/json");
                let request = match name {
                    "producer-id" => {
                        request.header("producer-epoch", "0").header("producer-seq", "0")
                    }
                    _ => request,
                };
                json(request.body(body.to_string()).send().await.unwrap()).await
            };
            let first = send().await;
            assert_eq!(first["records"].as_array().unwrap().len(), 41);
            assert_eq!(send().await, first);
            let edit = server.client.patch(server.url(&format!("/v1/topics/{topic}")));
            let edit = edit.body(format!(r#"{{"partitions":{after}}}"#)).send().await.unwrap();
            assert_eq!(edit.status(), 200);
            assert_eq!(send().await, first, "{topic}");
            let partitions = 0..after;
            let counts = partitions.map(async |p| server.records(&topic, p).await.len());
            let stored: usize = futures::future::join_all(counts).await.into_iter().sum();
            assert_eq!(stored, 41);
        }
    }
    server.end().await;
}

#[tokio::test]
async fn producers_are_numbered_and_fenced() {
    let server = start().await;
    server.topic("t", 1).await;
    let send = async |epoch: &str, sequence: &str| {
        let request = server.post("/v1/topics/t/records").header("producer-id", "7");
        request
            .header("producer-epoch", epoch)
            .header("producer-seq", sequence)
            .body("x")
            .send()
            .await
            .unwrap()
    };
    assert_eq!(json(send("1", "0").await).await["offset"], 0);
    assert_eq!(json(send("1", "1").await).await["offset"], 1);
    let repeat = send("1", "1").await;
    assert_eq!(repeat.headers()["idempotent-replayed"], "true");
    assert_eq!(json(repeat).await["offset"], 1);
    let gap = problem(send("1", "5").await, 409, "seq_gap").await;
    assert_eq!(gap["details"]["expected_sequence"], 2);
    assert_eq!(json(send("2", "0").await).await["offset"], 2);
    let fenced = problem(send("1", "2").await, 409, "fenced").await;
    assert_eq!(fenced["details"]["current_epoch"], 2);
    let alone = server.post("/v1/topics/t/records").header("producer-id", "7").body("x");
    problem(alone.send().await.unwrap(), 400, "invalid_argument").await;
    server.end().await;
}

#[tokio::test]
async fn an_offset_can_be_expected() {
    let server = start().await;
    server.topic("one", 1).await;
    server.topic("many", 3).await;
    let send = async |path: &str, offset: &str| {
        let request = server.post(path).header("if-offset-match", offset);
        request.body("x").send().await.unwrap()
    };
    let one = "/v1/topics/one/records";
    assert_eq!(json(send(one, "0").await).await["offset"], 0);
    let conflict = problem(send(one, "0").await, 409, "offset_conflict").await;
    assert_eq!(conflict["details"]["next_offset"], 1);
    assert_eq!(conflict["details"]["expected_next_offset"], 0);
    problem(send("/v1/topics/many/records", "0").await, 400, "invalid_argument").await;
    assert_eq!(json(send("/v1/topics/many/records?partition=2", "0").await).await["partition"], 2);
    problem(send(one, "soon").await, 400, "invalid_argument").await;
    assert_eq!(server.records("one", 0).await.len(), 1);
    server.end().await;
}

#[tokio::test]
async fn a_header_that_is_sent_twice_is_refused() {
    let server = start().await;
    server.topic("t", 1).await;
    for (name, value) in [
        ("key", "k"),
        ("idempotency-key", "one"),
        ("if-offset-match", "0"),
        ("if-key-version", "none"),
        ("delay", "1h"),
        ("deliver-at", "2026-11-22T10:00:00Z"),
        ("producer-id", "7"),
        ("producer-epoch", "1"),
        ("producer-seq", "0"),
        ("durability", "os"),
    ] {
        let request = server.post("/v1/topics/t/records").header(name, value).header(name, value);
        let refused = problem(request.body("x").send().await.unwrap(), 400, "invalid_argument");
        assert_eq!(refused.await["details"]["header"], name);
    }
    assert_eq!(server.records("t", 0).await.len(), 0);
    server.end().await;
}

#[tokio::test]
async fn a_record_goes_where_both_it_and_its_request_say() {
    let server = start().await;
    server.topic("t", 3).await;
    let send = async |path: &str, body: &'static str| {
        let request = server.post(path).header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    };
    let records = r#"{"records":[{"value":"a"},{"value":"b","partition":2}]}"#;
    let refused = send("/v1/topics/t/records?partition=1", records).await;
    let refused = problem(refused, 400, "invalid_argument").await;
    assert_eq!(refused["details"]["index"], 1);
    let commit =
        r#"{"appends":[{"topic":"t","partition":1,"records":[{"value":"a","partition":2}]}]}"#;
    problem(send("/v1/commits", commit).await, 400, "invalid_argument").await;
    assert_eq!(server.records("t", 1).await.len() + server.records("t", 2).await.len(), 0);
    json(send("/v1/topics/t/records?partition=2", records).await).await;
    assert_eq!(server.records("t", 2).await.len(), 2);
    server.end().await;
}

#[tokio::test]
async fn large_records_fit_and_larger_ones_do_not() {
    let server = start().await;
    server.topic("t", 1).await;
    let value = vec![b'x'; (8 << 20) - 64];
    let request = server.post("/v1/topics/t/records").body(value.clone());
    assert_eq!(json(request.send().await.unwrap()).await["offset"], 0);
    let request = server.post("/v1/topics/t/records").header("content-type", PROTOBUF);
    let body = Body::from_records(&[Record::new("small"), Record::new(vec![b'x'; 8 << 20])]);
    let answer = request.body(body.bytes).send().await.unwrap();
    let refused = problem(answer, 413, "record_too_large").await;
    assert_eq!(refused["details"]["index"], 1);
    let request = server.get("/v1/topics/t/records?max_bytes=1").header("accept", PROTOBUF);
    let whole = request.send().await.unwrap().bytes().await.unwrap();
    assert!(whole.len() > value.len(), "at least one whole record comes");
    server.end().await;
}
