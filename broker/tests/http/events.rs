//! The live tail.

use std::time::Duration;

use embermq::Options;
use embermq::http::ServeOptions;
use reqwest::Response;
use serde_json::Value;

use crate::harness::{Running, problem, start, start_with};

/// Reads an event stream piece by piece.
struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    async fn open(server: &Running, query: &str, last: Option<&str>) -> Self {
        let mut request = server
            .get(&format!("/v1/topics/t/records?{query}"))
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next block; none at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event: its id and its record.
    async fn event(&mut self) -> (String, Value) {
        loop {
            let block = self.block().await.unwrap();
            let Some(rest) = block.strip_prefix("id: ") else { continue };
            let (id, data) = rest.split_once("\ndata: ").unwrap();
            return (id.to_owned(), serde_json::from_str(data).unwrap());
        }
    }
}

#[tokio::test]
async fn records_arrive_live_and_the_stream_resumes() {
    let server = start().await;
    server.topic("t", 1).await;
    server.say("t", "before").await;
    let mut stream = Stream::open(&server, "", None).await;
    server.say("t", "one").await;
    let (id, record) = stream.event().await;
    assert_eq!(
        (id.as_str(), &record["value"], &record["offset"]),
        ("0:1", &"one".into(), &1.into())
    );
    drop(stream);
    server.say("t", "two").await;
    server.say("t", "three").await;
    let mut stream = Stream::open(&server, "", Some(&id)).await;
    assert_eq!(stream.event().await.1["value"], "two");
    assert_eq!(stream.event().await.1["value"], "three");
    let mut stream = Stream::open(&server, "from=start&max=1", None).await;
    assert_eq!(stream.event().await.1["value"], "before");
    assert_eq!(stream.block().await, None);
    server.end().await;
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_first_event_resumes_where_it_began() {
    let server = start().await;
    server.topic("t", 2).await;
    let begin = async |stream: &mut Stream| {
        let block = stream.block().await.unwrap();
        block.split_once("\nid: ").unwrap().1.to_owned()
    };
    let mut empty = Stream::open(&server, "", None).await;
    let nothing = begin(&mut empty).await;
    drop(empty);
    let request = server.post("/v1/topics/t/records?partition=1");
    assert!(request.body("one").send().await.unwrap().status().is_success());
    let mut stream = Stream::open(&server, "", None).await;
    let one = begin(&mut stream).await;
    drop(stream);
    let request = server.post("/v1/topics/t/records?partition=1");
    assert!(request.body("two").send().await.unwrap().status().is_success());

    let mut stream = Stream::open(&server, "", Some(&nothing)).await;
    assert_eq!(begin(&mut stream).await, nothing);
    assert_eq!(stream.event().await.1["value"], "one");
    let mut stream = Stream::open(&server, "", Some(&one)).await;
    assert_eq!(begin(&mut stream).await, "1:0");
    assert_eq!(stream.event().await.1["value"], "two");
    server.end().await;
}

#[tokio::test]
async fn partitions_are_merged_and_resumed_together() {
    let server = start().await;
    server.topic("t", 3).await;
    let say = async |partition: u32, text: &'static str| {
        let request = server.post(&format!("/v1/topics/t/records?partition={partition}"));
        assert!(request.body(text).send().await.unwrap().status().is_success());
    };
    say(1, "old").await;
    let mut stream = Stream::open(&server, "", None).await;
    say(0, "a").await;
    let (id, record) = stream.event().await;
    assert_eq!(record["value"], "a");
    // Partition 1 was read up to its end, partition 2 has nothing yet.
    assert_eq!(id, "1:0,0:0");
    drop(stream);
    say(1, "b").await;
    say(2, "c").await;
    let mut stream = Stream::open(&server, "", Some(&id)).await;
    let mut values =
        [stream.event().await.1["value"].clone(), stream.event().await.1["value"].clone()];
    values.sort_by_key(Value::to_string);
    assert_eq!(values, ["b", "c"]);
    server.end().await;
}

#[tokio::test]
async fn partitions_that_come_later_are_merged_too() {
    let server = start().await;
    server.topic("t", 1).await;
    let mut stream = Stream::open(&server, "from=start", None).await;
    let more = async |partitions: u32| {
        let edit = server.client.patch(server.url("/v1/topics/t"));
        let edit = edit.body(format!(r#"{{"partitions":{partitions}}}"#)).send().await.unwrap();
        assert_eq!(edit.status(), 200);
    };
    let say = async |partition: u32| {
        let path = format!("/v1/topics/t/records?partition={partition}");
        assert_eq!(server.post(&path).body("x").send().await.unwrap().status(), 200);
    };
    say(0).await;
    assert_eq!(stream.event().await.1["partition"], 0);
    more(3).await;
    say(2).await;
    let (id, event) = stream.event().await;
    assert_eq!((id.as_str(), &event["partition"]), ("0:0,2:0", &2.into()));
    say(1).await;
    assert_eq!(stream.event().await.1["partition"], 1);
    // More than it merges: it says so, and ends.
    more(65).await;
    loop {
        let block = stream.block().await.unwrap();
        if block.starts_with("event: problem") {
            assert!(block.contains("65 partitions") && block.contains("64 at most"), "{block}");
            break;
        }
    }
    assert_eq!(stream.block().await, None);
    server.end().await;
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_and_ends_at_shutdown() {
    let serve =
        ServeOptions { event_keep_alive: Duration::from_millis(5), ..ServeOptions::default() };
    let mut server = start_with(Options::default(), serve).await;
    server.topic("t", 1).await;
    let mut stream = Stream::open(&server, "", None).await;
    assert_eq!(stream.block().await.unwrap(), "retry: 1000\nid: none");
    assert_eq!(stream.block().await.unwrap(), ": keep-alive");
    server.stop();
    while stream.block().await.is_some() {}
    server.end().await;
}

#[tokio::test]
async fn json_with_line_breaks_stays_one_event() {
    let server = start().await;
    server.topic("t", 1).await;
    let request = server.post("/v1/topics/t/records").header("content-type", "application/json");
    request.body("{\n \"a\":\r\n 1}").send().await.unwrap();
    let mut stream = Stream::open(&server, "from=start", None).await;
    assert_eq!(stream.event().await.1["value"]["a"], 1);
    server.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_before_the_stream_begins() {
    let server = start().await;
    server.topic("t", 1).await;
    server.topic("wide", 65).await;
    let open = async |path: &str, last: &str| {
        let request = server.get(path).header("accept", "text/event-stream");
        request.header("last-event-id", last).send().await.unwrap()
    };
    problem(open("/v1/topics/t/records", "here").await, 400, "invalid_argument").await;
    problem(open("/v1/topics/t/records", "0:5").await, 416, "offset_out_of_range").await;
    problem(open("/v1/topics/none/records", "0:5").await, 404, "topic_not_found").await;
    problem(open("/v1/topics/wide/records", "0:5").await, 400, "invalid_argument").await;
    server.end().await;
}
