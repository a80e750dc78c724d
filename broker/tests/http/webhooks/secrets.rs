//! Secrets: told once, kept sealed, changed without a gap. And TLS.

use std::path::Path;

use embermq::{CommitError, PrivateNetworks, WebhookError, WebhookOptions, Webhooks};
use serde_json::json;

use super::receiver::{Receiver, start_tls};
use super::{done, get, letters, post, ship, started};
use crate::harness::start_webhooks;

const CHAIN: &str = include_str!("tls/chain.pem");
const KEY: &str = include_str!("tls/key.pem");

/// Whether any file below a folder has a text in it.
fn any_file_has(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return any_file_has(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test]
async fn a_secret_is_told_once_and_written_nowhere() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let receiver = Receiver::start([]).await;
    let webhook = ship(&server, &receiver.url(), json!({})).await;
    let secret = webhook["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    let again = ship(&server, &receiver.url(), json!({})).await;
    assert_eq!(again["secret"], json!(null));
    let changed = ship(&server, &receiver.url(), json!({ "concurrency": 3 })).await;
    assert_eq!(changed["secret"], json!(null));
    let (_, shown) = get(&server, "/v1/webhooks/ship").await;
    assert!(!shown.to_string().contains("whsec_"), "{shown}");
    let kept = server.records("_webhooks", 0).await;
    assert_eq!(kept.len(), 2, "what changed nothing was kept: {kept:?}");
    let bare = secret.strip_prefix("whsec_").unwrap();
    assert!(!json!(kept).to_string().contains(bare));
    server.broker.shutdown().await;
    let data = server.data();
    assert!(any_file_has(&data, &receiver.url()), "the search finds nothing at all");
    assert!(!any_file_has(&data, bare));
}

#[tokio::test]
async fn a_secret_can_be_changed_without_a_gap() {
    let (server, webhooks) = started().await;
    server.topic("orders", 1).await;
    let mut receiver = Receiver::start([]).await;
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let webhook = ship(&server, &receiver.url(), json!({ "secret": given })).await;
    assert_eq!(webhook["secret"], json!(null), "who gave it knows it");
    server.say("orders", "one").await;
    let taken = receiver.next().await;
    assert!(taken.is_signed_with(given));
    assert_eq!(taken.header("webhook-signature").split(' ').count(), 1);

    let (_, rotated) = post(&server, "/v1/webhooks/ship:rotate", "").await;
    let new = rotated["secret"].as_str().unwrap();
    assert!(rotated["previous_secret_until"].as_str().unwrap().ends_with('Z'));
    server.say("orders", "two").await;
    let taken = receiver.next().await;
    assert!(taken.is_signed_with(given) && taken.is_signed_with(new));

    // Whoever lost the answer changes it once more: what receivers have is valid until it was said to be.
    let (_, rotated) = post(&server, "/v1/webhooks/ship:rotate", "").await;
    let newest = rotated["secret"].as_str().unwrap();
    server.say("orders", "three").await;
    let taken = receiver.next().await;
    for secret in [given, new, newest] {
        assert!(taken.is_signed_with(secret));
    }

    // It is so after a restart too.
    done(&server).await;
    webhooks.stop().await;
    let late = webhooks.rotate(&"ship".parse().unwrap(), None).await;
    assert!(matches!(late, Err(WebhookError::Commit(CommitError::ShuttingDown))), "{late:?}");
    let options = WebhookOptions { private_networks: PrivateNetworks::All, ca_file: None };
    let again = Webhooks::open(&server.broker, &server.data(), &options).await.unwrap();
    again.test(&"ship".parse().unwrap()).await.unwrap();
    let taken = receiver.next().await;
    assert!(taken.is_signed_with(given) && taken.is_signed_with(newest));

    // Without the key of the data folder no secret is read, and another one can be given.
    std::fs::remove_file(server.data().join("webhooks.key")).unwrap();
    let again = Webhooks::open(&server.broker, &server.data(), &options).await.unwrap();
    let error = again.test(&"ship".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, WebhookError::Locked { .. }), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("webhooks.key is missing or is another one"), "{error}");
    again.rotate(&"ship".parse().unwrap(), Some(new.parse().unwrap())).await.unwrap();
    again.test(&"ship".parse().unwrap()).await.unwrap();
    assert!(receiver.next().await.is_signed_with(new));
    again.stop().await;
    server.end().await;
}

#[tokio::test]
async fn certificates_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, include_str!("tls/ca.pem")).unwrap();
    let private_networks = PrivateNetworks::All;
    let options = WebhookOptions { private_networks, ca_file: Some(path) };
    let (server, _) = start_webhooks(options).await;
    server.topic("orders", 1).await;
    let mut receiver = start_tls(CHAIN, KEY).await;
    let port = receiver.address.port();
    let webhook = ship(&server, &format!("https://localhost:{port}/hook"), json!({})).await;
    server.say("orders", "one").await;
    let taken = receiver.next().await;
    assert!(taken.is_signed_with(webhook["secret"].as_str().unwrap()));
    done(&server).await;
    // It is no certificate for this name.
    ship(&server, &format!("https://127.0.0.1:{port}/hook"), json!({ "schedule": [] })).await;
    server.say("orders", "two").await;
    let all = letters(&server, 1).await;
    let error = all[0]["headers"]["x-dead-error"].as_str().unwrap();
    assert!(error.contains("no_connection: ") && error.contains("certificate"), "{error}");
    server.end().await;

    // Nor is an authority believed that nobody has named.
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let url = format!("https://localhost:{port}/hook");
    ship(&server, &url, json!({ "schedule": [] })).await;
    server.say("orders", "three").await;
    let all = letters(&server, 1).await;
    let error = all[0]["headers"]["x-dead-error"].as_str().unwrap();
    assert!(error.contains("UnknownIssuer"), "{error}");
    assert!(!receiver.has_more());
    server.end().await;
}
