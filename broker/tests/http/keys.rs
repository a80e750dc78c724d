//! Keys: the latest record, history, tables, and what produce and commits expect of them.

use std::sync::atomic::{AtomicU64, Ordering};

use embermq_protocol::Code;
use embermq_protocol::client::{
    AsOf, Client, KeyListOptions, KeyVersion, LeaseOptions, SettleError,
};
use embermq_protocol::v1::{
    KeyRecord, ListKeysRequest, ListKeysResponse, ReadKeyHistoryResponse, ReadKeyRequest,
    ReadKeyResponse, Record, RecordBatch,
};
use prost::Message as _;
use reqwest::Response;
use serde_json::{Value, json as object};

use crate::harness::{Running, json, problem, start};

impl Running {
    async fn table_topic(&self, name: &str, partitions: u32) {
        let settings = object!({ "partitions": partitions, "compact": true });
        json(self.put(&format!("/v1/topics/{name}")).json(&settings).send().await.unwrap()).await;
    }

    async fn put_key(&self, topic: &str, key: &str, value: Value) -> u64 {
        let body = object!({ "records": [{ "key": key, "value": value }] });
        let request = self.post(&format!("/v1/topics/{topic}/records")).json(&body);
        let answer = json(request.send().await.unwrap()).await;
        answer["records"][0]["offset"].as_u64().unwrap()
    }

    async fn key(&self, topic: &str, rest: &str) -> Response {
        self.get(&format!("/v1/topics/{topic}/keys/{rest}")).send().await.unwrap()
    }

    async fn produce_if(&self, topic: &str, key: &str, value: &str, version: &str) -> Response {
        let request = self.post(&format!("/v1/topics/{topic}/records")).header("Key", key);
        request.header("If-Key-Version", version).body(value.to_owned()).send().await.unwrap()
    }
}

#[tokio::test]
async fn a_key_is_read_in_every_form() {
    let server = start().await;
    server.table_topic("t", 3).await;
    let first = server.put_key("t", "a/b 7", object!("one")).await;
    let second = server.put_key("t", "a/b 7", object!({ "n": 2 })).await;
    let answer = server.key("t", "a%2Fb%207").await;
    assert_eq!(answer.headers()["key-version"], second.to_string().as_str());
    let record = json(answer).await;
    assert_eq!((&record["key"], &record["value"]), (&object!("a/b 7"), &object!({"n": 2})));
    assert_eq!((&record["topic"], &record["offset"]), (&object!("t"), &object!(second)));

    let bare = |query: &str| {
        let path = format!("/v1/topics/t/keys/a%2Fb%207{query}");
        server.get(&path).header("accept", "application/octet-stream").send()
    };
    let answer = bare("").await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["key-version"], second.to_string().as_str());
    assert_eq!(answer.headers()["partition"], record["partition"].to_string().as_str());
    assert_eq!(answer.headers()["append-time"], record["append_time"].as_str().unwrap());
    assert_eq!(answer.text().await.unwrap(), r#"{"n":2}"#);
    assert_eq!(bare(&format!("?as_of={first}")).await.unwrap().text().await.unwrap(), "one");

    let request = server.get("/v1/topics/t/keys/a%2Fb%207");
    let answer = request.header("accept", "application/x-protobuf").send().await.unwrap();
    let message = ReadKeyResponse::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!(message.record.unwrap().offset, second);

    let time = record["append_time"].as_str().unwrap();
    let then = json(server.key("t", &format!("a%2Fb%207?as_of={time}")).await).await;
    assert_eq!(then["offset"], second);
    let before = server.key("t", "a%2Fb%207?as_of=2020-01-01T00:00:00Z").await;
    let before = problem(before, 404, "key_not_found").await;
    assert_eq!(before["details"]["start_offset"], 0);

    server.put_key("t", "a/b 7", Value::Null).await;
    let gone = problem(server.key("t", "a%2Fb%207").await, 404, "key_not_found").await;
    assert_eq!(gone["details"]["tombstone_offset"], second + 1);
    let history = json(server.key("t", "a%2Fb%207?history&limit=2").await).await;
    let offsets: Vec<_> = history["records"].as_array().unwrap().iter().collect();
    assert_eq!((&offsets[0]["value"], &offsets[1]["value"]), (&Value::Null, &object!({"n": 2})));
    let before = history["before"].as_u64().unwrap();
    let rest = json(server.key("t", &format!("a%2Fb%207?history&before={before}")).await).await;
    assert_eq!((&rest["records"][0]["value"], &rest["before"]), (&object!("one"), &Value::Null));
    let request = server.get("/v1/topics/t/keys/a%2Fb%207?history=true&limit=1");
    let lines = request.header("accept", "application/x-ndjson").send().await.unwrap();
    assert_eq!(lines.headers()["next-before"], (second + 1).to_string().as_str());
    assert_eq!(lines.text().await.unwrap().lines().count(), 1);
    server.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_are_keys_too() {
    let server = start().await;
    server.topic("t", 2).await;
    let body = object!({ "records": [{ "key": "AP+A", "key_encoding": "base64", "value": "x" }] });
    json(server.post("/v1/topics/t/records").json(&body).send().await.unwrap()).await;
    let record = json(server.key("t", "%00%FF%80").await).await;
    assert_eq!((&record["key"], &record["key_encoding"]), (&object!("AP+A"), &object!("base64")));
    let plain = json(server.key("t", "%00%FF%80?encoding=base64").await).await;
    assert_eq!((&plain["value"], &plain["encoding"]), (&object!("eA=="), &object!("base64")));
    server.end().await;
}

#[tokio::test]
async fn a_topic_is_listed_as_a_table() {
    let server = start().await;
    server.table_topic("t", 2).await;
    for round in 0..3 {
        for key in ["a1", "a2", "b1", "b2"] {
            server.put_key("t", key, object!(format!("{key} {round}"))).await;
        }
    }
    server.put_key("t", "b1", Value::Null).await;
    let mut values = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/topics/t/keys?limit=2{after}");
        let page = json(server.get(&path).send().await.unwrap()).await;
        values.extend(page["records"].as_array().unwrap().iter().map(|r| r["value"].to_string()));
        match page["after"].as_str() {
            Some(place) => after = format!("&after={place}"),
            None => break,
        }
    }
    values.sort_unstable();
    assert_eq!(values, [r#""a1 2""#, r#""a2 2""#, r#""b2 2""#]);
    let request = server.get("/v1/topics/t/keys?prefix=a&limit=1");
    let lines = request.header("accept", "application/x-ndjson").send().await.unwrap();
    assert!(lines.headers().contains_key("next-after"));
    assert_eq!(lines.text().await.unwrap().lines().count(), 1);
    server.end().await;
}

#[tokio::test]
async fn connect_reads_keys_too() {
    let server = start().await;
    server.topic("t", 1).await;
    server.put_key("t", "k", object!("1")).await;
    server.put_key("t", "k", object!("2")).await;
    let call = async |method: &str, body: Vec<u8>| {
        let request = server.post(&format!("/embermq.v1.RecordService/{method}"));
        let answer =
            request.header("content-type", "application/proto").body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap()
    };
    let value = |found: &KeyRecord| found.record.as_ref().unwrap().value.clone().unwrap();
    let wanted = ReadKeyRequest { topic: "t".into(), key: "k".into(), ..ReadKeyRequest::default() };
    let found = call("ReadKey", wanted.encode_to_vec()).await;
    let found = ReadKeyResponse::decode(found).unwrap().record.unwrap();
    assert_eq!((found.offset, value(&found)), (1, "2".into()));
    let history = call("ReadKeyHistory", wanted.encode_to_vec()).await;
    let history = ReadKeyHistoryResponse::decode(history).unwrap();
    assert_eq!(history.records.iter().map(value).collect::<Vec<_>>(), ["2", "1"]);
    let list = ListKeysRequest { topic: "t".into(), ..ListKeysRequest::default() };
    let list = ListKeysResponse::decode(call("ListKeys", list.encode_to_vec()).await).unwrap();
    assert_eq!((list.records.len(), list.after.as_str()), (1, ""));
    let asked = "?connect=v1&encoding=json&message=%7B%22topic%22%3A%22t%22%2C%22key%22%3A%22aw%3D%3D%22%2C%22offset%22%3A%220%22%7D";
    let then = server.get(&format!("/embermq.v1.RecordService/ReadKey{asked}")).send().await;
    assert_eq!(json(then.unwrap()).await["record"]["record"]["value"], "MQ==");
    let body = object!({
        "preconditions": [{"topic": "t", "keyVersion": {"key": "aw==", "offset": "0"}}],
        "appends": [{"topic": "t", "batch": {"records": [{"value": "eA=="}]}}],
    });
    let request = server.post("/embermq.v1.CommitService/Commit").json(&body);
    let refused = request.send().await.unwrap();
    assert_eq!(refused.status(), 409);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "aborted");
    server.end().await;
}

#[tokio::test]
async fn producing_can_expect_a_version() {
    let server = start().await;
    server.topic("t", 4).await;
    let produced = json(server.produce_if("t", "k", "1", "none").await).await;
    let version = produced["offset"].as_u64().unwrap();
    let refused =
        problem(server.produce_if("t", "k", "2", "none").await, 409, "key_conflict").await;
    let details = &refused["details"];
    assert_eq!(details["expected_key_version"], Value::Null);
    assert_eq!((&details["key_version"], &details["key"]), (&object!(version), &object!("k")));
    json(server.produce_if("t", "k", "2", &version.to_string()).await).await;
    let stale = server.produce_if("t", "k", "3", &format!("\"{version}\"")).await;
    let refused = problem(stale, 409, "key_conflict").await;
    assert_eq!(refused["details"]["key_version"], version + 1);

    // A repeat gets the first answer, whatever the key has become.
    let once = || {
        let request = server.post("/v1/topics/t/records").header("Key", "once");
        request.header("If-Key-Version", "none").header("Idempotency-Key", "1").body("x").send()
    };
    let first = json(once().await.unwrap()).await;
    let again = once().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(json(again).await, first);

    let records = |list: Value, version: &str| {
        let request = server.post("/v1/topics/t/records").header("If-Key-Version", version);
        request.json(&object!({ "records": list })).send()
    };
    let same = object!([{"key": "two", "value": "1"}, {"key": "two", "value": "2"}]);
    json(records(same, "none").await.unwrap()).await;
    assert_eq!(json(server.key("t", "two").await).await["value"], "2");
    for (list, version) in [
        (object!([{"key": "x", "value": "1"}, {"key": "y", "value": "2"}]), "none"),
        (object!([{"key": "x", "value": "1"}, {"value": "2"}]), "none"),
        (object!([{"value": "1"}]), "none"),
        (object!([{"key": "", "value": "1"}]), "none"),
        (object!([{"key": "x", "value": "1"}]), "abc"),
        (object!([{"key": "x", "value": "1"}]), "-1"),
        (object!([{"key": "x", "value": "1"}]), ""),
    ] {
        let refused = problem(records(list, version).await.unwrap(), 400, "invalid_argument").await;
        assert_eq!(refused["details"]["header"], "if-key-version", "{refused}");
    }
    let batch = RecordBatch {
        records: vec![Record::new("1").with_key("p"), Record::new("2").with_key("p")],
        ..RecordBatch::default()
    };
    let protobuf = || {
        let request = server.post("/v1/topics/t/records").header("If-Key-Version", "none");
        request.header("content-type", "application/x-protobuf").body(batch.encode_to_vec()).send()
    };
    json(protobuf().await.unwrap()).await;
    problem(protobuf().await.unwrap(), 409, "key_conflict").await;
    server.end().await;
}

#[tokio::test]
async fn a_key_is_still_there_when_partitions_were_added() {
    let server = start().await;
    server.topic("t", 1).await;
    for value in ["1", "2", "3"] {
        server.put_key("t", "k", object!(value)).await;
    }
    let more = server.client.patch(server.url("/v1/topics/t"));
    json(more.json(&object!({ "partitions": 8 })).send().await.unwrap()).await;
    let shown = server.key("t", "k").await;
    let version = shown.headers()["key-version"].to_str().unwrap().to_owned();
    assert_eq!((version.as_str(), &json(shown).await["partition"]), ("2", &object!(0)));
    for expected in ["none", "1", "2"] {
        let refused = server.produce_if("t", "k", "4", expected).await;
        let refused = problem(refused, 409, "key_conflict").await;
        let details = &refused["details"];
        assert_eq!((&details["partition"], &details["key_version"]), (&object!(0), &object!(2)));
        assert_ne!(details["own_partition"], 0, "it is another one by now");
    }
    let there = || {
        let request = server.post("/v1/topics/t/records?partition=0").header("Key", "k");
        request.header("If-Key-Version", &version).body("4").send()
    };
    json(there().await.unwrap()).await;
    problem(there().await.unwrap(), 409, "key_conflict").await;
    assert_eq!(json(server.key("t", "k").await).await["value"], "4");
    server.end().await;
}

#[tokio::test]
async fn commits_can_expect_versions() {
    let server = start().await;
    server.topic("t", 2).await;
    server.topic("log", 1).await;
    let version = server.put_key("t", "k", object!("1")).await;
    let commit = async |preconditions: Value| {
        let appends = object!([{"topic": "log", "records": [{"value": "done"}]}]);
        let body = object!({ "preconditions": preconditions, "appends": appends });
        server.post("/v1/commits").json(&body).send().await.unwrap()
    };
    let key = |key: &str, offset: Value| object!({"topic": "t", "key_version": {"key": key, "offset": offset}});
    json(commit(object!([key("k", object!(version)), key("l", Value::Null)])).await).await;
    problem(commit(object!([key("k", Value::Null)])).await, 409, "key_conflict").await;
    let mixed = object!([key("k", object!(version)), {"topic": "log", "next_offset": 7}]);
    problem(commit(mixed).await, 409, "offset_conflict").await;
    let unnamed = object!([{"topic": "t", "key_version": {"key": "k"}}]);
    problem(commit(unnamed).await, 409, "key_conflict").await;
    let base64 = object!([{"topic": "t", "key_version": {"key": "aw==", "key_encoding": "base64", "offset": version}}]);
    json(commit(base64).await).await;
    problem(commit(object!([key("", Value::Null)])).await, 400, "invalid_argument").await;
    problem(commit(object!([{"topic": "t"}])).await, 400, "malformed_body").await;
    let both = object!([{"topic": "t", "next_offset": 0, "key_version": {"key": "k"}}]);
    problem(commit(both).await, 400, "malformed_body").await;
    let elsewhere = object!([{"topic": "t", "partition": 2, "key_version": {"key": "k"}}]);
    problem(commit(elsewhere).await, 404, "partition_not_found").await;
    assert_eq!(server.records("log", 0).await.len(), 2);
    server.end().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_said() {
    let server = start().await;
    server.topic("t", 2).await;
    server.put_key("t", "k", object!("1")).await;
    for (path, status, code) in [
        ("t/keys/", 400, "invalid_argument"),
        ("t/keys/k?as_of=soon", 400, "invalid_argument"),
        ("t/keys/k?as_of=99", 416, "offset_out_of_range"),
        ("t/keys/k?partition=2", 404, "partition_not_found"),
        ("t/keys/k?partition=x", 400, "invalid_argument"),
        ("t/keys/k?before=1", 400, "invalid_argument"),
        ("t/keys/k?history&limit=1001", 400, "invalid_argument"),
        ("t/keys/k?history&limit=0", 400, "invalid_argument"),
        ("t/keys?limit=0", 400, "invalid_argument"),
        ("t/schedules?limit=0", 400, "invalid_argument"),
        ("t/schedules?limit=1001", 400, "invalid_argument"),
        ("t/keys/k?encoding=hex", 400, "invalid_argument"),
        ("t/keys/l", 404, "key_not_found"),
        ("t/keys/l?history", 404, "key_not_found"),
        ("none/keys/k", 404, "topic_not_found"),
        ("none/keys", 404, "topic_not_found"),
        ("t/keys?after=x", 400, "invalid_argument"),
        ("t/keys?partition=2", 404, "partition_not_found"),
        ("t/keys?limit=-1", 400, "invalid_argument"),
    ] {
        let answer = server.get(&format!("/v1/topics/{path}")).send().await.unwrap();
        let problem = problem(answer, status, code).await;
        assert!(problem["detail"].as_str().unwrap().len() > 15, "{path}: {problem}");
    }
    server.end().await;
}

#[tokio::test]
async fn writers_over_http_increment_a_counter_and_lose_nothing() {
    let server = start().await;
    server.topic("t", 2).await;
    let successes = AtomicU64::new(0);
    let writer = async || {
        let mut done = 0;
        while done < 5 {
            let answer = server.key("t", "counter").await;
            let (count, version) = if answer.status() == 404 {
                (0, "none".to_owned())
            } else {
                let version = answer.headers()["key-version"].to_str().unwrap().to_owned();
                let value = json(answer).await["value"].as_str().unwrap().parse::<u64>().unwrap();
                (value, version)
            };
            let next = (count + 1).to_string();
            match server.produce_if("t", "counter", &next, &version).await.status().as_u16() {
                200 => {
                    done += 1;
                    successes.fetch_add(1, Ordering::Relaxed);
                }
                409 | 429 => {}
                other => panic!("{other}"),
            }
        }
    };
    futures::future::join_all((0..16).map(|_| writer())).await;
    let counter = json(server.key("t", "counter").await).await;
    assert_eq!((counter["value"].as_str().unwrap(), successes.into_inner()), ("80", 80));

    let race = async |racer: u32| {
        server.produce_if("t", "new", &racer.to_string(), "none").await.status().as_u16()
    };
    let statuses = futures::future::join_all((0..16).map(race)).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    server.end().await;
}

#[tokio::test]
async fn the_rust_client_reads_and_writes_keys() {
    let server = start().await;
    server.table_topic("t", 2).await;
    server.topic("jobs", 1).await;
    let client = Client::new(&server.url("")).unwrap();
    let topic = client.topic("t").unwrap();
    let key = topic.key("k");
    assert_eq!(key.get().await.unwrap(), None);
    assert_eq!(key.history(5).await.unwrap(), []);
    let first = key.put_if(KeyVersion::Absent, Record::new("1")).await.unwrap();
    let refused = key.put_if(KeyVersion::Absent, Record::new("2")).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::KeyConflict));
    key.put_if(KeyVersion::Offset(first.offset), Record::new("2")).await.unwrap();
    let found = key.get().await.unwrap().unwrap();
    assert_eq!((found.partition, found.offset), (first.partition, first.offset + 1));
    let then = key.clone().as_of(AsOf::Offset(first.offset)).get().await.unwrap().unwrap();
    assert_eq!(then.record.value.as_deref(), Some(&b"1"[..]));
    let then = key.clone().as_of(AsOf::TimeUs(found.append_time_us)).get().await.unwrap();
    assert_eq!(then, Some(found.clone()));
    assert_eq!(key.history(5).await.unwrap(), [found.clone(), then_of(&key, first.offset).await]);
    assert_eq!(key.history(1).await.unwrap().len(), 1);
    let page = topic.list_keys(KeyListOptions::default()).await.unwrap();
    assert_eq!((page.records, page.after.as_str()), (vec![found.clone()], ""));

    // A lease is settled only if the key has the expected version.
    server.say("jobs", "job").await;
    let workers = client.topic("jobs").unwrap().group("workers").unwrap();
    let leases = workers.lease(LeaseOptions::default()).await.unwrap();
    let commit = |version| {
        let output = Record::new("3").with_key("k");
        leases[0].commit().append("t", output).expect_key("t", "k", version).ack()
    };
    let refused = commit(KeyVersion::Offset(first.offset)).await.unwrap_err();
    assert!(
        matches!(&refused, SettleError::Call(error) if error.code() == Some(Code::KeyConflict)),
        "{refused:?}"
    );
    commit(KeyVersion::Offset(found.offset)).await.unwrap();
    let latest = key.get().await.unwrap().unwrap();
    assert_eq!(latest.record.value.as_deref(), Some(&b"3"[..]));
    server.end().await;
}

async fn then_of(
    key: &embermq_protocol::client::KeyClient,
    offset: u64,
) -> embermq_protocol::client::ConsumedRecord {
    key.clone().as_of(AsOf::Offset(offset)).get().await.unwrap().unwrap()
}
