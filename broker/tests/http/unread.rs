//! Clients that ask and do not read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use embermq::Options;
use embermq::http::ServeOptions;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use hyper::{Method, Request, StatusCode};
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Running, problem, start, start_with};

const RECORDS: &str = "/v1/topics/t/records";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";
const EVENTS: &str = "text/event-stream";
/// More than a portion, and no whole number of them.
const RECORD_BYTES: usize = 250_000;

/// An HTTP/2 connection that gives each stream so much window, and more when the test says so.
struct Connection {
    requests: SendRequest<Bytes>,
    origin: String,
}

impl Connection {
    async fn open(server: &Running, window: u32) -> Self {
        let stream = server.connect().await;
        let mut builder = h2::client::Builder::new();
        let (requests, connection) =
            builder.initial_window_size(window).handshake(stream).await.unwrap();
        tokio::spawn(async move {
            connection.await.ok();
        });
        Self { requests, origin: server.url("") }
    }

    async fn ask(&self, method: Method, path: &str, accept: &str) -> (StatusCode, RecvStream) {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.origin));
        let request = request.header("accept", accept).body(()).unwrap();
        let mut requests = self.requests.clone().ready().await.unwrap();
        let (answer, _no_body) = requests.send_request(request, true).unwrap();
        let answer = answer.await.unwrap();
        (answer.status(), answer.into_body())
    }

    async fn get(&self, path: &str, accept: &str) -> RecvStream {
        let (status, body) = self.ask(Method::GET, path, accept).await;
        assert_eq!(status, 200);
        body
    }

    /// The connection lives and has a place for another stream.
    async fn check(&self) {
        assert_eq!(self.ask(Method::HEAD, "/livez", "*/*").await.0, 200);
    }
}

/// Bytes that come without more window, and why no more come.
async fn untaken(mut body: RecvStream) -> (usize, Reason) {
    let mut length = 0;
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => length += data.len(),
            Err(error) => return (length, error.reason().unwrap()),
        }
    }
    panic!("the answer came to its end after {length} bytes");
}

async fn records(server: &Running, count: usize) {
    server.topic("t", 1).await;
    for _ in 0..count {
        server.say("t", &"x".repeat(RECORD_BYTES)).await;
    }
}

#[tokio::test]
async fn an_http2_stream_of_which_nothing_is_taken_is_reset() {
    let serve =
        ServeOptions { write_timeout: Duration::from_millis(50), ..ServeOptions::default() };
    let server = start_with(Options::default(), serve).await;
    records(&server, 3).await;
    // No window; some of a portion; a whole one, and a little more.
    for window in [0, 1_000, 64 << 10, 70_000] {
        let connection = Connection::open(&server, window).await;
        for accept in [JSON, PROTOBUF, EVENTS] {
            let path = format!("{RECORDS}?offset=start");
            let bodies = (0..20).map(|_| connection.get(&path, accept));
            for body in futures::future::join_all(bodies).await {
                let (length, reason) = untaken(body).await;
                assert_eq!(reason, Reason::CANCEL, "{accept}, {window}");
                assert!(length <= window as usize, "{accept}, {window}: {length}");
            }
        }
        connection.check().await;
    }
    server.end().await;
}

#[tokio::test]
async fn an_http2_stream_that_is_taken_bit_by_bit_comes_whole() {
    let server = start().await;
    records(&server, 3).await;
    let path = format!("{RECORDS}?offset=start");
    for accept in [JSON, PROTOBUF] {
        let wanted = server.get(&path).header("accept", accept).send().await.unwrap();
        let wanted = wanted.bytes().await.unwrap();
        assert!(wanted.len() > 3 * RECORD_BYTES);
        for window in [5_000, 64 << 10, 4 << 20] {
            let connection = Connection::open(&server, window).await;
            let mut body = connection.get(&path, accept).await;
            let mut came = BytesMut::new();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                came.extend_from_slice(&data);
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            assert!(came == wanted, "{accept}, {window}: {} of {}", came.len(), wanted.len());
        }
    }
    server.end().await;
}

#[tokio::test]
async fn an_http2_stream_that_has_nothing_to_say_is_kept() {
    let serve = ServeOptions {
        write_timeout: Duration::from_millis(100),
        event_keep_alive: Duration::from_millis(10),
        ..ServeOptions::default()
    };
    let server = start_with(Options::default(), serve).await;
    server.topic("t", 1).await;
    let connection = Connection::open(&server, 64 << 10).await;
    let mut body = connection.get(RECORDS, EVENTS).await;
    let mut text = String::new();
    // Several times as long as a client may leave a portion.
    while text.matches(": keep-alive").count() < 40 {
        text.push_str(std::str::from_utf8(&body.data().await.unwrap().unwrap()).unwrap());
    }
    server.say("t", "late").await;
    while !text.contains("\"late\"") {
        text.push_str(std::str::from_utf8(&body.data().await.unwrap().unwrap()).unwrap());
    }
    server.end().await;
}

/// A server whose answers may hold two fifths of one record.
async fn start_tight(serve: ServeOptions) -> Running {
    let serve = ServeOptions { answer_bytes_max: RECORD_BYTES as u64 * 2 / 5, ..serve };
    start_with(Options::default(), serve).await
}

/// Bytes of answers that clients have not taken.
async fn held(server: &Running) -> u64 {
    let page = server.get("/metrics").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix("embermq_answer_bytes{} "));
    value.unwrap().parse().unwrap()
}

async fn until_nothing_is_held(server: &Running) {
    while held(server).await > 0 {}
}

#[tokio::test]
async fn while_answers_hold_as_much_as_they_may_further_ones_are_refused() {
    let server = start_tight(ServeOptions::default()).await;
    records(&server, 1).await;
    server.topic("small", 1).await;
    server.say("small", "there").await;
    let page = format!("{RECORDS}?offset=start");
    let connection = Connection::open(&server, 0).await;
    let unread = connection.get(&page, JSON).await;
    assert!(held(&server).await >= RECORD_BYTES as u64);
    for accept in [JSON, "application/x-ndjson"] {
        let answer = server.get(&page).header("accept", accept).send().await.unwrap();
        problem(answer, 429, "overloaded").await;
    }
    let fetch = "/embermq.v1.RecordService/Fetch";
    let fetch = server.post(fetch).header("content-type", JSON).body(r#"{"topic":"t"}"#);
    assert_eq!(fetch.send().await.unwrap().status(), 429);
    problem(server.verb("t", "g:lease", serde_json::json!({})).await, 429, "overloaded").await;
    // What is mapped, what is small, and what takes effect.
    let mapped = server.get(&page).header("accept", PROTOBUF).send().await.unwrap();
    assert!(mapped.bytes().await.unwrap().len() > RECORD_BYTES);
    assert_eq!(server.records("small", 0).await.len(), 1);
    let lines = "{\"value\":1}\n".repeat(1_000);
    let produce =
        server.post("/v1/topics/small/records").header("content-type", "application/x-ndjson");
    let answer = produce.body(lines).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.unwrap().len() > 10_000);
    drop(unread);
    until_nothing_is_held(&server).await;
    assert_eq!(server.records("t", 0).await.len(), 1);
    assert_eq!(server.lease("t", "g", 1).await.len(), 1);
    server.end().await;
}

#[tokio::test]
async fn a_lease_that_finds_no_room_is_given_back() {
    let server = start_tight(ServeOptions::default()).await;
    records(&server, 1).await;
    server.topic("jobs", 1).await;
    let wish = serde_json::json!({ "wait": "30s" });
    let mut waiting = Box::pin(server.verb("jobs", "g:lease", wish));
    // The group is made behind the first look for room.
    let group =
        async || server.get("/v1/topics/jobs/groups/g").send().await.unwrap().status() == 200;
    while futures::poll!(waiting.as_mut()).is_pending() && !group().await {}
    let connection = Connection::open(&server, 0).await;
    let unread = connection.get(&format!("{RECORDS}?offset=start"), JSON).await;
    server.say("jobs", "work").await;
    problem(waiting.await, 429, "overloaded").await;
    assert_eq!(server.group("jobs", "g").await["in_flight"], 0);
    drop(unread);
    until_nothing_is_held(&server).await;
    let leases = server.lease("jobs", "g", 1).await;
    assert_eq!((&leases[0]["value"], &leases[0]["attempt"]), (&"work".into(), &1.into()));
    server.end().await;
}

#[tokio::test]
async fn an_event_stream_waits_for_room() {
    let serve =
        ServeOptions { event_keep_alive: Duration::from_millis(10), ..ServeOptions::default() };
    let server = start_tight(serve).await;
    records(&server, 1).await;
    server.topic("small", 1).await;
    let connection = Connection::open(&server, 1 << 20).await;
    let mut body = connection.get("/v1/topics/small/records", EVENTS).await;
    let unread = Connection::open(&server, 0).await;
    let unread = unread.get(&format!("{RECORDS}?offset=start"), JSON).await;
    // Nor is a new one refused.
    let mut new = connection.get("/v1/topics/small/records", EVENTS).await;
    let mut text = String::new();
    while !text.contains(": keep-alive") {
        text.push_str(std::str::from_utf8(&new.data().await.unwrap().unwrap()).unwrap());
    }
    server.say("small", "late").await;
    let mut text = String::new();
    while text.matches(": keep-alive").count() < 20 {
        text.push_str(std::str::from_utf8(&body.data().await.unwrap().unwrap()).unwrap());
    }
    assert!(!text.contains("late"), "{text}");
    drop(unread);
    while !text.contains("\"late\"") {
        text.push_str(std::str::from_utf8(&body.data().await.unwrap().unwrap()).unwrap());
    }
    server.end().await;
}

#[tokio::test]
async fn what_clients_do_not_take_is_let_go() {
    let serve = ServeOptions { write_timeout: Duration::from_secs(2), ..ServeOptions::default() };
    let server = start_with(Options::default(), serve).await;
    records(&server, 32).await;
    // A stream of HTTP/2, in h2's hands and in hyper's.
    for window in [1_000, 0] {
        let connection = Connection::open(&server, window).await;
        let body = connection.get(&format!("{RECORDS}?offset=start"), JSON).await;
        assert!(held(&server).await > RECORD_BYTES as u64);
        until_nothing_is_held(&server).await;
        drop(body);
    }
    // A connection of HTTP/1, which the buffers of the operating system do not hide.
    let page = format!("{RECORDS}?offset=start&max_bytes=8388608");
    let mut stream = server.connect().await;
    for _ in 0..8 {
        stream
            .write_all(format!("GET {page} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await
            .unwrap();
    }
    while held(&server).await == 0 {}
    until_nothing_is_held(&server).await;
    server.end().await;
}
