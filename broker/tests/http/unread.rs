//! Clients that ask and do not read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use embermq::Options;
use embermq::http::ServeOptions;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use hyper::{Method, Request, StatusCode};

use crate::harness::{Running, start, start_with};

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
