//! Topics over REST.

use serde_json::{Value, json};

use crate::harness::{json, problem, start};

#[tokio::test]
async fn put_creates_or_ensures() {
    let server = start().await;
    let put =
        async |body: &'static str| server.put("/v1/topics/t").body(body).send().await.unwrap();
    let created =
        put(r#"{"partitions":2,"retention":{"age":"1d","bytes":1000000},"durability":"os"}"#).await;
    assert_eq!(created.status(), 201);
    let topic = json(created).await;
    assert_eq!(topic["name"], "t");
    assert_eq!(
        topic["settings"],
        json!({
            "partitions": 2,
            "retention": {"age": "86400s", "bytes": 1_000_000},
            "compact": false,
            "tombstone_retention": "86400s",
            "durability": "os",
            "record_bytes_max": 8 << 20,
        })
    );
    assert_eq!(topic["partitions"].as_array().unwrap().len(), 2);
    assert_eq!(topic["partitions"][1]["end_offset"], 0);
    let again = put(r#"{"partitions":2,"retention":{"age":"86400s","bytes":"1000000"},"durability":"DURABILITY_OS"}"#).await;
    assert_eq!(again.status(), 200);
    let other = problem(put(r#"{"partitions":3}"#).await, 409, "topic_exists").await;
    assert!(other["detail"].as_str().unwrap().contains("partitions"), "{other}");
    for (body, code) in [
        (r#"{"partitions":0}"#, "invalid_argument"),
        (r#"{"partitions":1025}"#, "invalid_argument"),
        (r#"{"partition":1}"#, "malformed_body"),
        ("{", "malformed_body"),
    ] {
        problem(server.put("/v1/topics/u").body(body).send().await.unwrap(), 400, code).await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_retention_that_compaction_would_pass_over_is_refused() {
    let server = start().await;
    let put =
        async |body: &'static str| server.put("/v1/topics/c").body(body).send().await.unwrap();
    let patch = async |body: &'static str| {
        server.client.patch(server.url("/v1/topics/c")).body(body).send().await.unwrap()
    };
    for body in [
        r#"{"compact":true,"retention":{"age":"1d"}}"#,
        r#"{"compact":true,"retention":{"bytes":5000000}}"#,
    ] {
        let refused = problem(put(body).await, 400, "invalid_argument").await;
        assert_eq!(refused["details"]["field"], "retention");
    }
    assert_eq!(put(r#"{"retention":{"age":"1d"}}"#).await.status(), 201);
    problem(patch(r#"{"compact":true,"retention":{"age":"1d"}}"#).await, 400, "invalid_argument")
        .await;
    let compacted = json(patch(r#"{"compact":true}"#).await).await;
    let none = json!({"age": null, "bytes": null});
    assert_eq!(compacted["settings"]["retention"], none, "it does not apply any more");
    problem(patch(r#"{"retention":{"bytes":5000000}}"#).await, 400, "invalid_argument").await;
    // What is shown can be sent back.
    let again = server.put("/v1/topics/c").json(&compacted["settings"]).send().await.unwrap();
    assert_eq!(again.status(), 200);
    let refused = problem(patch(r#"{"compact":false}"#).await, 400, "invalid_argument").await;
    assert_eq!(refused["details"]["field"], "retention");
    for null in [r#"{"compact":false,"retention":null}"#, r#"{"record_bytes_max":null}"#] {
        problem(patch(null).await, 400, "malformed_body").await;
    }
    let plain = json(patch(r#"{"compact":false,"retention":{"age":"1d"}}"#).await).await;
    assert_eq!(plain["settings"]["retention"]["age"], "86400s");
    let number = problem(put("7").await, 400, "malformed_body").await;
    assert!(number["detail"].as_str().unwrap().contains("expected topic settings"), "{number}");
    server.end().await;
}

#[tokio::test]
async fn topics_are_listed_shown_changed_and_deleted() {
    let server = start().await;
    for name in ["b", "a", "c", "ab"] {
        server.topic(name, 1).await;
    }
    let names = |page: &Value| -> Vec<String> {
        let topics = page["topics"].as_array().unwrap();
        topics.iter().map(|topic| topic["name"].as_str().unwrap().to_owned()).collect()
    };
    let page = json(server.get("/v1/topics").send().await.unwrap()).await;
    assert_eq!(names(&page), ["a", "ab", "b", "c"]);
    let page = json(server.get("/v1/topics?prefix=a").send().await.unwrap()).await;
    assert_eq!(names(&page), ["a", "ab"]);
    let page = json(server.get("/v1/topics?page_size=3").send().await.unwrap()).await;
    assert_eq!(names(&page), ["a", "ab", "b"]);
    let token = page["next_page_token"].as_str().unwrap();
    let page = json(
        server.get(&format!("/v1/topics?page_size=3&page_token={token}")).send().await.unwrap(),
    )
    .await;
    assert_eq!((names(&page), &page["next_page_token"]), (vec!["c".to_owned()], &Value::Null));

    let patch = async |body: &'static str| {
        server.client.patch(server.url("/v1/topics/a")).body(body).send().await.unwrap()
    };
    let changed = json(patch(r#"{"partitions":3,"retention":{"bytes":5000000}}"#).await).await;
    assert_eq!(changed["settings"]["retention"], json!({"age": null, "bytes": 5_000_000}));
    assert_eq!(
        json(server.get("/v1/topics/a").send().await.unwrap()).await["settings"]["partitions"],
        3
    );
    problem(patch(r#"{"partitions":1}"#).await, 400, "invalid_argument").await;

    let delete = async || server.client.delete(server.url("/v1/topics/a")).send().await.unwrap();
    assert_eq!(delete().await.status(), 204);
    problem(delete().await, 404, "topic_not_found").await;
    problem(server.get("/v1/topics/a").send().await.unwrap(), 404, "topic_not_found").await;
    server.end().await;
}

#[tokio::test]
async fn the_message_form_is_given_and_taken_too() {
    use embermq_protocol::v1::{ListTopicsResponse, Topic, TopicSettings};
    use prost::Message as _;
    let server = start().await;
    let settings = TopicSettings { partitions: Some(4), ..TopicSettings::default() };
    let kind = "application/x-protobuf";
    let request = server.put("/v1/topics/t").header("content-type", kind).header("accept", kind);
    let answer = request.body(settings.encode_to_vec()).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let topic = Topic::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!((topic.name.as_str(), topic.partitions.len()), ("t", 4));
    let answer = server.get("/v1/topics").header("accept", kind).send().await.unwrap();
    let list = ListTopicsResponse::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!(list.topics[0].name, "t");
    server.end().await;
}
