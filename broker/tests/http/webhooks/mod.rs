//! `/v1/webhooks`: what a receiver is sent, what becomes of a record that it does not take, and whom no webhook calls.

mod delivery;
mod receiver;
mod refusals;
mod secrets;

use std::sync::Arc;

use embermq::{PrivateNetworks, WebhookOptions, Webhooks};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Running, start_webhooks};

/// A server whose webhooks may call this machine.
async fn started() -> (Running, Arc<Webhooks>) {
    let private_networks = PrivateNetworks::All;
    start_webhooks(WebhookOptions { private_networks, ca_file: None }).await
}

async fn any(answer: reqwest::Response) -> (StatusCode, Value) {
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn put(server: &Running, name: &str, config: &Value) -> (StatusCode, Value) {
    let request = server.put(&format!("/v1/webhooks/{name}")).body(config.to_string());
    any(request.send().await.unwrap()).await
}

async fn get(server: &Running, path: &str) -> (StatusCode, Value) {
    any(server.get(path).send().await.unwrap()).await
}

async fn post(server: &Running, path: &str, body: &str) -> (StatusCode, Value) {
    any(server.post(path).body(body.to_owned()).send().await.unwrap()).await
}

/// The webhook `ship` on `orders`, with quick retries.
async fn ship(server: &Running, url: &str, changes: Value) -> Value {
    let mut config =
        json!({ "topic": "orders", "url": url, "schedule": ["1ms", "1ms"], "jitter": false });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let (status, webhook) = put(server, "ship", &config).await;
    assert!(status.is_success(), "{webhook}");
    webhook
}

/// The webhook `ship`, once something is so.
async fn once(server: &Running, so: impl Fn(&Value) -> bool) -> Value {
    loop {
        let (_, webhook) = get(server, "/v1/webhooks/ship").await;
        if so(&webhook["status"]) {
            return webhook;
        }
        tokio::task::yield_now().await;
    }
}

/// Once every record is settled.
async fn done(server: &Running) -> Value {
    once(server, |status| status["lag"]["records"] == 0).await
}

/// The dead letters of `ship`, once there are so many.
async fn letters(server: &Running, count: usize) -> Vec<Value> {
    once(server, |status| status["dead_letters_open"] == count).await;
    server.records("orders.webhook-ship.dlq", 0).await
}
