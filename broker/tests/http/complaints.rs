//! What users of other brokers complain about most, one test for each, named after what it protects.
//!
//! The finer cases of each stand beside the code that decides them (`broker/src/group/tests.rs`); here is the promise as
//! somebody with curl sees it.

use serde_json::{Value, json};

use crate::harness::{Running, json, problem, start};

/// A server with a topic `t` that holds these records, and a group `g` with these settings.
async fn with_group(settings: Value, records: Value) -> Running {
    let server = start().await;
    server.topic("t", 1).await;
    put_records(&server, records).await;
    let group = server.put("/v1/topics/t/groups/g").json(&settings).send().await.unwrap();
    assert_eq!(group.status(), 201);
    server
}

async fn put_records(server: &Running, records: Value) -> Value {
    let body = json!({ "records": records });
    json(server.post("/v1/topics/t/records").json(&body).send().await.unwrap()).await
}

async fn nack_now(server: &Running, lease: &Value) -> Value {
    let body = json!({"token": lease["token"], "delay": "0s", "error": "boom"});
    server.settle("t", "g:nack", body).await.remove(0)
}

async fn ack(server: &Running, lease: &Value) -> Value {
    server.settle("t", "g:ack", json!({"token": lease["token"]})).await.remove(0)
}

/// "There is no dead-letter queue, only an advisory without the record": it is there without being asked for, and holds the
/// whole record.
#[tokio::test]
async fn a_dead_letter_queue_is_there_by_default_and_holds_the_whole_record() {
    let poison = json!([{"key": "k", "value": "poison", "headers": {"trace": "7"}}]);
    let server = with_group(json!({"max_attempts": 1}), poison).await;
    let lease = server.lease("t", "g", 1).await.remove(0);
    let settled = nack_now(&server, &lease).await;
    assert_eq!(settled["dead_letter"]["topic"], "t.g.dlq");
    let letter = server.records("t.g.dlq", 0).await.remove(0);
    assert_eq!((&letter["key"], &letter["value"]), (&json!("k"), &json!("poison")));
    assert_eq!(letter["headers"]["trace"], "7");
    assert_eq!(letter["headers"]["x-dead-offset"], lease["offset"].to_string());
    server.end().await;
}

/// "The backoff overrode the time to acknowledge": a short backoff leaves the lease as long as it is.
#[tokio::test]
async fn a_backoff_does_not_shorten_the_lease() {
    let settings = json!({"lease": "1h", "backoff": {"initial": "0.001s", "max": "0.001s"}});
    let server = with_group(settings, json!([{"value": "1"}])).await;
    let first = server.lease("t", "g", 1).await.remove(0);
    server.settle("t", "g:nack", json!({"token": first["token"]})).await;
    let waited = json(server.verb("t", "g:lease", json!({"wait": "30s"})).await).await;
    let second = &waited["leases"][0];
    assert_eq!(second["attempt"], 2);
    let lease = |lease: &Value| lease["expires_at"].as_str().unwrap().to_owned();
    assert!(lease(second) >= lease(&first), "the second lease is shorter than the first");
    assert_eq!(server.lease("t", "g", 1).await.len(), 0, "it was offered while it was leased");
    assert_eq!(ack(&server, second).await["ok"], true);
    server.end().await;
}

/// "A bare nak spends all attempts at once": without a delay the curve holds.
#[tokio::test]
async fn bare_nacks_do_not_burn_all_attempts_at_once() {
    let settings = json!({"backoff": {"initial": "1h", "max": "2h", "jitter": false}});
    let server = with_group(settings, json!([{"value": "1"}])).await;
    let lease = server.lease("t", "g", 1).await.remove(0);
    let settled = server.settle("t", "g:nack", json!({"token": lease["token"]})).await.remove(0);
    assert!(settled["next_attempt_at"].as_str().unwrap() > lease["expires_at"].as_str().unwrap());
    assert_eq!(server.lease("t", "g", 1).await.len(), 0);
    let group = server.group("t", "g").await;
    assert_eq!((&group["waiting"], &group["dead"]), (&json!(1), &json!(0)));
    server.end().await;
}

/// "Delayed records fill the window, and nothing is delivered any more": what waits is not in flight.
#[tokio::test]
async fn records_that_wait_do_not_fill_the_window() {
    let records = json!([{"value": "1"}, {"value": "2"}, {"value": "3"}]);
    let server = with_group(json!({"max_in_flight": 1}), records).await;
    for value in ["1", "2"] {
        let lease = server.lease("t", "g", 10).await;
        assert_eq!(lease.len(), 1, "the window is one");
        assert_eq!(lease[0]["value"], value);
        let nack = json!({"token": lease[0]["token"], "delay": "1h"});
        server.settle("t", "g:nack", nack).await;
    }
    assert_eq!(server.lease("t", "g", 10).await[0]["value"], "3");
    let group = server.group("t", "g").await;
    assert_eq!((&group["waiting"], &group["in_flight"]), (&json!(2), &json!(1)));
    server.end().await;
}

/// "A key is stuck for ever after its record was dead-lettered": it goes on, and other keys never stopped.
#[tokio::test]
async fn a_key_goes_on_after_its_poison_is_dead() {
    let records = json!([
        {"key": "a", "value": "poison"}, {"key": "a", "value": "next"}, {"key": "b", "value": "other"},
    ]);
    let server = with_group(json!({"ordering": "key", "max_attempts": 1}), records).await;
    let leases = server.lease("t", "g", 10).await;
    let values: Vec<&Value> = leases.iter().map(|lease| &lease["value"]).collect();
    assert_eq!(values, ["poison", "other"], "one of each key at a time");
    nack_now(&server, &leases[0]).await;
    let next = server.lease("t", "g", 10).await;
    assert_eq!((next.len(), &next[0]["value"]), (1, &json!("next")));
    server.end().await;
}

/// "One poison record blocks its partition": in order, and yet it goes on behind it.
#[tokio::test]
async fn a_poison_record_does_not_block_its_partition() {
    let records = json!([{"value": "poison"}, {"value": "2"}, {"value": "3"}]);
    let server = with_group(json!({"ordering": "partition", "max_attempts": 2}), records).await;
    let lease = async || {
        let body = json!({"max_records": 10, "member": "m", "wait": "30s"});
        json(server.verb("t", "g:lease", body).await).await["leases"].as_array().unwrap().clone()
    };
    let first = lease().await;
    assert_eq!((first.len(), &first[0]["value"]), (3, &json!("poison")));
    nack_now(&server, &first[0]).await;
    for held in &first[1..] {
        server.settle("t", "g:release", json!({"token": held["token"]})).await;
    }
    let second = lease().await;
    assert_eq!((&second[0]["value"], &second[0]["attempt"]), (&json!("poison"), &json!(2)));
    nack_now(&server, &second[0]).await;
    for held in &second[1..] {
        ack(&server, held).await;
    }
    let group = server.group("t", "g").await;
    assert_eq!((&group["lag"]["records"], &group["dead"]), (&json!(0), &json!(1)));
    server.end().await;
}

/// "A job that takes minutes loses its partition in a rebalance, and loops": a lease is extended as often as it takes, and
/// nobody who comes or goes takes it away.
#[tokio::test]
async fn a_long_job_keeps_its_record_while_others_come_and_go() {
    let server = with_group(json!({"lease": "1s"}), json!([{"value": "1"}])).await;
    let lease = server.lease("t", "g", 1).await.remove(0);
    for _ in 0..3 {
        let extend = json!({"token": lease["token"], "by": "1h"});
        assert_eq!(server.settle("t", "g:extend", extend).await[0]["ok"], true);
        for member in ["new", "newer"] {
            let body = json!({"member": member, "max_records": 10});
            let others = json(server.verb("t", "g:lease", body).await).await;
            assert_eq!(others["leases"], json!([]));
        }
    }
    assert_eq!(ack(&server, &lease).await["ok"], true);
    server.end().await;
}

/// "Consumer instance not found": there is none. A token is good on every connection, whoever it was given to.
#[tokio::test]
async fn a_lease_is_good_on_any_connection_and_there_is_no_consumer_to_lose() {
    let server = with_group(json!({}), json!([{"value": "1"}, {"value": "2"}])).await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        // A client of its own each time, and its connections end with it.
        let client = reqwest::Client::new();
        let url = server.url("/v1/topics/t/groups/g:lease");
        let answer = json(client.post(url).send().await.unwrap()).await;
        tokens.push(answer["leases"][0]["token"].clone());
    }
    for result in server.settle("t", "g:ack", json!({ "tokens": tokens })).await {
        assert_eq!(result["ok"], true);
    }
    server.end().await;
}

/// "Lag says 0 while hundreds of thousands are stuck": what nobody acknowledged is lag, in records and in seconds, leased,
/// waiting or neither.
#[tokio::test]
async fn lag_is_not_zero_while_records_are_stuck() {
    let records = json!([{"value": "1"}, {"value": "2"}, {"value": "3"}]);
    let server = with_group(json!({}), records).await;
    let leases = server.lease("t", "g", 10).await;
    server.settle("t", "g:nack", json!({"token": leases[0]["token"], "delay": "1h"})).await;
    ack(&server, &leases[1]).await;
    let group = server.group("t", "g").await;
    assert_eq!(group["lag"]["records"], 2);
    assert!(group["lag"]["seconds"].is_number(), "{}", group["lag"]);
    assert_eq!((&group["waiting"], &group["in_flight"]), (&json!(1), &json!(1)));
    server.end().await;
}

/// "The deduplication window swallowed a repeat that was wanted": only what says that it is a repeat is taken for one.
#[tokio::test]
async fn a_wanted_repeat_is_not_swallowed() {
    let server = start().await;
    server.topic("t", 1).await;
    let say = async |key: Option<&str>| {
        let request = server.post("/v1/topics/t/records").body("again");
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        assert!(request.send().await.unwrap().status().is_success());
    };
    say(None).await;
    say(None).await;
    say(Some("1")).await;
    say(Some("1")).await;
    say(Some("2")).await;
    assert_eq!(
        server.records("t", 0).await.len(),
        4,
        "only the second one with the key 1 is a repeat"
    );
    server.end().await;
}

/// "The output was written, the acknowledgement was lost, and everything came twice": they are one commit, and a holder
/// that lost its lease writes nothing.
#[tokio::test]
async fn an_output_without_its_acknowledgement_is_not_written() {
    let server = with_group(json!({}), json!([{"value": "1"}])).await;
    server.topic("out", 1).await;
    let lease = server.lease("t", "g", 1).await.remove(0);
    let commit = json!({
        "appends": [{"topic": "out", "records": [{"value": "done"}]}],
        "settlements": [{"token": lease["token"], "ack": true}],
    });
    let first = server.post("/v1/commits").json(&commit).send().await.unwrap();
    assert!(first.status().is_success(), "{}", first.text().await.unwrap());
    let again = server.post("/v1/commits").json(&commit).send().await.unwrap();
    problem(again, 409, "lease_lost").await;
    assert_eq!(server.records("out", 0).await.len(), 1);
    server.end().await;
}

/// "The listener is not told which attempt this is": each lease says it, and since when it has been tried.
#[tokio::test]
async fn each_lease_says_which_attempt_it_is_and_when_the_first_one_was() {
    let server = with_group(json!({}), json!([{"value": "1"}])).await;
    let first = server.lease("t", "g", 1).await.remove(0);
    nack_now(&server, &first).await;
    let second = server.lease("t", "g", 1).await.remove(0);
    assert_eq!((&first["attempt"], &second["attempt"]), (&json!(1), &json!(2)));
    assert_eq!(first["first_leased_at"], second["first_leased_at"]);
    server.end().await;
}
