//! Dead letters over REST: how records become them, what they say, and how they are offered once more.

use embermq_protocol::v1;
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::{Running, json, problem, start};

const DEAD: &str = "t.g.dlq";

/// A server with a topic `t` of two records and a group `g` with these settings.
async fn with_group(settings: Value) -> Running {
    let server = start().await;
    server.topic("t", 1).await;
    server.say("t", "0").await;
    let body = json!({"records": [{"key": "k", "value": "poison", "headers": {"x-trace": "7"}}]});
    json(server.post("/v1/topics/t/records").json(&body).send().await.unwrap()).await;
    let group = server.put("/v1/topics/t/groups/g").json(&settings).send().await.unwrap();
    assert_eq!(group.status(), 201);
    server
}

#[tokio::test]
async fn a_rejected_record_is_in_the_dead_letter_topic_whole() {
    let server = with_group(json!({})).await;
    let leases = server.lease("t", "g", 2).await;
    let reject = json!({"token": leases[1]["token"], "reason": "cannot be parsed"});
    let results = server.settle("t", "g:reject", reject).await;
    assert_eq!(results[0]["dead_letter"], json!({"topic": DEAD, "partition": 0, "offset": 0}));
    let letters = server.records(DEAD, 0).await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((&letter["key"], &letter["value"]), (&json!("k"), &json!("poison")));
    let headers = &letter["headers"];
    assert_eq!(headers["x-trace"], "7");
    for (name, value) in [
        ("x-dead-reason", "rejected"),
        ("x-dead-error", "cannot be parsed"),
        ("x-dead-attempts", "1"),
        ("x-dead-group", "g"),
        ("x-dead-topic", "t"),
        ("x-dead-partition", "0"),
        ("x-dead-offset", "1"),
    ] {
        assert_eq!(headers[name], value, "{name} in {headers}");
    }
    for name in ["x-dead-first-time", "x-dead-last-time"] {
        assert!(headers[name].is_string(), "{name} in {headers}");
    }
    let group = server.group("t", "g").await;
    assert_eq!((&group["dead"], &group["in_flight"]), (&json!(1), &json!(1)));
    let twice = server.settle("t", "g:ack", json!({"token": leases[1]["token"]})).await;
    assert_eq!(twice[0]["error"]["code"], "lease_lost");
    server.end().await;
}

#[tokio::test]
async fn the_last_attempt_ends_in_the_dead_letter_topic() {
    let server = with_group(json!({"max_attempts": 2})).await;
    for attempt in [1, 2] {
        let leases = server.lease("t", "g", 2).await;
        let poison = leases.iter().find(|lease| lease["value"] == "poison").unwrap();
        assert_eq!(poison["attempt"], attempt);
        let nack = json!({"token": poison["token"], "delay": "0s", "error": "boom"});
        let results = server.settle("t", "g:nack", nack).await;
        assert_eq!(results[0]["dead_letter"].is_object(), attempt == 2, "{results:?}");
    }
    let letters = server.records(DEAD, 0).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["headers"]["x-dead-attempts"], "2");
    assert_eq!(letters[0]["headers"]["x-dead-reason"], "failed");
    assert_eq!(letters[0]["headers"]["x-dead-error"], "boom");
    server.end().await;
}

#[tokio::test]
async fn dead_letters_are_offered_once_more_or_dropped() {
    let server = with_group(json!({})).await;
    let reject = async |reason: &str| {
        let tokens: Vec<Value> = server
            .lease("t", "g", 2)
            .await
            .into_iter()
            .map(|lease| lease["token"].clone())
            .collect();
        let results = server.settle("t", "g:reject", json!({"tokens": tokens, "reason": reason}));
        assert!(results.await.iter().all(|result| result["ok"] == true));
        tokens.len()
    };
    let redrive = async |body: Value| json(server.verb("t", "g:redrive", body).await).await;
    assert_eq!(reject("cannot be parsed").await, 2);
    assert_eq!(redrive(json!({"contains": "another reason"})).await["matched"], 0);
    assert_eq!(redrive(json!({"dry_run": true})).await["matched"], 2);
    assert_eq!(server.group("t", "g").await["dead"], 2, "a dry run does nothing");
    let one = redrive(json!({"offsets": [1], "contains": "parsed"})).await;
    assert_eq!(one, json!({"matched": 1, "done": 1}));
    let again = server.lease("t", "g", 2).await;
    assert_eq!((again.len(), &again[0]["attempt"]), (1, &json!(1)));
    let ack = server.settle("t", "g:ack", json!({"token": again[0]["token"]})).await;
    assert_eq!(ack[0]["ok"], true);
    let dropped = redrive(json!({"drop": true, "max_records": 5})).await;
    assert_eq!(dropped, json!({"matched": 1, "done": 1}));
    assert_eq!(server.group("t", "g").await["dead"], 0);
    assert_eq!(server.records(DEAD, 0).await.len(), 2, "the topic keeps what it has");
    server.end().await;
}

#[tokio::test]
async fn dead_letters_are_listed_while_they_are_open() {
    let server = with_group(json!({})).await;
    let list = async |query: &str| {
        let path = format!("/v1/topics/t/groups/g/dead{query}");
        json(server.get(&path).send().await.unwrap()).await
    };
    let offsets = |page: &Value| {
        let letters = page["letters"].as_array().unwrap().iter();
        letters.map(|letter| letter["offset"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let nothing = json!({"dead_letter_topic": DEAD, "letters": [], "next_after": null});
    assert_eq!(list("").await, nothing, "the topic is made when it is first needed");
    for _ in 0..3 {
        server.say("t", "more").await;
    }
    for (lease, reason) in server.lease("t", "g", 5).await.iter().zip(["a b", "b", "c", "b", "a"]) {
        let reject = json!({"token": lease["token"], "reason": reason});
        assert_eq!(server.settle("t", "g:reject", reject).await[0]["ok"], true);
    }
    let all = list("").await;
    assert_eq!((offsets(&all), &all["next_after"]), (vec![0, 1, 2, 3, 4], &Value::Null));
    assert_eq!(all["letters"], json!(server.records(DEAD, 0).await), "as a fetch shows them");
    assert_eq!(all["letters"][1]["headers"]["x-dead-error"], "b");
    let coded = list("?encoding=base64&limit=2").await;
    assert_eq!(coded["letters"][1]["value"], "cG9pc29u");

    let redrive = json!({"offsets": [1]});
    json(server.verb("t", "g:redrive", redrive).await).await;
    let drop = json!({"offsets": [2], "drop": true});
    json(server.verb("t", "g:redrive", drop).await).await;
    assert_eq!(offsets(&list("").await), [0, 3, 4], "what was redriven or dropped is not open");
    assert_eq!(offsets(&list("?contains=a+b").await), [0]);
    assert_eq!(offsets(&list("?contains=reject").await), [0, 3, 4], "the reason counts");
    let matched = json!({"contains": "b", "dry_run": true});
    assert_eq!(json(server.verb("t", "g:redrive", matched).await).await["matched"], 2);
    assert_eq!(offsets(&list("?contains=b").await), [0, 3], "as a redrive chooses");
    let first = list("?limit=1").await;
    assert_eq!((offsets(&first), &first["next_after"]), (vec![0], &json!(2)));
    let second = list("?limit=1&after=2").await;
    assert_eq!((offsets(&second), &second["next_after"]), (vec![3], &json!(3)));
    let third = list("?limit=1&after=3").await;
    assert_eq!((offsets(&third), &third["next_after"]), (vec![4], &Value::Null));
    assert_eq!(list("?after=18446744073709551615").await, nothing);

    let path = "/v1/topics/t/groups/g/dead?after=0&limit=1";
    let message = server.get(path).header("accept", "application/x-protobuf").send().await.unwrap();
    let message = v1::ListDeadLettersResponse::decode(message.bytes().await.unwrap()).unwrap();
    assert_eq!((message.letters.len(), message.next_after), (1, Some(3)));
    let letter = &message.letters[0];
    assert_eq!((letter.offset, message.dead_letter_topic.as_str()), (3, DEAD));
    assert!(letter.append_time.is_some());
    assert_eq!(letter.record.as_ref().unwrap().value.as_deref(), Some(b"more".as_slice()));

    let get = |path: &'static str| server.get(path).send();
    let gone = get("/v1/topics/t/groups/nobody/dead").await.unwrap();
    problem(gone, 404, "group_not_found").await;
    problem(get("/v1/topics/u/groups/g/dead").await.unwrap(), 404, "topic_not_found").await;
    let many = get("/v1/topics/t/groups/g/dead?limit=1001").await.unwrap();
    let many = problem(many, 400, "invalid_argument").await;
    assert_eq!(many["details"], json!({"parameter": "limit"}));
    for query in ["after=x", "encoding=hex", "offset=1"] {
        let path = format!("/v1/topics/t/groups/g/dead?{query}");
        problem(server.get(&path).send().await.unwrap(), 400, "invalid_argument").await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_redrive_that_would_mean_everything_by_mistake_is_refused() {
    let server = with_group(json!({})).await;
    for body in [
        json!({"offsets": []}),
        json!({"max_records": 0}),
        json!({"max_records": -1}),
        json!({"offset": [1]}),
    ] {
        assert_eq!(server.verb("t", "g:redrive", body).await.status(), 400);
    }
    server.end().await;
}
