//! Groups over REST: what they are, how they are doing, and how they are moved.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{json, problem, start};

const GROUP: &str = "/v1/topics/t/groups/g";

#[tokio::test]
async fn put_creates_or_ensures() {
    let server = start().await;
    server.topic("t", 2).await;
    let put = async |body: Value| server.put(GROUP).json(&body).send().await.unwrap();
    let created = put(json!({"ordering": "key", "lease": "1m", "max_attempts": 3})).await;
    assert_eq!(created.status(), 201);
    let group = json(created).await;
    assert_eq!((&group["topic"], &group["group"]), (&json!("t"), &json!("g")));
    let settings = json!({
        "ordering": "key",
        "lease": "60s",
        "max_attempts": 3,
        "backoff": {"initial": "1s", "max": "60s", "multiplier": 2.0, "jitter": true},
        "max_in_flight": 1000,
        "dead_letter_topic": "t.g.dlq",
        "filter": null,
    });
    assert_eq!(group["settings"], settings);
    assert_eq!(group["dead_letter_topic"], "t.g.dlq");
    assert!(group["create_time"].is_string());
    assert_eq!(group["lag"], json!({"records": 0, "seconds": 0.0}));
    for count in ["in_flight", "waiting", "held", "dead"] {
        assert_eq!(group[count], 0, "{count}");
    }
    let partition = json!({"partition": 1, "next_offset": 0, "first_open_offset": 0, "open": 0, "lag_records": 0});
    assert_eq!(group["partitions"][1], partition);
    // What was shown can be sent back.
    assert_eq!(put(settings).await.status(), 200);
    let other = problem(put(json!({"ordering": "none"})).await, 409, "group_exists").await;
    assert!(other["detail"].as_str().unwrap().contains("ordering is key, not none"), "{other}");
    let bare = server.put("/v1/topics/t/groups/bare").send().await.unwrap();
    assert_eq!(bare.status(), 201);
    let missing = server.put("/v1/topics/none/groups/g").send().await.unwrap();
    problem(missing, 404, "topic_not_found").await;
    server.end().await;
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let server = start().await;
    server.topic("t", 1).await;
    for (body, code) in [
        (json!({"ordering": "random"}), "malformed_body"),
        (json!({"max_attempt": 3}), "malformed_body"),
        (json!({"max_attempts": -1}), "malformed_body"),
        (json!({"max_attempts": 0}), "invalid_argument"),
        (json!({"max_attempts": 5_000_000_000_u64}), "invalid_argument"),
        (json!({"max_in_flight": 0}), "invalid_argument"),
        (json!({"lease": "0s"}), "invalid_argument"),
        (json!({"lease": "-1s"}), "invalid_argument"),
        (json!({"lease": "13h"}), "invalid_argument"),
        (json!({"lease": "soon"}), "malformed_body"),
        (json!({"backoff": {"initial": "-1s"}}), "invalid_argument"),
        (json!({"backoff": {"initial": "2s", "max": "1s"}}), "invalid_argument"),
        (json!({"backoff": {"multiplier": 0.5}}), "invalid_argument"),
        (json!({"dead_letter_topic": "a/b"}), "invalid_topic_name"),
        (json!({"filter": "((( = "}), "invalid_argument"),
        (json!({"start": "now"}), "malformed_body"),
    ] {
        let answer = server.put(GROUP).json(&body).send().await.unwrap();
        problem(answer, 400, code).await;
    }
    problem(server.get(GROUP).send().await.unwrap(), 404, "group_not_found").await;
    server.end().await;
}

#[tokio::test]
async fn groups_are_listed_changed_and_deleted() {
    let server = start().await;
    server.topic("t", 1).await;
    server.topic("u", 1).await;
    for place in ["u/groups/a", "t/groups/g", "t/groups/a"] {
        let answer = server.put(&format!("/v1/topics/{place}")).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    }
    let names = async |path: &str| -> Vec<String> {
        let page = json(server.get(path).send().await.unwrap()).await;
        let groups = page["groups"].as_array().unwrap().clone();
        assert!(groups.iter().all(|group| group["partitions"] == Value::Null));
        let name = |group: &Value| format!("{}/{}", group["topic"], group["group"]);
        groups.iter().map(|group| name(group).replace('"', "")).collect()
    };
    assert_eq!(names("/v1/topics/t/groups").await, ["t/a", "t/g"]);
    assert_eq!(names("/v1/groups").await, ["t/a", "t/g", "u/a"]);
    let missing = server.get("/v1/topics/none/groups").send().await.unwrap();
    problem(missing, 404, "topic_not_found").await;

    let patch = async |body: Value| {
        server.client.patch(server.url(GROUP)).json(&body).send().await.unwrap()
    };
    let changed = json(patch(json!({"lease": "45s", "backoff": {"max": "5s"}})).await).await;
    assert_eq!(changed["settings"]["lease"], "45s");
    assert_eq!(changed["settings"]["max_attempts"], 5);
    let backoff = json!({"initial": "1s", "max": "5s", "multiplier": 2.0, "jitter": true});
    assert_eq!(server.group("t", "g").await["settings"]["backoff"], backoff);
    problem(patch(json!({"ordering": "key"})).await, 400, "invalid_argument").await;
    problem(patch(json!({"start": "latest"})).await, 400, "malformed_body").await;
    assert_eq!(patch(json!({"ordering": "none"})).await.status(), 200);

    let delete = async || server.client.delete(server.url(GROUP)).send().await.unwrap();
    assert_eq!(delete().await.status(), 204);
    problem(delete().await, 404, "group_not_found").await;
    problem(patch(json!({"lease": "45s"})).await, 404, "group_not_found").await;
    assert_eq!(names("/v1/topics/t/groups").await, ["t/a"]);
    server.end().await;
}

#[tokio::test]
async fn names_and_verbs_that_are_none() {
    let server = start().await;
    server.topic("t", 1).await;
    let long = "x".repeat(129);
    for name in ["a%2Fb", "a%20b", "r%C3%A9", "..%2Fetc", "a:b", "", &long] {
        let path = format!("/v1/topics/t/groups/{name}");
        problem(server.get(&path).send().await.unwrap(), 400, "invalid_group_name").await;
        problem(server.put(&path).send().await.unwrap(), 400, "invalid_group_name").await;
        if !name.is_empty() {
            let lease = server.post(&format!("{path}:lease")).send().await.unwrap();
            problem(lease, 400, "invalid_group_name").await;
        }
    }
    for path in [GROUP.to_owned(), format!("{GROUP}:steal"), format!("{GROUP}:")] {
        let unknown = server.post(&path).body("{}").send().await.unwrap();
        let unknown = problem(unknown, 404, "route_not_found").await;
        let detail = unknown["detail"].as_str().unwrap();
        assert!(detail.contains(":lease") && detail.contains(":redrive"), "{detail}");
    }
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let request = server.client.request(method, server.url(&format!("{GROUP}:lease")));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["allow"], "POST");
        problem(answer, 405, "method_not_allowed").await;
    }
    let query = server.post(&format!("{GROUP}:ack?force=true")).body("{}").send().await.unwrap();
    problem(query, 400, "invalid_argument").await;
    server.end().await;
}

#[tokio::test]
async fn a_group_starts_where_it_was_told() {
    let server = start().await;
    server.topic("t", 1).await;
    for text in ["1", "2", "3"] {
        server.say("t", text).await;
    }
    let starts = [
        ("all", json!({}), 0),
        ("first", json!({"start": "earliest"}), 0),
        ("one", json!({"start": {"offset": 1}}), 1),
        ("time", json!({"start": {"time": "2000-01-01T00:00:00Z"}}), 0),
    ];
    for (name, body, offset) in starts {
        let path = format!("/v1/topics/t/groups/{name}");
        assert_eq!(server.put(&path).json(&body).send().await.unwrap().status(), 201);
        assert_eq!(server.lease("t", name, 1).await[0]["offset"], offset, "{name}");
    }
    let last = server.put("/v1/topics/t/groups/last").json(&json!({"start": "latest"}));
    assert_eq!(last.send().await.unwrap().status(), 201);
    assert_eq!(server.lease("t", "last", 1).await.len(), 0);
    server.say("t", "4").await;
    assert_eq!(server.lease("t", "last", 1).await[0]["value"], "4");
    server.end().await;
}

#[tokio::test]
async fn a_group_is_moved() {
    let server = start().await;
    server.topic("t", 1).await;
    for text in ["1", "2", "3"] {
        server.say("t", text).await;
    }
    let leases = server.lease("t", "g", 2).await;
    let tokens: Vec<&Value> = leases.iter().map(|lease| &lease["token"]).collect();
    server.settle("t", "g:ack", json!({ "tokens": tokens })).await;
    let seek = async |body: Value| server.verb("t", "g:seek", body).await;
    let expected = json!({"partitions": [{
        "partition": 0, "from_offset": 2, "to_offset": 0, "read_again": 2, "skipped": 0, "leases_lost": 0,
    }]});
    assert_eq!(json(seek(json!({"to": "earliest", "dry_run": true})).await).await, expected);
    assert_eq!(server.group("t", "g").await["lag"]["records"], 1, "a dry run does nothing");
    assert_eq!(json(seek(json!({"to": "earliest"})).await).await, expected);
    let again = server.lease("t", "g", 3).await;
    assert_eq!((again.len(), &again[0]["attempt"]), (3, &json!(1)));
    let moved = json(seek(json!({"to": "latest", "partition": 0})).await).await;
    assert_eq!(moved["partitions"][0]["leases_lost"], 3, "{moved}");
    let late = server.settle("t", "g:ack", json!({"token": again[0]["token"]})).await;
    assert_eq!(late[0]["error"]["code"], "lease_lost");
    assert_eq!(server.lease("t", "g", 3).await.len(), 0);

    problem(seek(json!({})).await, 400, "invalid_argument").await;
    problem(seek(json!({"to": "middle"})).await, 400, "malformed_body").await;
    problem(seek(json!({"to": "latest", "partition": 1})).await, 404, "partition_not_found").await;
    let unknown = server.verb("t", "none:seek", json!({"to": "latest"})).await;
    problem(unknown, 404, "group_not_found").await;
    server.end().await;
}

#[tokio::test]
async fn metrics_have_groups() {
    let server = start().await;
    server.topic("t", 1).await;
    for text in ["1", "2", "3"] {
        server.say("t", text).await;
    }
    let leases = server.lease("t", "g", 2).await;
    server.settle("t", "g:nack", json!({"token": leases[0]["token"], "delay": "1h"})).await;
    let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        "embermq_group_lag_records{topic=\"t\",group=\"g\"} 3",
        "embermq_group_lag_seconds{topic=\"t\",group=\"g\"} ",
        "embermq_group_in_flight{topic=\"t\",group=\"g\"} 1",
        "embermq_group_waiting{topic=\"t\",group=\"g\"} 1",
        "embermq_group_held{topic=\"t\",group=\"g\"} 0",
        "embermq_group_dead{topic=\"t\",group=\"g\"} 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    server.end().await;
}
