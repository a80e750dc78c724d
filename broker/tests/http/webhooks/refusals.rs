//! What no webhook is, and whom none calls.

use embermq::WebhookOptions;
use serde_json::json;

use super::receiver::Receiver;
use super::{get, letters, post, put, ship, started};
use crate::harness::start_webhooks;

#[tokio::test]
async fn a_webhook_to_a_forbidden_address_is_refused() {
    let (server, _) = start_webhooks(WebhookOptions::default()).await;
    server.topic("orders", 1).await;
    let table = [
        ("http://169.254.169.254/latest/meta-data/", 422, "address_forbidden", "link-local"),
        ("http://[::ffff:169.254.169.254]/", 422, "address_forbidden", "link-local"),
        ("http://[fd00:ec2::254]/", 422, "address_forbidden", "credentials"),
        ("http://[fe80::1]/", 422, "address_forbidden", "link-local"),
        ("http://2852039166/", 422, "address_forbidden", "link-local"),
        ("http://0xa9.0xfe.0xa9.0xfe/", 422, "address_forbidden", "link-local"),
        ("http://0.0.0.0/", 422, "address_forbidden", "unspecified"),
        ("http://[::]/", 422, "address_forbidden", "unspecified"),
        ("http://224.0.0.1/", 422, "address_forbidden", "multicast"),
        ("http://127.0.0.1:7400/", 422, "address_forbidden", "webhooks.private_networks"),
        ("http://localhost:7400/", 422, "address_forbidden", "this machine"),
        ("http://2130706433/", 422, "address_forbidden", "this machine"),
        ("http://[::1]/", 422, "address_forbidden", "this machine"),
        ("http://[64:ff9b::7f00:1]/", 422, "address_forbidden", "this machine"),
        ("https://10.0.0.1/", 422, "address_forbidden", "private"),
        ("https://192.168.1.1/", 422, "address_forbidden", "private"),
        ("https://172.16.0.1/", 422, "address_forbidden", "private"),
        ("https://[fd12::1]/", 422, "address_forbidden", "private"),
        ("ftp://example.com/", 400, "invalid_argument", "the scheme is ftp"),
        ("file:///etc/passwd", 400, "invalid_argument", "the scheme is file"),
        ("http://user:hunter2@example.com/", 400, "invalid_argument", "a user or a password"),
        ("hook", 400, "invalid_argument", "write it whole"),
    ];
    for (url, status, code, detail) in table {
        let (found, problem) =
            put(&server, "ship", &json!({ "topic": "orders", "url": url })).await;
        assert_eq!((found.as_u16(), &problem["code"]), (status, &json!(code)), "{url}: {problem}");
        let text = problem["detail"].as_str().unwrap();
        assert!(text.contains(detail) && !text.contains("hunter2"), "{url}: {text}");
    }
    server.end().await;
}

#[tokio::test]
async fn an_address_is_checked_where_it_is_called_not_only_where_it_is_put() {
    let (server, webhooks) = started().await;
    server.topic("orders", 1).await;
    let mut receiver = Receiver::start([]).await;
    ship(&server, &receiver.url(), json!({ "schedule": [], "paused": true })).await;
    webhooks.stop().await;
    // The operator takes back what was allowed.
    let options = WebhookOptions::default();
    let again = embermq::Webhooks::open(&server.broker, &server.data(), &options).await.unwrap();
    again.set_paused(&"ship".parse().unwrap(), false).await.unwrap();
    server.say("orders", "one").await;
    let letters = tokio::select! {
        () = again.tend() => Vec::new(),
        letters = letters(&server, 1) => letters,
    };
    let error = letters[0]["headers"]["x-dead-error"].as_str().unwrap();
    assert!(
        error.starts_with("forbidden_address: the host \"127.0.0.1\" is not called"),
        "{error}"
    );
    let test = again.test(&"ship".parse().unwrap()).await.unwrap();
    assert_eq!(test.outcome.as_str(), "forbidden_address");
    assert!(!receiver.has_more());
    again.stop().await;
    server.end().await;
}

#[tokio::test]
async fn a_webhook_takes_no_group_from_anybody_and_finds_its_own_again() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    server.topic("others", 1).await;
    let mut receiver = Receiver::start([]).await;
    // As a stage of that name would have it.
    let group = server.put("/v1/topics/orders/groups/webhook-ship").body(r#"{"max_attempts":50}"#);
    assert!(group.send().await.unwrap().status().is_success());
    let on = |topic: &str| json!({ "topic": topic, "url": receiver.url(), "start": "latest" });
    let (orders, others) = (on("orders"), on("others"));
    let (found, problem) = put(&server, "ship", &orders).await;
    assert_eq!((found.as_u16(), &problem["code"]), (409, &json!("group_exists")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("DELETE /v1/topics/orders/groups/webhook-ship"), "{detail}");
    assert_eq!(get(&server, "/v1/webhooks/ship").await.0, 404);
    let (_, kept) = get(&server, "/v1/topics/orders/groups/webhook-ship").await;
    assert_eq!(kept["settings"]["max_attempts"], 50);

    assert_eq!(put(&server, "ship", &others).await.0, 201);
    assert_eq!(put(&server, "ship", &orders).await.0, 409);
    let path = server.url("/v1/topics/orders/groups/webhook-ship");
    assert_eq!(server.client.delete(&path).send().await.unwrap().status(), 204);
    assert_eq!(put(&server, "ship", &orders).await.0, 200);
    // It has left its group on the other topic, and then this one.
    let remove = server.client.delete(server.url("/v1/webhooks/ship"));
    assert_eq!(remove.send().await.unwrap().status(), 204);
    server.say("orders", "one").await;
    server.say("others", "two").await;
    let options = WebhookOptions {
        private_networks: embermq::PrivateNetworks::All,
        ..WebhookOptions::default()
    };
    let (server, _webhooks) = server.restarted_webhooks(options).await;
    for (config, status, expected) in [(&others, 201, "two"), (&orders, 200, "one")] {
        let (found, webhook) = put(&server, "ship", config).await;
        assert_eq!(found, status, "{webhook}");
        assert_eq!(receiver.next().await.text(), expected);
    }
    server.end().await;
}

#[tokio::test]
async fn what_is_no_webhook_is_refused_with_the_reason() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let good = json!({ "topic": "orders", "url": "http://127.0.0.1:1/" });
    let table = [
        (json!({ "topic": "nowhere" }), 404, "topic_not_found"),
        (json!({ "topic": "a/b" }), 400, "invalid_argument"),
        (json!({ "topic": "_webhooks" }), 400, "invalid_argument"),
        (json!({ "concurrency": 0 }), 400, "invalid_argument"),
        (json!({ "filter": "has" }), 400, "invalid_argument"),
        (json!({ "dead_letter_topic": "orders" }), 400, "invalid_argument"),
        (json!({ "dead_letter_topic": "_models" }), 400, "invalid_argument"),
        (json!({ "secret": "whsec_short" }), 400, "malformed_body"),
        (json!({ "timeout": "never" }), 400, "malformed_body"),
        (json!({ "urls": [] }), 400, "malformed_body"),
    ];
    for (change, status, code) in table {
        let mut config = good.clone();
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (found, problem) = put(&server, "ship", &config).await;
        assert_eq!(
            (found.as_u16(), &problem["code"]),
            (status, &json!(code)),
            "{change} {problem}"
        );
    }
    let (found, problem) = put(&server, &"n".repeat(121), &good).await;
    assert_eq!((found.as_u16(), &problem["code"]), (400, &json!("invalid_argument")), "{problem}");
    let (found, problem) = put(&server, "a%20b", &good).await;
    assert_eq!(
        (found.as_u16(), &problem["code"]),
        (400, &json!("invalid_group_name")),
        "{problem}"
    );
    for verb in ["pause", "resume", "test", "rotate"] {
        let (found, problem) = post(&server, &format!("/v1/webhooks/ship:{verb}"), "").await;
        assert_eq!(
            (found.as_u16(), &problem["code"]),
            (404, &json!("webhook_not_found")),
            "{verb}"
        );
    }
    let (found, problem) = put(&server, "ship", &good).await;
    assert_eq!(found, 201, "{problem}");
    let (found, problem) = post(&server, "/v1/webhooks/ship:dance", "").await;
    assert_eq!((found.as_u16(), &problem["code"]), (404, &json!("route_not_found")));
    let other = json!({ "topic": "orders", "url": "http://127.0.0.1:1/", "ordering": "key" });
    let (found, problem) = put(&server, "ship", &other).await;
    assert_eq!((found.as_u16(), &problem["code"]), (409, &json!("group_exists")), "{problem}");
    server.end().await;
}
