//! A server over a fresh data folder, and two ways to talk to it: a client, and bytes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use embermq::http::{ServeOptions, Server, Serving};
use embermq::{Broker, Options, WebhookOptions, Webhooks};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that runs until it is stopped or dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) broker: Broker,
    webhooks: Option<Arc<Webhooks>>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
    dir: TempDir,
}

/// A server with its defaults.
pub(crate) async fn start() -> Running {
    start_with(Options::default(), ServeOptions::default()).await
}

/// A server with other limits.
pub(crate) async fn start_with(options: Options, serve: ServeOptions) -> Running {
    start_any(options, serve, async |_, _| None, None).await
}

/// A server with models and stages.
pub(crate) async fn start_serving(serving: impl AsyncFn(Broker, PathBuf) -> Serving) -> Running {
    start_serving_with(ServeOptions::default(), serving).await
}

/// A server with models and stages, and other limits.
pub(crate) async fn start_serving_with(
    serve: ServeOptions,
    serving: impl AsyncFn(Broker, PathBuf) -> Serving,
) -> Running {
    let serving = async |broker, data| Some(serving(broker, data).await);
    start_any(Options::default(), serve, serving, None).await
}

/// A server with webhooks, and a folder of its own for what they need.
pub(crate) async fn start_webhooks(options: WebhookOptions) -> (Running, Arc<Webhooks>) {
    start_webhooks_in(tempfile::tempdir().unwrap(), options).await
}

async fn start_webhooks_in(dir: TempDir, webhooks: WebhookOptions) -> (Running, Arc<Webhooks>) {
    let (options, serve) = (Options::default(), ServeOptions::default());
    let mut server = start_in(dir, options, serve, async |_, _| None, Some(webhooks)).await;
    let webhooks = server.webhooks.take().unwrap();
    (server, webhooks)
}

async fn start_any(
    options: Options,
    serve: ServeOptions,
    serving: impl AsyncFn(Broker, PathBuf) -> Option<Serving>,
    webhooks: Option<WebhookOptions>,
) -> Running {
    start_in(tempfile::tempdir().unwrap(), options, serve, serving, webhooks).await
}

async fn start_in(
    dir: TempDir,
    options: Options,
    serve: ServeOptions,
    serving: impl AsyncFn(Broker, PathBuf) -> Option<Serving>,
    webhooks: Option<WebhookOptions>,
) -> Running {
    let path = dir.path().join("data");
    let data = path.clone();
    let broker =
        tokio::task::spawn_blocking(move || Broker::open(path, options)).await.unwrap().unwrap();
    let serve = ServeOptions { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..serve };
    let mut server = Server::bind(broker.clone(), serve).await.unwrap();
    if let Some(serving) = serving(broker.clone(), data.clone()).await {
        server = server.with_stages(serving);
    }
    let mut attached = None;
    if let Some(options) = webhooks {
        let webhooks = Arc::new(Webhooks::open(&broker, &data, &options).await.unwrap());
        server = server.with_webhooks(Arc::clone(&webhooks));
        let tended = Arc::clone(&webhooks);
        tokio::spawn(async move { tended.tend().await });
        attached = Some(webhooks);
    }
    let address = server.address();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(server.run(async move {
        stopped.await.ok();
    }));
    Running {
        address,
        client: Client::new(),
        broker,
        webhooks: attached,
        stop: Some(stop),
        ended,
        dir,
    }
}

impl Running {
    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.client.put(self.url(path))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Creates a topic with that many partitions.
    pub(crate) async fn topic(&self, name: &str, partitions: u32) {
        let settings = format!(r#"{{"partitions":{partitions}}}"#);
        let answer = self.put(&format!("/v1/topics/{name}")).body(settings).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
    }

    /// Produces one text record and gives the answer.
    pub(crate) async fn say(&self, topic: &str, text: &str) -> Value {
        let request = self.post(&format!("/v1/topics/{topic}/records")).body(text.to_owned());
        json(request.send().await.unwrap()).await
    }

    /// All records of a partition as JSON.
    pub(crate) async fn records(&self, topic: &str, partition: u32) -> Vec<Value> {
        let path = format!(
            "/v1/topics/{topic}/records?partition={partition}&from=start&max_bytes=8388608"
        );
        let page = json(self.get(&path).send().await.unwrap()).await;
        page["records"].as_array().unwrap().clone()
    }

    /// Does something to a group: `verb("jobs", "workers:lease", ..)`.
    pub(crate) async fn verb(&self, topic: &str, group_verb: &str, body: Value) -> Response {
        let path = format!("/v1/topics/{topic}/groups/{group_verb}");
        self.post(&path).json(&body).send().await.unwrap()
    }

    /// Leases that many records at most, without waiting.
    pub(crate) async fn lease(&self, topic: &str, group: &str, max: u32) -> Vec<Value> {
        let body = serde_json::json!({ "max_records": max });
        let page = json(self.verb(topic, &format!("{group}:lease"), body).await).await;
        page["leases"].as_array().unwrap().clone()
    }

    /// Settles leases in one way and gives the results.
    pub(crate) async fn settle(&self, topic: &str, group_verb: &str, body: Value) -> Vec<Value> {
        let page = json(self.verb(topic, group_verb, body).await).await;
        page["results"].as_array().unwrap().clone()
    }

    /// A group as JSON.
    pub(crate) async fn group(&self, topic: &str, group: &str) -> Value {
        let path = format!("/v1/topics/{topic}/groups/{group}");
        json(self.get(&path).send().await.unwrap()).await
    }

    /// Begins the shutdown.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Shuts down and waits for the end.
    pub(crate) async fn end(mut self) {
        if self.stop.is_some() {
            self.stop();
        }
        (&mut self.ended).await.unwrap();
        self.broker.shutdown().await;
    }

    /// Shuts down, and starts anew over the same data folder.
    pub(crate) async fn restarted(self, serving: impl AsyncFn(Broker, PathBuf) -> Serving) -> Self {
        let dir = self.left().await;
        let serving = async |broker, data| Some(serving(broker, data).await);
        start_in(dir, Options::default(), ServeOptions::default(), serving, None).await
    }

    /// The same with webhooks.
    pub(crate) async fn restarted_webhooks(self, options: WebhookOptions) -> (Self, Arc<Webhooks>) {
        start_webhooks_in(self.left().await, options).await
    }

    /// Shuts down and leaves the folder.
    async fn left(mut self) -> TempDir {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        self.end().await;
        dir
    }

    /// A bare connection.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of their own and gives everything that comes back until the server closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that has seen enough may close before everything is written.
        stream.write_all(bytes).await.ok();
        read_to_end(&mut stream).await
    }
}

/// Everything until the server closes; a reset counts as a close.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        answer.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The body as JSON; the request must have succeeded.
pub(crate) async fn json(response: Response) -> Value {
    let status = response.status();
    let text = response.text().await.unwrap();
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The body as a problem; everything that a problem promises is checked.
pub(crate) async fn problem(response: Response, status: u16, code: &str) -> Value {
    let found = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let retry_after = response.headers().get("retry-after").is_some();
    let text = response.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    assert_eq!(kind.unwrap(), "application/problem+json", "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["code"], code, "{text}");
    assert_eq!(problem["type"], format!("/errors/{code}"));
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], id);
    assert!(problem["detail"].as_str().unwrap().len() > 10, "{text}");
    assert_eq!(problem["retryable"].as_bool().unwrap(), retry_after, "{text}");
    problem
}

/// Limits so small that a test of them does not wait.
pub(crate) fn impatient() -> ServeOptions {
    ServeOptions {
        header_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(100),
        body_idle_timeout: Duration::from_millis(100),
        ..ServeOptions::default()
    }
}
