//! `kill -9` of the broker while posts are under way: each record is posted, and one that is posted again has the same id.
//!
//! In each cycle records are produced, and the receiver takes some and then falls silent. While it holds posts unanswered, the server is
//! killed and started again. What was held has to come once more, with its id; at the end every record has come, each with one id of its own.
//!
//! `EMBERMQ_CYCLES` says how many cycles (default 2), `EMBERMQ_SEED` repeats the choices of one run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::json;
use server::{Server, splitmix};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

const RECORDS: u64 = 40;
/// Taken before the receiver falls silent, at most.
const TAKEN_MAX: u64 = 30;

#[derive(Debug)]
struct Shared {
    silent: AtomicBool,
    speaks: Notify,
    tell: mpsc::UnboundedSender<(String, String)>,
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> StatusCode {
    let id = request.headers()["webhook-id"].to_str().unwrap().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1_000).await.unwrap();
    let silent = shared.silent.load(Ordering::SeqCst);
    shared.tell.send((String::from_utf8(body.to_vec()).unwrap(), id)).unwrap();
    if silent {
        shared.speaks.notified().await;
    }
    StatusCode::NO_CONTENT
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_posted_and_always_with_the_same_id() {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let cycles = setting("EMBERMQ_CYCLES").unwrap_or(2);
    let seed = setting("EMBERMQ_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{cycles} cycles, EMBERMQ_SEED={seed}");
    let (tell, mut told) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared { silent: AtomicBool::new(false), speaks: Notify::new(), tell });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
    tokio::spawn(serve(listener, router));

    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("embermq.toml");
    std::fs::write(&config, "[webhooks]\nprivate_networks = \"127.0.0.1\"\n").unwrap();
    let start =
        || Server::start(&data.path().join("data"), &["--config", config.to_str().unwrap()]);
    let client = reqwest::Client::new();
    let mut server = start();
    let put = async |path: &str, body: serde_json::Value, url: &str| {
        let answer = client.put(format!("{url}/v1/{path}")).body(body.to_string());
        let answer = answer.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    put("topics/orders", json!({ "partitions": 2 }), &server.url).await;
    // A lease lasts as long as the timeout and ten seconds: what was held comes again behind that.
    let webhook = json!({ "topic": "orders", "url": url, "timeout": "1s", "schedule": ["1ms", "1ms", "1ms", "1ms", "1ms"] });
    put("webhooks/ship", webhook, &server.url).await;

    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for cycle in 0..cycles {
        for number in cycle * RECORDS..(cycle + 1) * RECORDS {
            let request = client.post(format!("{}/v1/topics/orders/records", server.url));
            let answer = request.body(number.to_string()).send().await.unwrap();
            assert!(answer.status().is_success());
        }
        for _ in 0..1 + splitmix(seed ^ cycle) % TAKEN_MAX {
            let (body, id) = told.recv().await.unwrap();
            ids.entry(body).or_default().insert(id);
        }
        shared.silent.store(true, Ordering::SeqCst);
        // What comes from now on is held, but for what was on its way.
        let mut held = BTreeSet::new();
        while let Ok((body, id)) = told.try_recv() {
            ids.entry(body).or_default().insert(id);
        }
        while held.is_empty() {
            let (body, id) = told.recv().await.unwrap();
            held.insert((body.clone(), id.clone()));
            ids.entry(body).or_default().insert(id);
        }
        server.kill();
        shared.silent.store(false, Ordering::SeqCst);
        shared.speaks.notify_waiters();
        server = start();
        let all = (cycle + 1) * RECORDS;
        while !held.is_empty() || (ids.len() as u64) < all {
            let (body, id) = told.recv().await.unwrap();
            held.remove(&(body.clone(), id.clone()));
            ids.entry(body).or_default().insert(id);
        }
    }
    let each_has_one = ids.values().all(|ids| ids.len() == 1);
    assert!(each_has_one, "{ids:?}");
    let distinct: BTreeSet<&String> = ids.values().flatten().collect();
    assert_eq!(distinct.len() as u64, cycles * RECORDS);
}

async fn serve(listener: TcpListener, router: Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let stream = hyper_util::rt::TokioIo::new(stream);
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(stream, service);
        tokio::spawn(connection);
    }
}
