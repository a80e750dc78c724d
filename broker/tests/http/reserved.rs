//! Topics of the broker's own, `_models` and `_stages`: everybody may read them, nobody may change them from outside.

use embermq_protocol::problem::{ConnectError, Problem};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Running, json as body_of, problem};
use crate::stages::{register, started};

async fn ask(
    server: &Running,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> reqwest::Response {
    let request = server.client.request(method, server.url(path));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap()
}

#[tokio::test]
async fn what_belongs_to_the_broker_is_read_and_not_changed() {
    let server = started().await;
    server.topic("in", 1).await;
    register(&server, "m/versions/1", "a-").await;
    let before = server.records("_models", 0).await;
    assert_eq!(before.len(), 1);

    let record = json!({ "records": [{ "value": "x" }] });
    let append = json!({ "appends": [
        { "topic": "in", "records": [{ "value": "innocent" }] },
        { "topic": "_models", "records": [{ "value": "x" }] },
    ]});
    let message = json!({ "topic": "_models" });
    let produce = json!({ "topic": "_models", "batch": { "records": [{ "value": "eA==" }] } });
    let letters = json!({ "dead_letter_topic": "_models" });
    let stage = json!({ "input": "in", "output": "_models", "model": "m" });
    let service = |method: &str| format!("/embermq.v1.{method}");
    let (put, post, patch, delete) = (Method::PUT, Method::POST, Method::PATCH, Method::DELETE);
    let cases = [
        (post.clone(), "/v1/topics/_models/records".to_owned(), Some(record.clone())),
        (post.clone(), "/v1/topics/_models/records?delay=1h".to_owned(), Some(record)),
        (post.clone(), "/v1/commits".to_owned(), Some(append)),
        (put.clone(), "/v1/topics/_models".to_owned(), Some(json!({ "partitions": 2 }))),
        (put.clone(), "/v1/topics/_mine".to_owned(), Some(json!({}))),
        (post.clone(), "/v1/topics/_mine/records".to_owned(), Some(json!("x"))),
        (post.clone(), "/v1/topics/_mine/records:call".to_owned(), Some(json!("x"))),
        (patch, "/v1/topics/_models".to_owned(), Some(json!({ "retention": { "age": "1s" } }))),
        (delete, "/v1/topics/_models".to_owned(), None),
        (put.clone(), "/v1/topics/in/groups/g".to_owned(), Some(letters)),
        (post.clone(), service("TopicService/CreateTopic"), Some(message.clone())),
        (post.clone(), service("TopicService/UpdateTopic"), Some(message.clone())),
        (post.clone(), service("TopicService/DeleteTopic"), Some(message)),
        (post, service("RecordService/Produce"), Some(produce)),
    ];
    for (method, path, body) in cases {
        let connect = path.starts_with("/embermq");
        let answer = ask(&server, method, &path, body).await;
        if connect {
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
            let text = answer.text().await.unwrap();
            let error: ConnectError = serde_json::from_str(&text).unwrap();
            assert_eq!(error.code, "permission_denied", "{text}");
            assert_eq!(Problem::from(&error).code, "topic_reserved", "{text}");
        } else {
            let problem = problem(answer, 403, "topic_reserved").await;
            assert!(problem["details"]["topic"].as_str().unwrap().starts_with('_'), "{path}");
        }
    }
    let refused = ask(&server, put, "/v1/stages/s", Some(stage)).await;
    let refused = problem(refused, 400, "invalid_argument").await;
    assert!(refused["detail"].as_str().unwrap().contains("the broker's own"), "{refused}");

    let missing = problem(server.verb("_mine", "g:lease", json!({})).await, 404, "topic_not_found");
    let detail = missing.await["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("the broker's own") && !detail.contains("PUT"), "{detail}");

    assert_eq!(server.records("_models", 0).await, before);
    assert_eq!(server.records("in", 0).await, Vec::<Value>::new(), "all or nothing");
    let topic = body_of(server.get("/v1/topics/_models").send().await.unwrap()).await;
    assert_eq!(topic["partitions"].as_array().map_or(1, Vec::len), 1);
    let leases = server.lease("_models", "auditors", 10).await;
    assert_eq!(leases.len(), 1, "a group may read it");
    server.end().await;
}
