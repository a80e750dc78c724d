//! What is sent, and what becomes of it.

use embermq::{Batch, Commit, PartitionId, Record, Webhooks};
use serde_json::json;

use super::receiver::{Receiver, Reply, status};
use super::{done, get, letters, once, post, put, ship, started};
use crate::stage_metrics::Page;

#[tokio::test]
async fn a_record_is_posted_as_a_signed_cloud_event() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let mut receiver = Receiver::start([]).await;
    let webhook = ship(&server, &receiver.url(), json!({ "headers": ["x-tenant"] })).await;
    let secret = webhook["secret"].as_str().unwrap();
    assert_eq!(webhook["group"], "webhook-ship");
    let produced = server
        .post("/v1/topics/orders/records")
        .header("key", "17")
        .header("content-type", "application/json")
        .header("x-tenant", "a")
        .header("x-other", "b")
        .body(r#"{"order":17}"#);
    assert!(produced.send().await.unwrap().status().is_success());

    let taken = receiver.next().await;
    assert!(taken.is_signed_with(secret));
    assert_eq!(taken.text(), r#"{"order":17}"#);
    for (name, expected) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "orders/0/0"),
        ("ce-source", "/v1/topics/orders"),
        ("ce-type", "dev.embermq.record.v1"),
        ("ce-subject", "17"),
        ("x-tenant", "a"),
        ("x-other", ""),
    ] {
        assert_eq!(taken.header(name), expected, "{name}");
    }
    assert!(taken.header("ce-time").ends_with('Z'));
    assert!(taken.header("user-agent").starts_with("EmberMQ/"));
    let now = server.broker.now().0 / 1_000_000;
    let timestamp: i64 = taken.header("webhook-timestamp").parse().unwrap();
    assert!((now - 60..=now).contains(&timestamp), "{timestamp} {now}");
    let webhook = done(&server).await;
    assert_eq!(webhook["status"]["delivered"], 1);
    assert_eq!(webhook["status"]["state"], "running");
    server.end().await;
}

#[tokio::test]
async fn a_post_says_how_long_it_is_even_if_it_is_empty() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let mut receiver = Receiver::start([]).await;
    ship(&server, &receiver.url(), json!({ "ordering": "partition" })).await;
    let batch = Batch::of(&[Record::tombstone("17")]);
    let topic = "orders".parse().unwrap();
    server.broker.commit(Commit::of_batch(&topic, PartitionId(0), batch)).await.unwrap();
    server.say("orders", "four").await;
    for expected in ["", "four"] {
        let taken = receiver.next().await;
        assert_eq!(taken.text(), expected);
        assert_eq!(taken.header("content-length"), expected.len().to_string());
        assert_eq!(taken.header("transfer-encoding"), "");
    }
    done(&server).await;
    server.end().await;
}

#[tokio::test]
async fn what_is_not_taken_is_posted_again_with_the_same_id() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let mut receiver = Receiver::start([status(500), status(404)]).await;
    ship(&server, &receiver.url(), json!({})).await;
    server.say("orders", "one").await;
    let ids = [receiver.next().await.id(), receiver.next().await.id(), receiver.next().await.id()];
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    server.say("orders", "two").await;
    assert_ne!(receiver.next().await.id(), ids[0]);
    let webhook = done(&server).await;
    let status = &webhook["status"];
    assert_eq!(
        (&status["delivered"], &status["failed"], &status["dead"]),
        (&json!(2), &json!(2), &json!(0))
    );
    assert_eq!(status["last_failure"]["error"], "status 404");
    assert_eq!(status["last_failure"]["attempt"], 2);
    server.end().await;
}

#[tokio::test]
async fn behind_the_last_attempt_a_record_is_a_dead_letter_with_the_answer_and_its_neighbours_go_on()
 {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let no = Reply::Status(500, &[], "no such order\n");
    let mut receiver = Receiver::start([no.clone(), no.clone(), no]).await;
    ship(&server, &receiver.url(), json!({ "concurrency": 1 })).await;
    server.say("orders", "one").await;
    let letters = letters(&server, 1).await;
    assert_eq!(letters[0]["value"], "one");
    let headers = &letters[0]["headers"];
    assert_eq!(headers["x-dead-reason"], "failed");
    assert_eq!(headers["x-dead-error"], "status 500: no such order");
    assert_eq!(headers["x-dead-attempts"], "3");
    server.say("orders", "two").await;
    for expected in ["one", "one", "one", "two"] {
        assert_eq!(receiver.next().await.text(), expected);
    }
    let webhook = done(&server).await;
    assert_eq!(
        (&webhook["status"]["dead"], &webhook["status"]["delivered"]),
        (&json!(1), &json!(1))
    );
    // Redriven, it is posted once more, as what it was.
    let (answer, redriven) =
        post(&server, "/v1/topics/orders/groups/webhook-ship:redrive", "").await;
    assert!(answer.is_success(), "{redriven}");
    assert_eq!(receiver.next().await.text(), "one");
    server.end().await;
}

#[tokio::test]
async fn who_is_gone_is_posted_nothing_more_and_the_records_stay() {
    let (server, webhooks) = started().await;
    server.topic("orders", 1).await;
    let mut receiver = Receiver::start([Reply::Status(410, &[], "moved away")]).await;
    ship(&server, &receiver.url(), json!({ "concurrency": 1 })).await;
    server.say("orders", "one").await;
    server.say("orders", "two").await;
    let first = receiver.next().await;
    let webhook = once(&server, |status| status["state"] == "disabled").await;
    assert_eq!(webhook["status"]["reason"], "status 410: moved away");
    assert_eq!(webhook["status"]["lag"]["records"], 2);
    assert_eq!(webhook["status"]["dead"], 0);

    // It stays so when the broker is opened again.
    webhooks.stop().await;
    let options = embermq::WebhookOptions::default();
    let again = Webhooks::open(&server.broker, &server.data(), &options).await.unwrap();
    let name = "ship".parse().unwrap();
    let tended = async {
        while again.get(&name).unwrap().status.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = again.tend() => {}
        () = tended => {}
    }
    let state = again.get(&name).unwrap().status.unwrap().state;
    let reason = "status 410: moved away".to_owned();
    assert_eq!(state, embermq::WebhookState::Disabled { reason });
    again.stop().await;
    assert!(!receiver.has_more());

    // What has stopped starts no more; the server after it does.
    let config = json!({ "topic": "orders", "url": receiver.url() });
    let (late, problem) = put(&server, "ship", &config).await;
    assert_eq!((late.as_u16(), &problem["code"]), (503, &json!("shutting_down")));
    let private_networks = embermq::PrivateNetworks::All;
    let options = embermq::WebhookOptions { private_networks, ca_file: None };
    let (server, _webhooks) = server.restarted_webhooks(options).await;
    once(&server, |status| status["state"] == "disabled").await;
    assert!(!receiver.has_more());
    let (answer, webhook) = post(&server, "/v1/webhooks/ship:resume", "").await;
    assert_eq!((answer.as_u16(), &webhook["status"]["state"]), (200, &json!("running")));
    ship(&server, &receiver.url(), json!({ "concurrency": 1 })).await;
    let second = receiver.next().await;
    assert_eq!((second.id(), second.text()), (first.id(), "one".to_owned()));
    assert_eq!(receiver.next().await.text(), "two");
    done(&server).await;
    server.end().await;
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let busy = Reply::Status(429, &[("retry-after", "3600")], "");
    let mut receiver = Receiver::start([busy]).await;
    ship(&server, &receiver.url(), json!({ "concurrency": 1 })).await;
    server.say("orders", "one").await;
    receiver.next().await;
    let webhook = once(&server, |status| status["state"] == "waiting").await;
    let reason = webhook["status"]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the receiver asked to be left alone; the next attempt is in 3"),
        "{reason}"
    );
    let webhook = once(&server, |status| status["waiting_for_retry"] == 1).await;
    assert_eq!(webhook["status"]["failed"], 1);
    server.end().await;
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_followed_nowhere() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let mut elsewhere = Receiver::start([]).await;
    let location: &'static str = Box::leak(elsewhere.url().into_boxed_str());
    let headers: &'static [(&str, &str)] = Box::leak(Box::new([("location", location)]));
    let receiver = Receiver::start([Reply::Status(307, headers, "")]).await;
    ship(&server, &receiver.url(), json!({ "schedule": [] })).await;
    server.say("orders", "one").await;
    let letters = letters(&server, 1).await;
    let error = letters[0]["headers"]["x-dead-error"].as_str().unwrap();
    let expected = format!("status 307: it points to {location}, and webhooks follow nowhere");
    assert!(error.starts_with(&expected), "{error}");
    assert!(!elsewhere.has_more());
    server.end().await;
}

#[tokio::test]
async fn who_does_not_answer_in_time_or_is_not_there_has_failed() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let mut receiver = Receiver::start([Reply::Silence]).await;
    let config = json!({ "schedule": [], "timeout": "50ms" });
    ship(&server, &receiver.url(), config.clone()).await;
    server.say("orders", "one").await;
    receiver.next().await;
    let first = letters(&server, 1).await;
    assert_eq!(first[0]["headers"]["x-dead-error"], "timeout: no answer within 50ms");

    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    ship(&server, &format!("http://{address}/"), config).await;
    server.say("orders", "two").await;
    let all = letters(&server, 2).await;
    let error = all[1]["headers"]["x-dead-error"].as_str().unwrap();
    assert!(error.starts_with(&format!("no_connection: no connection to {address}")), "{error}");
    server.end().await;
}

#[tokio::test]
async fn the_status_counts_however_long_the_body_takes() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let receiver = Receiver::start([Reply::Stall(200), Reply::Stall(500)]).await;
    let config = json!({ "schedule": [], "timeout": "300ms", "concurrency": 1 });
    ship(&server, &receiver.url(), config).await;
    server.say("orders", "one").await;
    once(&server, |status| status["delivered"] == 1).await;
    server.say("orders", "two").await;
    let letters = letters(&server, 1).await;
    assert_eq!(letters[0]["value"], "two");
    assert_eq!(letters[0]["headers"]["x-dead-error"], "status 500: it begins");
    server.end().await;
}

#[tokio::test]
async fn what_is_too_large_or_does_not_pass_the_filter_is_not_posted() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let mut receiver = Receiver::start([]).await;
    let config = json!({ "max_body_bytes": 3, "filter": "not has x-secret" });
    ship(&server, &receiver.url(), config).await;
    server.say("orders", "long").await;
    let hidden = server.post("/v1/topics/orders/records").header("x-secret", "1").body("two");
    hidden.send().await.unwrap();
    server.say("orders", "fit").await;
    let letters = letters(&server, 1).await;
    let headers = &letters[0]["headers"];
    let error = "too_large: the value has 4 bytes, the webhook's limit is 3 (max_body_bytes)";
    assert_eq!(
        (&headers["x-dead-reason"], &headers["x-dead-error"]),
        (&json!("rejected"), &json!(error))
    );
    assert_eq!(receiver.next().await.text(), "fit");
    done(&server).await;
    assert!(!receiver.has_more());
    server.end().await;
}

#[tokio::test]
async fn with_order_by_key_a_record_waits_for_those_of_its_key() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let mut receiver = Receiver::start([status(500), status(500)]).await;
    for (key, value) in [("a", "a1"), ("a", "a2"), ("a", "a3")] {
        let record = server.post("/v1/topics/orders/records").header("key", key).body(value);
        record.send().await.unwrap();
    }
    ship(&server, &receiver.url(), json!({ "ordering": "key" })).await;
    for expected in ["a1", "a1", "a1", "a2", "a3"] {
        assert_eq!(receiver.next().await.text(), expected);
    }
    done(&server).await;
    server.end().await;
}

#[tokio::test]
async fn a_webhook_can_be_paused_tested_listed_and_removed() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    server.say("orders", "old").await;
    let mut receiver = Receiver::start([]).await;
    let config = json!({ "paused": true, "start": "latest" });
    let webhook = ship(&server, &receiver.url(), config).await;
    let secret = webhook["secret"].as_str().unwrap().to_owned();
    assert_eq!(webhook["status"]["state"], "paused");
    server.say("orders", "new").await;

    let (_, test) = post(&server, "/v1/webhooks/ship:test", "").await;
    assert_eq!(
        (&test["delivered"], &test["outcome"], &test["status"]),
        (&json!(true), &json!("delivered"), &json!(200))
    );
    let taken = receiver.next().await;
    assert!(taken.is_signed_with(&secret));
    assert_eq!(taken.id(), test["webhook_id"]);
    assert_eq!(taken.header("ce-type"), "dev.embermq.webhook.test.v1");
    receiver.will([Reply::Status(401, &[], "who are you?")]);
    let (_, test) = post(&server, "/v1/webhooks/ship:test", "").await;
    assert_eq!(test["error"], "status 401: who are you?");
    assert_eq!((&test["delivered"], &test["body"]), (&json!(false), &json!("who are you?")));
    receiver.next().await;

    let (_, resumed) = post(&server, "/v1/webhooks/ship:resume", "").await;
    assert_eq!(resumed["status"]["state"], "running");
    assert_eq!(receiver.next().await.text(), "new");
    let (_, all) = get(&server, "/v1/webhooks").await;
    assert_eq!(all["webhooks"][0]["webhook"], "ship");
    done(&server).await;
    let removed = server.client.delete(server.url("/v1/webhooks/ship")).send().await.unwrap();
    assert_eq!(removed.status(), 204);
    let (answer, problem) = get(&server, "/v1/webhooks/ship").await;
    assert_eq!((answer.as_u16(), &problem["code"]), (404, &json!("webhook_not_found")));
    // Its group stays, so another one of its name goes on there.
    server.say("orders", "later").await;
    ship(&server, &receiver.url(), json!({})).await;
    assert_eq!(receiver.next().await.text(), "later");
    server.end().await;
}

#[tokio::test]
async fn what_the_metrics_say_is_what_happened() {
    let (server, _) = started().await;
    server.topic("orders", 1).await;
    let receiver = Receiver::start([status(500), status(404), status(429)]).await;
    ship(&server, &receiver.url(), json!({ "concurrency": 1 })).await;
    server.say("orders", "one").await;
    letters(&server, 1).await;
    server.say("orders", "two").await;
    done(&server).await;
    let page = Page::of(&server).await;
    for (outcome, expected) in [
        ("delivered", 1.0),
        ("server_failed", 1.0),
        ("refused", 1.0),
        ("throttled", 1.0),
        ("timeout", 0.0),
        ("gone", 0.0),
    ] {
        let name = format!(r#"webhook_attempts_total{{webhook="ship",outcome="{outcome}"}}"#);
        assert!((page.value(&name) - expected).abs() < 1e-9, "{name}: {}", page.value(&name));
    }
    for (name, expected) in [
        ("webhook_attempt_duration_seconds_count", 4.0),
        ("webhook_dead_letters_total", 1.0),
        ("webhook_disabled", 0.0),
        ("webhook_lag_records", 0.0),
    ] {
        let name = format!(r#"{name}{{webhook="ship"}}"#);
        assert!((page.value(&name) - expected).abs() < 1e-9, "{name}: {}", page.value(&name));
    }
    let removed = server.client.delete(server.url("/v1/webhooks/ship")).send().await.unwrap();
    assert_eq!(removed.status(), 204);
    let page = Page::of(&server).await;
    assert!(page.having("webhook=\"ship\"").is_empty());
    server.end().await;
}
