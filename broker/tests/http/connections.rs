//! What connections may do: slow, silent, cut, oversized, many requests at once, both versions of HTTP.

use std::time::Duration;

use embermq::Options;
use embermq::http::ServeOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{impatient, json, read_to_end, start, start_with};

const RECORDS: &str = "/v1/topics/t/records";

#[tokio::test]
async fn silent_and_half_sent_heads_are_closed() {
    let server = start_with(Options::default(), impatient()).await;
    for sent in ["", "P", "PRI * HTTP/2.0\r\n", "GET /livez HTTP/1.1\r\nhost: x\r\n", "\0\0\0"] {
        let mut stream = server.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{sent:?}: {answer}");
    }
    // The second request of a connection has no more time than the first.
    let mut stream = server.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /li").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    server.end().await;
}

#[tokio::test]
async fn between_requests_a_connection_has_a_time_of_its_own() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let ask = b"HEAD /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    // Idle for as long as it likes, but a head that has begun must go on.
    let serve = ServeOptions { idle_timeout: HOUR, ..impatient() };
    let server = start_with(Options::default(), serve).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(ask).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    stream.write_all(b"GET /li").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    server.end().await;
    // And the other way round.
    let serve = ServeOptions { header_timeout: HOUR, ..impatient() };
    let server = start_with(Options::default(), serve).await;
    let mut stream = server.connect().await;
    stream.write_all(ask).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.end().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let server = start_with(Options::default(), impatient()).await;
    server.topic("t", 1).await;
    for body in
        ["content-length: 100\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
    {
        let answer =
            server.raw(format!("POST {RECORDS} HTTP/1.1\r\nhost: x\r\n{body}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("request_timeout"), "{answer}");
    }
    assert_eq!(server.records("t", 0).await.len(), 0);
    server.end().await;
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let server = start_with(Options::default(), impatient()).await;
    server.topic("t", 1).await;
    let mut stream = server.connect().await;
    let head = format!(
        "POST {RECORDS} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\ncontent-type: application/x-ndjson\r\n\r\n"
    );
    let head = head.replace("100000000", "60000000");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    // Never silent for long, and never fast enough.
    let drip = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        loop {
            pace.tick().await;
            if writing.write_all(b"\n").await.is_err() {
                return;
            }
        }
    });
    let mut answer = vec![0; 12];
    reading.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    drip.abort();
    server.end().await;
}

#[tokio::test]
async fn a_half_closed_connection_gets_its_answer() {
    let server = start().await;
    server.topic("t", 1).await;
    let send = async |request: String| {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        read_to_end(&mut stream).await
    };
    let whole =
        send(format!("POST {RECORDS} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nwhole")).await;
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
    let cut =
        send(format!("POST {RECORDS} HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\ncut")).await;
    assert!(cut.is_empty() || cut.starts_with("HTTP/1.1 400"), "{cut}");
    let records = server.records("t", 0).await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["value"], "whole");
    server.end().await;
}

#[tokio::test]
async fn a_half_closed_connection_is_not_waited_for_but_gets_what_there_is() {
    let server = start().await;
    server.topic("t", 1).await;
    server.topic("empty", 1).await;
    server.say("t", "there").await;
    let body = r#"{"wait":"30s"}"#;
    let lease = format!(
        "POST /v1/topics/empty/groups/g:lease HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let fetch = |offset: &str| {
        format!("GET {RECORDS}?offset={offset}&wait=30s HTTP/1.1\r\nhost: x\r\n\r\n")
    };
    let cases = [
        (lease, r#"{"leases":[]}"#),
        (fetch("0"), r#""value":"there""#),
        (fetch("1"), r#""records":[]"#),
    ];
    for (request, expected) in cases {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        // Much sooner than the wait ends by itself.
        let answer = tokio::time::timeout(Duration::from_secs(15), read_to_end(&mut stream)).await;
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(expected), "{answer}");
    }
    server.end().await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let server = start().await;
    let bomb = |headers: String| {
        format!("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
    };
    let one = server.raw(bomb(format!("a: {}\r\n", "x".repeat(20_000))).as_bytes()).await;
    assert!(one.starts_with("HTTP/1.1 431"), "{one}");
    assert!(one.contains("headers_too_large"), "{one}");
    let many = server.raw(bomb("a: b\r\n".repeat(10_000)).as_bytes()).await;
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");
    let endless = server.raw(bomb(format!("a: {}\r\n", "x".repeat(4 << 20))).as_bytes()).await;
    assert!(endless.is_empty() || endless.starts_with("HTTP/1.1 431"), "{endless}");
    let path =
        format!("GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "x".repeat(20_000));
    let path = server.raw(path.as_bytes()).await;
    assert!(path.starts_with("HTTP/1.1 431"), "{path}");
    assert_eq!(server.get("/livez").send().await.unwrap().status(), 200);
    server.end().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start().await;
    server.topic("t", 1).await;
    let one =
        |n: u32| format!("POST {RECORDS} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n{n}");
    let mut requests: String = (0..5).map(one).collect();
    requests.push_str("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answers = server.raw(requests.as_bytes()).await;
    let mut place = 0;
    for offset in 0..5 {
        let wanted = format!("\"offset\":{offset}}}");
        place += answers[place..].find(&wanted).unwrap_or_else(|| panic!("{offset}: {answers}"));
    }
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 6);
    server.end().await;
}

#[tokio::test]
async fn garbage_is_refused_and_the_server_lives() {
    let server = start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut stream = server.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        read_to_end(&mut stream).await;
    }
    assert_eq!(server.get("/livez").send().await.unwrap().status(), 200);
    server.end().await;
}

#[tokio::test]
async fn http2_works_without_tls_on_the_same_port() {
    let server = start().await;
    server.topic("t", 1).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let requests = (0..50).map(|_| client.post(server.url(RECORDS)).body("x").send());
    for answer in futures::future::join_all(requests).await {
        let answer = answer.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        json(answer).await;
    }
    assert_eq!(server.records("t", 0).await.len(), 50);
    server.end().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let serve = ServeOptions { connections_max: 1, ..ServeOptions::default() };
    let server = start_with(Options::default(), serve).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = server.connect().await;
    second.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    drop(first);
    let answer = read_to_end(&mut second).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.end().await;
}

#[tokio::test]
async fn a_request_in_flight_finishes_when_the_server_stops() {
    let mut server = start().await;
    server.topic("t", 1).await;
    let mut stream = server.connect().await;
    let head = format!(
        "POST {RECORDS} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body, so the request is in flight.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    server.stop();
    stream.write_all(b"last").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.contains("\"offset\":0"), "{answer}");
    server.end().await;
}
