//! Connect unary, in both codecs.

use embermq_protocol::problem::{ConnectError, Problem};
use embermq_protocol::v1::{
    CreateTopicRequest, CreateTopicResponse, FetchRequest, FetchResponse, ProduceRequest,
    ProduceResponse, Record, RecordBatch, TopicSettings,
};
use embermq_protocol::{Code, paths};
use prost::Message as _;
use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{Running, json, start};

async fn call_json(server: &Running, path: &str, message: Value) -> Response {
    let request = server.post(path).header("connect-protocol-version", "1");
    request.json(&message).send().await.unwrap()
}

async fn call(server: &Running, path: &str, message: &impl prost::Message) -> Response {
    let request = server.post(path).header("content-type", "application/proto");
    request.body(message.encode_to_vec()).send().await.unwrap()
}

async fn error(response: Response, status: u16, code: &str) -> Problem {
    let found = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let text = response.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    let error: ConnectError = serde_json::from_str(&text).unwrap();
    assert_eq!(error.code, code, "{text}");
    Problem::from(&error)
}

#[tokio::test]
async fn every_method_works_in_json() {
    let server = start().await;
    let settings = json!({"topic": "t", "settings": {"partitions": 2}});
    let created = json(call_json(&server, paths::CREATE_TOPIC, settings).await).await;
    assert_eq!((&created["created"], &created["topic"]["name"]), (&true.into(), &"t".into()));
    let produce = json!({"topic": "t", "partition": 1, "batch": {"records": [{"value": "aGk="}]}});
    let produced = json(call_json(&server, paths::PRODUCE, produce).await).await;
    assert_eq!(produced["results"][0]["partition"], 1);
    let commit = json!({"appends": [{"topic": "t", "partition": 1, "batch": {"records": [{"value": "aGk="}]}}]});
    let committed = json(call_json(&server, paths::COMMIT, commit).await).await;
    assert_eq!(committed["appends"][0]["baseOffset"], "1");
    let fetch = json!({"topic": "t", "partition": 1, "offset": "1"});
    let fetched = json(call_json(&server, paths::FETCH, fetch).await).await;
    assert_eq!(fetched["nextOffset"], "2");
    let last = fetched["batches"].as_array().unwrap().last().unwrap();
    assert_eq!(last["records"][0]["value"], "aGk=");
    let update = json!({"topic": "t", "settings": {"partitions": 3}});
    let updated = json(call_json(&server, paths::UPDATE_TOPIC, update).await).await;
    assert_eq!(updated["topic"]["settings"]["partitions"], 3);
    let shown = json(call_json(&server, paths::GET_TOPIC, json!({"topic": "t"})).await).await;
    assert_eq!(shown["topic"]["partitions"].as_array().unwrap().len(), 3);
    let listed = json(call_json(&server, paths::LIST_TOPICS, json!({})).await).await;
    assert_eq!(listed["topics"].as_array().unwrap().len(), 1);
    json(call_json(&server, paths::DELETE_TOPIC, json!({"topic": "t"})).await).await;
    let gone = call_json(&server, paths::GET_TOPIC, json!({"topic": "t"})).await;
    assert_eq!(error(gone, 404, "not_found").await.known_code(), Some(Code::TopicNotFound));
    server.end().await;
}

#[tokio::test]
async fn the_protobuf_codec_works() {
    let server = start().await;
    let settings = TopicSettings { partitions: Some(1), ..TopicSettings::default() };
    let create = CreateTopicRequest { topic: "t".into(), settings: Some(settings) };
    let answer = call(&server, paths::CREATE_TOPIC, &create).await;
    assert_eq!(answer.headers()["content-type"], "application/proto");
    assert!(CreateTopicResponse::decode(answer.bytes().await.unwrap()).unwrap().created);
    let records = vec![Record::new("1").with_key("k"), Record::new("2")];
    let batch =
        RecordBatch { producer_id: 5, producer_epoch: 1, records, ..RecordBatch::default() };
    let produce = ProduceRequest {
        topic: "t".into(),
        batch: Some(batch),
        expected_next_offset: Some(0),
        ..ProduceRequest::default()
    };
    let answer = call(&server, paths::PRODUCE, &produce).await;
    let produced = ProduceResponse::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!((produced.results[0].base_offset, produced.results[0].count), (0, 2));
    let again = ProduceRequest { expected_next_offset: None, ..produce.clone() };
    let answer = call(&server, paths::PRODUCE, &again).await;
    assert!(ProduceResponse::decode(answer.bytes().await.unwrap()).unwrap().replayed);
    let fetch = FetchRequest { topic: "t".into(), ..FetchRequest::default() };
    let answer = call(&server, paths::FETCH, &fetch).await;
    assert!(answer.headers().contains_key("content-length"));
    let fetched = FetchResponse::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!(fetched.batches[0].records[0], Record::new("1").with_key("k"));
    assert_eq!((fetched.batches[0].producer_id, fetched.next_offset), (5, 2));
    server.end().await;
}

#[tokio::test]
async fn reading_methods_answer_get() {
    let server = start().await;
    server.topic("t", 1).await;
    let path = format!(
        "{}?connect=v1&encoding=json&message=%7B%22topic%22%3A%22t%22%7D",
        paths::GET_TOPIC
    );
    assert_eq!(json(server.get(&path).send().await.unwrap()).await["topic"]["name"], "t");
    // {"topic":"t"} in protobuf is 0A 01 74.
    let path = format!("{}?connect=v1&encoding=proto&base64=1&message=CgF0", paths::GET_TOPIC);
    let answer = server.get(&path).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/proto");
    let writing =
        server.get(&format!("{}?connect=v1&encoding=json&message=%7B%7D", paths::CREATE_TOPIC));
    assert_eq!(writing.send().await.unwrap().headers()["allow"], "POST");
    server.end().await;
}

#[tokio::test]
async fn errors_carry_their_facts() {
    let server = start().await;
    server.topic("t", 1).await;
    let conflict =
        json!({"topic": "t", "expectedNextOffset": "7", "batch": {"records": [{"value": "aGk="}]}});
    let conflict = error(call_json(&server, paths::PRODUCE, conflict).await, 409, "aborted").await;
    assert_eq!(conflict.known_code(), Some(Code::OffsetConflict));
    assert_eq!(conflict.details["next_offset"], "0");
    assert!(conflict.request_id.is_some());
    let beyond = call_json(&server, paths::FETCH, json!({"topic": "t", "offset": "7"})).await;
    assert_eq!(error(beyond, 400, "out_of_range").await.details["end_offset"], "0");
    let name = call_json(&server, paths::CREATE_TOPIC, json!({"topic": "a/b"})).await;
    error(name, 400, "invalid_argument").await;
    let unknown = call_json(&server, "/embermq.v1.TopicService/Nothing", json!({})).await;
    error(unknown, 501, "unimplemented").await;
    let malformed = call_json(&server, paths::CREATE_TOPIC, json!({"topic": 7})).await;
    error(malformed, 400, "invalid_argument").await;
    for (path, message) in [
        (paths::PRODUCE, "ProduceRequest"),
        (paths::COMMIT, "CommitRequest"),
        (paths::SETTLE, "SettleRequest"),
    ] {
        let garbage = server.post(path).header("content-type", "application/proto");
        let garbage = garbage.body(&b"\xff\xff\xff"[..]).send().await.unwrap();
        let garbage = error(garbage, 400, "invalid_argument").await;
        assert!(garbage.detail.contains(&format!("embermq.v1.{message}")), "{garbage:?}");
    }
    let kind = server.post(paths::CREATE_TOPIC).header("content-type", "text/plain").body("x");
    error(kind.send().await.unwrap(), 415, "invalid_argument").await;
    let version = server
        .post(paths::GET_TOPIC)
        .header("connect-protocol-version", "2")
        .json(&json!({"topic": "t"}));
    error(version.send().await.unwrap(), 400, "invalid_argument").await;
    let many = vec![json!({}); 300_000];
    let bomb = json!({"topic": "t", "batch": {"records": many}});
    let bomb = error(call_json(&server, paths::PRODUCE, bomb).await, 400, "invalid_argument").await;
    assert_eq!(bomb.known_code(), Some(Code::TooManyRecords));
    assert_eq!(server.records("t", 0).await.len(), 0);
    server.end().await;
}

#[tokio::test]
async fn the_clients_time_is_honoured() {
    let server = start().await;
    server.topic("t", 1).await;
    let fetch = |millis: &str| {
        let request = server.post(paths::FETCH).header("connect-timeout-ms", millis);
        request.json(&json!({"topic": "t", "offset": "0", "wait": "30s"})).send()
    };
    error(fetch("20").await.unwrap(), 504, "deadline_exceeded").await;
    error(fetch("soon").await.unwrap(), 400, "invalid_argument").await;
    server.end().await;
}

#[tokio::test]
async fn groups_work_in_json() {
    let server = start().await;
    server.topic("t", 1).await;
    for text in ["1", "2", "3"] {
        server.say("t", text).await;
    }
    let call =
        async |path: &str, message: Value| json(call_json(&server, path, message).await).await;
    let place = json!({"topic": "t", "group": "g"});
    let with = |name: &str, value: Value| {
        let mut message = place.clone();
        message[name] = value;
        message
    };
    let settings = json!({"ordering": "ORDERING_KEY", "lease": "60s", "maxAttempts": 3});
    let created = call(paths::CREATE_GROUP, with("settings", settings)).await;
    assert_eq!(created["created"], true);
    assert_eq!(created["group"]["settings"]["deadLetterTopic"], "t.g.dlq");
    let updated = call(paths::UPDATE_GROUP, with("settings", json!({"maxAttempts": 4}))).await;
    let settings = &updated["group"]["settings"];
    assert_eq!((&settings["maxAttempts"], &settings["lease"]), (&json!(4), &json!("60s")));

    let leased = call(paths::LEASE, with("maxRecords", json!(3))).await;
    let leases = leased["leases"].as_array().unwrap();
    assert_eq!((leases.len(), &leases[0]["record"]["value"]), (3, &json!("MQ==")));
    assert_eq!(leases[0]["attempt"], 1);
    let settlements = json!([
        {"lease": leases[0]["token"], "ack": {}},
        {"lease": leases[1]["token"], "reject": {"reason": "no"}},
        {"lease": leases[2]["token"], "extend": {"by": "3600s"}},
        {"lease": "forged", "ack": {}},
    ]);
    let settled = call(paths::SETTLE, with("settlements", settlements)).await;
    let results = settled["results"].as_array().unwrap();
    assert_eq!(results[0], json!({"lease": leases[0]["token"]}));
    assert_eq!(results[1]["deadLetter"]["topic"], "t.g.dlq");
    assert!(results[2]["expiresAt"].is_string(), "{settled}");
    assert_eq!(results[3]["error"]["code"], "invalid_lease_token");

    let shown = call(paths::GET_GROUP, place.clone()).await;
    assert_eq!((&shown["group"]["inFlight"], &shown["group"]["dead"]), (&json!("1"), &json!("1")));
    let listed = call(paths::LIST_GROUPS, json!({})).await;
    assert_eq!(listed["groups"].as_array().unwrap().len(), 1);
    let dead = call(paths::LIST_DEAD_LETTERS, with("contains", json!("rejected"))).await;
    assert_eq!(dead["deadLetterTopic"], "t.g.dlq");
    let offset = dead["letters"][0]["offset"].as_str().unwrap_or("0");
    assert_eq!((dead["letters"].as_array().unwrap().len(), offset), (1, "0"));
    let redriven = call(paths::REDRIVE, place.clone()).await;
    assert_eq!((&redriven["matched"], &redriven["done"]), (&json!("1"), &json!("1")));
    let sought = call(paths::SEEK, with("to", json!({"position": "POSITION_END"}))).await;
    assert_eq!(sought["partitions"][0]["toOffset"], "3");
    call(paths::DELETE_GROUP, place.clone()).await;
    let gone = call_json(&server, paths::GET_GROUP, place.clone()).await;
    assert_eq!(error(gone, 404, "not_found").await.known_code(), Some(Code::GroupNotFound));
    let name = call_json(&server, paths::LEASE, json!({"topic": "t", "group": "a:b"})).await;
    let name = error(name, 400, "invalid_argument").await;
    assert_eq!(name.known_code(), Some(Code::InvalidGroupName));
    server.end().await;
}

#[tokio::test]
async fn a_bomb_of_settlements_is_counted_before_it_is_built() {
    let server = start().await;
    server.topic("t", 1).await;
    let request = server.post(paths::SETTLE).header("content-type", "application/proto");
    let bomb = request.body([0x1a, 0].repeat(100_000)).send().await.unwrap();
    let bomb = error(bomb, 400, "invalid_argument").await;
    assert_eq!(bomb.known_code(), Some(Code::TooManyRecords));
    server.end().await;
}
