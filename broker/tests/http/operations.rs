//! Health, metrics, the description of the routes, and what every answer has.

use serde_json::Value;

use crate::harness::{json, problem, start};

#[tokio::test]
async fn every_answer_is_named_and_says_who_answers() {
    let server = start().await;
    let answer = server.get("/livez").send().await.unwrap();
    let server_name = answer.headers()["server"].to_str().unwrap();
    assert!(server_name.starts_with("embermq/"), "{server_name}");
    let first = answer.headers()["x-request-id"].clone();
    let answer = server.get("/livez").send().await.unwrap();
    assert_ne!(answer.headers()["x-request-id"], first);
    let answer = server.get("/livez").header("x-request-id", "abc-1").send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "abc-1");
    let answer = server.get("/livez").header("x-request-id", "a b").send().await.unwrap();
    assert_ne!(answer.headers()["x-request-id"], "a b");
    server.end().await;
}

#[tokio::test]
async fn health_tells_what_it_checked() {
    let server = start().await;
    for path in ["/livez", "/readyz", "/healthz"] {
        let answer = server.get(path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), "ok\n");
    }
    let text = server.get("/readyz?verbose").send().await.unwrap().text().await.unwrap();
    for check in ["recovered", "storage", "writable", "space", "open"] {
        assert!(text.contains(&format!("[+]{check} ok")), "{text}");
    }
    server.broker.shutdown().await;
    let answer = server.get("/readyz").send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("[-]open failed: shutting down"));
    assert_eq!(server.get("/livez").send().await.unwrap().status(), 200);
    server.end().await;
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let server = start().await;
    server.topic("t", 2).await;
    server.say("t", "one").await;
    let answer = server.get("/metrics").send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "embermq_records_in_total{topic=\"t\"} 1",
        "embermq_log_end_offset{topic=\"t\",partition=\"1\"}",
        "embermq_append_duration_seconds_count{durability=\"fsync\"}",
        "embermq_fsync_duration_seconds_bucket{le=\"+Inf\"}",
        "embermq_shard_poisoned{shard=\"0\"} 0",
        "# TYPE embermq_commits_per_sync histogram",
        "embermq_disk_free_bytes ",
        "embermq_answer_bytes ",
        "embermq_connections{} 1\n",
        "embermq_connections_max{} 1024\n",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    server.end().await;
}

#[tokio::test]
async fn every_described_route_is_there() {
    let server = start().await;
    let document = json(server.get("/openapi.json").send().await.unwrap()).await;
    assert_eq!(document["openapi"], "3.1.0");
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{topic}", "none").replace("{code}", "overloaded");
        let path = path.replace("{group}", "none");
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase().parse().unwrap();
            let answer = server.client.request(method, server.url(&path)).send().await.unwrap();
            let known = answer.status() != 405
                && answer.text().await.is_ok_and(|text| !text.contains("there is no route"));
            assert!(known, "{path}");
        }
    }
    server.end().await;
}

#[tokio::test]
async fn every_code_is_explained_where_problems_point() {
    let server = start().await;
    for code in embermq_protocol::Code::all() {
        let page = json(server.get(&format!("/errors/{code}")).send().await.unwrap()).await;
        assert_eq!(page["status"], code.status());
        assert_ne!(page["title"], Value::Null);
    }
    problem(server.get("/errors/none").send().await.unwrap(), 404, "route_not_found").await;
    server.end().await;
}
