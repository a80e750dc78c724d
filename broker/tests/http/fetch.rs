//! Reading, in every form.

use embermq_protocol::batch::{BodyBuilder, FetchedBatches, ProducerFields};
use embermq_protocol::v1::{Compression, FetchResponse, Record};
use prost::Message as _;

use crate::harness::{Running, json, problem, start};

const PROTOBUF: &str = "application/x-protobuf";

/// A topic with ten records in three batches.
async fn ten_records() -> Running {
    let server = start().await;
    server.topic("t", 1).await;
    for batch in [0..4, 4..5, 5..10] {
        let lines: String = batch.map(|n| format!("{{\"value\":\"{n}\"}}\n")).collect();
        let request =
            server.post("/v1/topics/t/records").header("content-type", "application/x-ndjson");
        json(request.body(lines).send().await.unwrap()).await;
    }
    server
}

async fn values(server: &Running, query: &str) -> (Vec<String>, u64) {
    let page =
        json(server.get(&format!("/v1/topics/t/records?{query}")).send().await.unwrap()).await;
    let records = page["records"].as_array().unwrap();
    let values =
        records.iter().map(|record| record["value"].as_str().unwrap().to_owned()).collect();
    (values, page["next_offset"].as_u64().unwrap())
}

#[tokio::test]
async fn json_begins_and_ends_exactly_where_asked() {
    let server = ten_records().await;
    assert_eq!(values(&server, "").await.0.len(), 10);
    assert_eq!(
        values(&server, "offset=2&max=3").await,
        (vec!["2".into(), "3".into(), "4".into()], 5)
    );
    assert_eq!(values(&server, "offset=9&max=5").await, (vec!["9".into()], 10));
    assert_eq!(values(&server, "offset=10").await, (vec![], 10));
    assert_eq!(values(&server, "offset=end").await, (vec![], 10));
    assert_eq!(values(&server, "offset=start&max=1").await, (vec!["0".into()], 1));
    assert_eq!(values(&server, "from=end").await, (vec![], 10));
    assert_eq!(values(&server, "from=start&max=1").await, (vec!["0".into()], 1));
    let page = json(server.get("/v1/topics/t/records?offset=4&max=1").send().await.unwrap()).await;
    assert_eq!((&page["start_offset"], &page["end_offset"]), (&0.into(), &10.into()));
    let record = &page["records"][0];
    assert_eq!(
        (&record["topic"], &record["partition"], &record["offset"]),
        (&"t".into(), &0.into(), &4.into())
    );
    let time = record["append_time"].as_str().unwrap();
    assert_eq!((time.len(), time.ends_with('Z')), (27, true), "{time}");
    let by_time = values(&server, &format!("time={time}")).await.0;
    assert_eq!(by_time.last().unwrap(), "9");
    assert_eq!(values(&server, "time=2100-01-01T00:00:00Z").await, (vec![], 10));
    server.end().await;
}

#[tokio::test]
async fn lines_and_base64_are_other_ways_to_say_it() {
    let server = ten_records().await;
    let request = server
        .get("/v1/topics/t/records?offset=8&encoding=base64")
        .header("accept", "application/x-ndjson");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    assert_eq!(answer.headers()["next-offset"], "10");
    let text = answer.text().await.unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains(r#""value":"OA==","encoding":"base64""#), "{text}");
    server.end().await;
}

#[tokio::test]
async fn protobuf_gives_whole_batches() {
    let server = ten_records().await;
    let fetch = async |query: &str| {
        let request =
            server.get(&format!("/v1/topics/t/records?{query}")).header("accept", PROTOBUF);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], PROTOBUF);
        assert!(answer.headers().contains_key("content-length"));
        answer.bytes().await.unwrap()
    };
    let all = FetchResponse::decode(fetch("").await).unwrap();
    assert_eq!(
        (all.batches.len(), all.next_offset, all.start_offset, all.end_offset),
        (3, 10, 0, 10)
    );
    assert_eq!(all.batches[2].base_offset, 5);
    let part = fetch("offset=2&max=3").await;
    let decoded = FetchResponse::decode(part.clone()).unwrap();
    assert_eq!((decoded.batches.len(), decoded.next_offset), (2, 5));
    let records: Vec<_> = FetchedBatches::parse(part)
        .unwrap()
        .records(2)
        .map(|record| record.unwrap().offset)
        .collect();
    assert_eq!(records, [2, 3, 4]);
    let none = FetchResponse::decode(fetch("offset=10").await).unwrap();
    assert_eq!((none.batches.len(), none.next_offset), (0, 10));
    server.end().await;
}

#[tokio::test]
async fn compressed_batches_are_inflated_unless_the_client_can() {
    let server = start().await;
    server.topic("t", 1).await;
    let mut builder = BodyBuilder::default();
    for number in 0..200 {
        builder.push(&Record::new(format!("again and again and again {number}")));
    }
    let plain_length = builder.len();
    let body = builder.finish_compressed(Compression::Zstd).unwrap();
    let request = server.post("/v1/topics/t/records").header("content-type", PROTOBUF);
    json(request.body(body.to_batch(ProducerFields::default())).send().await.unwrap()).await;
    server.say("t", "plain").await;
    assert_eq!(values(&server, "offset=150&max=1").await.0, ["again and again and again 150"]);
    let fetch = async |query: &str| {
        let request =
            server.get(&format!("/v1/topics/t/records?{query}")).header("accept", PROTOBUF);
        request.send().await.unwrap().bytes().await.unwrap()
    };
    let compressed = fetch("compressed=true").await;
    assert!(compressed.len() < plain_length);
    let inflated = FetchResponse::decode(fetch("").await).unwrap();
    assert_eq!(inflated.batches[0].records.len(), 200);
    assert_eq!(inflated.batches[0].compression, 0);
    assert_eq!(inflated.batches[1].records[0], Record::new("plain"));
    let count = FetchedBatches::parse(compressed).unwrap().records(0).count();
    assert_eq!(count, 201);
    server.end().await;
}

#[tokio::test]
async fn a_long_poll_is_woken_by_a_record() {
    let server = start().await;
    server.topic("t", 1).await;
    let waiting = server.get("/v1/topics/t/records?offset=0&wait=30s").send();
    let producing = server.say("t", "hello");
    let (answer, _) = tokio::join!(waiting, producing);
    assert_eq!(json(answer.unwrap()).await["records"][0]["value"], "hello");
    server.end().await;
}

#[tokio::test]
async fn a_long_poll_ends_at_shutdown() {
    let mut server = start().await;
    server.topic("t", 1).await;
    let request = server.get("/v1/topics/t/records?offset=0&wait=30s").send();
    let waiting = tokio::spawn(request);
    // The poll has arrived when a later request on the same server has been answered and the poll has not.
    server.get("/livez").send().await.unwrap();
    server.stop();
    server.end().await;
    // Either it was there in time and got its empty page, or it was not and found the door closed.
    if let Ok(answer) = waiting.await.unwrap() {
        assert_eq!(json(answer).await["records"].as_array().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_explained() {
    let server = ten_records().await;
    server.topic("many", 3).await;
    let fetch = async |path: &str| server.get(path).send().await.unwrap();
    let beyond =
        problem(fetch("/v1/topics/t/records?offset=11").await, 416, "offset_out_of_range").await;
    assert_eq!(beyond["details"]["start_offset"], 0);
    assert_eq!(beyond["details"]["end_offset"], 10);
    problem(fetch("/v1/topics/none/records").await, 404, "topic_not_found").await;
    problem(fetch("/v1/topics/t/records?partition=1").await, 404, "partition_not_found").await;
    let several = problem(fetch("/v1/topics/many/records").await, 400, "invalid_argument").await;
    assert!(several["detail"].as_str().unwrap().contains("3 partitions"));
    for query in [
        "offset=-1",
        "offset=x",
        "max=0",
        "max=x",
        "wait=31s",
        "wait=soon",
        "time=now",
        "from=middle",
        "encoding=hex",
        "offset=1&from=start",
        "offset=1&offset=2",
        "ofset=1",
        "partition=x",
        "max_bytes=x",
        "compressed=maybe",
    ] {
        let answer = fetch(&format!("/v1/topics/t/records?{query}")).await;
        problem(answer, 400, "invalid_argument").await;
    }
    let picky =
        server.get("/v1/topics/t/records").header("accept", "image/png").send().await.unwrap();
    problem(picky, 406, "not_acceptable").await;
    server.end().await;
}
