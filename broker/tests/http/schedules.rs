//! Records that appear later: scheduled in every way, listed, cancelled, delivered.

use embermq_protocol::Code;
use embermq_protocol::client::{Client, LeaseOptions, When};
use embermq_protocol::time::Timestamp;
use embermq_protocol::v1;
use prost::Message as _;
use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{Running, json, problem, start};

const NEVER: &str = "2099-01-01T00:00:00Z";

/// A server with a topic `t`.
async fn with_topic(partitions: u32) -> Running {
    let server = start().await;
    server.topic("t", partitions).await;
    server
}

async fn send(server: &Running, headers: &[(&str, &str)], body: &str) -> Response {
    let request = server.post("/v1/topics/t/records").body(body.to_owned());
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

/// Schedules a record for the year 2099 and gives the id.
async fn put_off(server: &Running, body: &str) -> String {
    let answer = send(server, &[("Deliver-At", NEVER)], body).await;
    assert_eq!(answer.status(), 202);
    json(answer).await["schedule"].as_str().unwrap().to_owned()
}

async fn schedules(server: &Running, query: &str) -> Value {
    json(server.get(&format!("/v1/topics/t/schedules{query}")).send().await.unwrap()).await
}

async fn cancel(server: &Running, id: &str) -> Response {
    let path = server.url(&format!("/v1/topics/t/schedules/{id}"));
    server.client.delete(path).send().await.unwrap()
}

#[tokio::test]
async fn a_record_appears_at_its_time_and_not_before() {
    let server = with_topic(1).await;
    let answer = send(&server, &[("Delay", "300ms"), ("Key", "k")], "late").await;
    assert_eq!(answer.status(), 202);
    let answer = json(answer).await;
    assert_eq!((&answer["topic"], &answer["partition"]), (&json!("t"), &json!(0)));
    assert!(answer["schedule"].is_string() && answer["offset"].is_null());
    let now = server.say("t", "at once").await;
    assert_eq!(now["offset"], 0, "what waits has no offset");
    // A long poll is woken by it.
    let path = "/v1/topics/t/records?offset=1&wait=30s";
    let page = json(server.get(path).send().await.unwrap()).await;
    let record = &page["records"][0];
    assert_eq!((&record["value"], &record["key"]), (&json!("late"), &json!("k")));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert!(text(&record["append_time"]) >= text(&answer["deliver_at"]));
    assert_eq!(schedules(&server, "").await, json!({ "schedules": [] }));
    server.end().await;
}

#[tokio::test]
async fn a_waiting_lease_gets_what_is_delivered() {
    let server = with_topic(1).await;
    assert_eq!(server.lease("t", "g", 1).await.len(), 0);
    assert_eq!(send(&server, &[("Delay", "200ms")], "late").await.status(), 202);
    let page = json(server.verb("t", "g:lease", json!({ "wait": "30s" })).await).await;
    assert_eq!(page["leases"][0]["value"], "late");
    server.end().await;
}

#[tokio::test]
async fn delayed_records_do_not_eat_the_in_flight_window() {
    let server = with_topic(1).await;
    let settings = json!({ "max_in_flight": 2 }).to_string();
    let made = server.put("/v1/topics/t/groups/g").body(settings).send().await.unwrap();
    assert_eq!(made.status(), 201);
    for number in 0..10 {
        put_off(&server, &format!("later {number}")).await;
    }
    for number in 0..4 {
        server.say("t", &number.to_string()).await;
    }
    for round in 0..2 {
        let leases = server.lease("t", "g", 10).await;
        let values: Vec<&Value> = leases.iter().map(|lease| &lease["value"]).collect();
        assert_eq!(values, [&json!((2 * round).to_string()), &json!((2 * round + 1).to_string())]);
        let group = server.group("t", "g").await;
        assert_eq!((&group["in_flight"], &group["scheduled"]), (&json!(2), &json!(10)));
        assert_eq!(group["lag"]["records"], 4 - 2 * round);
        let tokens: Vec<&Value> = leases.iter().map(|lease| &lease["token"]).collect();
        server.settle("t", "g:ack", json!({ "tokens": tokens })).await;
    }
    assert_eq!(server.group("t", "g").await["lag"]["records"], 0);
    server.end().await;
}

#[tokio::test]
async fn what_is_scheduled_is_listed_shown_and_cancelled() {
    let server = with_topic(1).await;
    let at = "2098-01-01T00:00:00Z";
    let late = put_off(&server, "late").await;
    let lines = "{\"value\":\"a\",\"key\":\"k\"}\n{\"value\":{\"b\":1}}\n";
    let headers = [("Deliver-At", at), ("Content-Type", "application/x-ndjson")];
    let answer = json(send(&server, &headers, lines).await).await;
    let early = answer["records"][0]["schedule"].as_str().unwrap().to_owned();
    assert_eq!(answer["records"][1]["schedule"], early, "they appear together");
    let list = schedules(&server, "").await;
    let ids: Vec<&Value> =
        list["schedules"].as_array().unwrap().iter().map(|one| &one["schedule"]).collect();
    assert_eq!(ids, [&json!(early), &json!(late)], "in the order of their time");
    let expected = json!({
        "topic": "t", "schedule": early, "deliver_at": "2098-01-01T00:00:00.000000Z", "partition": 0, "count": 2,
    });
    assert_eq!(list["schedules"][0], expected);
    let page = schedules(&server, "?limit=1").await;
    assert_eq!(
        (&page["schedules"][0]["schedule"], &page["next_after"]),
        (&json!(early), &json!(early))
    );
    let page = schedules(&server, &format!("?limit=1&after={early}")).await;
    assert_eq!(
        (&page["schedules"][0]["schedule"], &page["next_after"]),
        (&json!(late), &Value::Null)
    );
    let path = format!("/v1/topics/t/schedules/{early}");
    let shown = json(server.get(&path).send().await.unwrap()).await;
    assert_eq!(shown["records"][0]["key"], "k");
    assert_eq!(shown["records"][1]["value"], json!({ "b": 1 }));
    assert_eq!(cancel(&server, &early).await.status(), 204);
    problem(cancel(&server, &early).await, 404, "schedule_not_found").await;
    problem(server.get(&path).send().await.unwrap(), 404, "schedule_not_found").await;
    problem(cancel(&server, "no-id!").await, 400, "invalid_argument").await;
    assert_eq!(schedules(&server, "").await["schedules"].as_array().unwrap().len(), 1);
    assert_eq!(server.records("t", 0).await.len(), 0);
    server.end().await;
}

#[tokio::test]
async fn a_time_that_has_passed_is_an_ordinary_append() {
    let server = with_topic(1).await;
    for headers in [("Delay", "0"), ("Deliver-At", "2020-01-01T00:00:00Z")] {
        let answer = send(&server, &[headers], "now").await;
        assert_eq!(answer.status(), 200);
        assert!(json(answer).await["offset"].is_u64());
    }
    assert_eq!(server.records("t", 0).await.len(), 2);
    let path = "/v1/topics/t.scheduled";
    problem(server.get(path).send().await.unwrap(), 404, "topic_not_found").await;
    server.end().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_leaves_nothing_behind() {
    let server = with_topic(1).await;
    let refused: [(&[(&str, &str)], &str); 7] = [
        (&[("Delay", "1s"), ("Deliver-At", NEVER)], "two ways"),
        (&[("Delay", "-1s")], "100 years"),
        (&[("Delay", "soon")], "100 years"),
        (&[("Delay", "40000d")], "100 years"),
        (&[("Deliver-At", "tomorrow")], "RFC 3339"),
        (&[("Delay", "1h"), ("If-Offset-Match", "0")], "not known yet"),
        (&[("Delay", "1h"), ("Key", "k"), ("If-Key-Version", "none")], "not known yet"),
    ];
    for (headers, words) in refused {
        let refusal = problem(send(&server, headers, "v").await, 400, "invalid_argument").await;
        assert!(refusal["detail"].as_str().unwrap().contains(words), "{refusal}");
    }
    let small = json!({ "record_bytes_max": 10 }).to_string();
    let edited = server.client.patch(server.url("/v1/topics/t")).body(small).send().await.unwrap();
    assert_eq!(edited.status(), 200);
    let headers = [("Delay", "1h"), ("Content-Type", "application/json")];
    let large = send(&server, &headers, "[1,2,3,4,5,6,7]");
    problem(large.await, 413, "record_too_large").await;
    let path = "/v1/topics/t.scheduled";
    problem(server.get(path).send().await.unwrap(), 404, "topic_not_found").await;
    // A topic of the store's name with settings that would lose what is put into it.
    server.topic("t.scheduled", 1).await;
    let refusal = problem(send(&server, &[("Delay", "1h")], "v").await, 409, "topic_exists").await;
    assert!(refusal["detail"].as_str().unwrap().contains("retention"), "{refusal}");
    server.end().await;
}

#[tokio::test]
async fn a_repeat_gets_the_first_schedule() {
    let server = with_topic(1).await;
    let headers = [("Delay", "1h"), ("Idempotency-Key", "once")];
    let first = json(send(&server, &headers, "v").await).await;
    let again = send(&server, &headers, "v").await;
    assert_eq!(
        (again.status().as_u16(), &again.headers()["idempotent-replayed"]),
        (202, &"true".parse().unwrap())
    );
    assert_eq!(json(again).await, first);
    assert_eq!(schedules(&server, "").await["schedules"].as_array().unwrap().len(), 1);
    // Also one that forgets to say so: the record has no offset.
    let now = send(&server, &headers[1..], "v").await;
    assert_eq!(now.status(), 202);
    assert_eq!(json(now).await, first);
    let producer = [
        ("Deliver-At", NEVER),
        ("Producer-Id", "7"),
        ("Producer-Epoch", "0"),
        ("Producer-Seq", "0"),
    ];
    let first = json(send(&server, &producer, "v").await).await;
    assert_eq!(json(send(&server, &producer, "v").await).await, first);
    let next = [("Producer-Id", "7"), ("Producer-Epoch", "0"), ("Producer-Seq", "1")];
    assert_eq!(json(send(&server, &next, "v").await).await["offset"], 0);
    server.end().await;
}

#[tokio::test]
async fn a_commit_schedules_and_cancels_all_or_nothing() {
    let server = with_topic(1).await;
    server.topic("u", 2).await;
    let first = put_off(&server, "first").await;
    let commit = |cancelled: &str| {
        let body = json!({
            "appends": [
                { "topic": "t", "records": [{ "value": "moved" }], "deliver_at": NEVER },
                { "topic": "u", "partition": 1, "records": [{ "value": "now" }] },
                { "topic": "u", "partition": 0, "records": [{ "value": "soon" }], "delay": "2h" },
            ],
            "cancels": [{ "topic": "t", "schedule": cancelled }],
        });
        server.post("/v1/commits").json(&body).send()
    };
    problem(commit("1-0").await.unwrap(), 404, "schedule_not_found").await;
    assert_eq!(server.records("u", 1).await.len(), 0);
    let answer = json(commit(&first).await.unwrap()).await;
    let appends = answer["appends"].as_array().unwrap();
    assert_eq!(appends[0]["deliver_at"], "2099-01-01T00:00:00.000000Z");
    assert_eq!(appends[1]["base_offset"], 0);
    assert!(appends[2]["schedule"].is_string() && appends[2]["base_offset"].is_null());
    problem(commit(&first).await.unwrap(), 404, "schedule_not_found").await;
    let list = schedules(&server, "").await;
    assert_eq!(list["schedules"].as_array().unwrap().len(), 1);
    assert_eq!(list["schedules"][0]["schedule"], appends[0]["schedule"]);
    server.end().await;
}

#[tokio::test]
async fn batches_of_every_kind_are_put_off_as_they_are() {
    let server = with_topic(4).await;
    let records = (0..8).map(|number: u32| v1::Record {
        key: Some(number.to_string().into()),
        value: Some(number.to_string().into()),
        ..v1::Record::default()
    });
    let batch = v1::RecordBatch { records: records.collect(), ..v1::RecordBatch::default() };
    let request = server.post("/v1/topics/t/records?delay=250ms");
    let request = request.header("content-type", "application/x-protobuf");
    let request = request.header("accept", "application/x-protobuf").body(batch.encode_to_vec());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let answer = v1::ProduceResponse::decode(answer.bytes().await.unwrap()).unwrap();
    assert!(answer.results.iter().all(|result| !result.schedule.is_empty()));
    assert_eq!(answer.results.iter().map(|result| result.count).sum::<u32>(), 8);
    let event =
        json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "x", "data": "event" });
    let request = server.post("/v1/topics/t/records?partition=3").header("delay", "250ms");
    let request =
        request.header("content-type", "application/cloudevents+json").body(event.to_string());
    assert_eq!(request.send().await.unwrap().status(), 202);
    // Each partition gets what it would have got at once, as a whole.
    let mut seen = 0;
    for result in &answer.results {
        let partition = result.partition;
        let path = format!("/v1/topics/t/records?partition={partition}&offset=0&wait=30s");
        let page = json(server.get(&path).send().await.unwrap()).await;
        let found = page["records"].as_array().unwrap();
        assert!(found.len() >= result.count as usize);
        seen += result.count;
    }
    assert_eq!(seen, 8);
    let store = json(server.get("/v1/topics/t.scheduled").send().await.unwrap()).await;
    assert_eq!(store["settings"]["partitions"], 4);
    server.end().await;
}

#[tokio::test]
async fn the_methods_of_connect_do_the_same() {
    let server = with_topic(1).await;
    let call = async |method: &str, body: Value| {
        let answer =
            server.post(&format!("/embermq.v1.{method}")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let batch = json!({ "records": [{ "value": "dg==" }] });
    let produce = json!({ "topic": "t", "batch": batch, "deliverAt": NEVER });
    let (status, answer) = call("RecordService/Produce", produce).await;
    assert_eq!(status, 200, "{answer}");
    let id = answer["results"][0]["schedule"].as_str().unwrap().to_owned();
    assert_eq!(answer["results"][0]["deliverAt"], NEVER);
    let both = json!({ "topic": "t", "batch": batch, "delay": "1s", "expectedNextOffset": "0" });
    assert_eq!(call("RecordService/Produce", both).await.0, 400);
    let append = json!({ "topic": "t", "batch": batch, "delay": "3600s" });
    let (status, answer) = call("CommitService/Commit", json!({ "appends": [append] })).await;
    assert_eq!(status, 200, "{answer}");
    let sooner = answer["appends"][0]["schedule"].as_str().unwrap().to_owned();
    let (_, list) =
        call("ScheduleService/ListSchedules", json!({ "topic": "t", "limit": 1 })).await;
    assert_eq!(
        (&list["schedules"][0]["schedule"], &list["nextAfter"]),
        (&json!(sooner), &json!(sooner))
    );
    let which = json!({ "topic": "t", "schedule": id });
    let (_, shown) = call("ScheduleService/GetSchedule", which.clone()).await;
    assert_eq!(shown["schedule"]["records"][0]["value"], "dg==");
    assert_eq!(call("ScheduleService/CancelSchedule", which.clone()).await, (200, json!({})));
    let (status, error) = call("ScheduleService/CancelSchedule", which).await;
    assert_eq!((status, &error["code"]), (404, &json!("not_found")));
    server.end().await;
}

#[tokio::test]
async fn a_store_grows_with_its_topic_and_goes_with_it() {
    let server = with_topic(1).await;
    put_off(&server, "v").await;
    let path = server.url("/v1/topics/t.scheduled");
    problem(server.client.delete(&path).send().await.unwrap(), 400, "invalid_argument").await;
    let more = json!({ "partitions": 3 }).to_string();
    server.client.patch(server.url("/v1/topics/t")).body(more).send().await.unwrap();
    let request = server.post("/v1/topics/t/records?partition=2&deliver_at=2099-01-01T00:00:00Z");
    assert_eq!(request.body("v").send().await.unwrap().status(), 202);
    let store = json(server.client.get(&path).send().await.unwrap()).await;
    assert_eq!(store["settings"]["partitions"], 3);
    let gone = server.client.delete(server.url("/v1/topics/t")).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    problem(server.client.get(&path).send().await.unwrap(), 404, "topic_not_found").await;
    let list = server.get("/v1/topics/t/schedules").send().await.unwrap();
    problem(list, 404, "topic_not_found").await;
    // Its name begins afresh.
    server.topic("t", 1).await;
    assert_eq!(schedules(&server, "").await, json!({ "schedules": [] }));
    put_off(&server, "v").await;
    server.end().await;
}

#[tokio::test]
async fn a_store_is_trimmed_behind_what_was_delivered() {
    let server = with_topic(1).await;
    let at = Timestamp::from_micros(server.broker.now().0 + 200_000).to_string();
    for number in 0..20 {
        let answer = send(&server, &[("Deliver-At", &at)], &number.to_string()).await;
        assert!(answer.status().is_success());
    }
    let store = "t.scheduled".parse().unwrap();
    loop {
        let topic = server.broker.topic(&store).unwrap();
        let (start, end) = (topic.partitions[0].start(), topic.partitions[0].end());
        if start == end && end.0 > 0 && server.records("t", 0).await.len() == 20 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let records = server.records("t", 0).await;
    let values: Vec<String> =
        records.iter().map(|record| record["value"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(values, expected, "in the order in which they were scheduled");
    server.end().await;
}

#[tokio::test]
async fn the_rust_client_schedules_shows_and_cancels() {
    let server = with_topic(1).await;
    let topic = Client::new(&server.url("")).unwrap().topic("t").unwrap();
    let at = When::At(NEVER.parse().unwrap());
    let records = [v1::Record::new("a"), v1::Record::new("b")];
    let deliveries = topic.produce_at(at, &records).await.unwrap();
    let first = deliveries[0].scheduled.clone().unwrap();
    assert_eq!(deliveries[1].scheduled.as_ref(), Some(&first), "they appear together");
    let producer =
        topic.producer().deliver(When::After(std::time::Duration::from_secs(3_600))).build();
    let sooner = producer.send(v1::Record::new("c")).await.unwrap().scheduled.unwrap();
    producer.close().await;
    topic.produce(&[v1::Record::new("work")]).await.unwrap();
    let group = topic.group("g").unwrap();
    let lease = group.lease(LeaseOptions::default()).await.unwrap().remove(0);
    let commit = lease.commit().append("t", v1::Record::new("now"));
    let commit = commit.append_at("t", at, v1::Record::new("again"));
    let committed = commit.cancel("t", &first.schedule).ack().await.unwrap();
    assert_eq!((committed.deliveries[0].offset, &committed.deliveries[0].scheduled), (1, &None));
    let again = committed.deliveries[1].scheduled.clone().unwrap();
    let page = topic.schedules("", 1).await.unwrap();
    assert_eq!(page.next_after, sooner.schedule);
    let page = topic.schedules(&page.next_after, 0).await.unwrap();
    let ids: Vec<&str> = page.schedules.iter().map(|one| one.schedule.as_str()).collect();
    assert_eq!((ids, page.next_after.as_str()), (vec![again.schedule.as_str()], ""));
    let shown = topic.schedule(&again.schedule).await.unwrap();
    assert_eq!(shown.records[0].value.as_deref(), Some(&b"again"[..]));
    topic.cancel_schedule(&again.schedule).await.unwrap();
    let gone = topic.cancel_schedule(&again.schedule).await.unwrap_err();
    assert_eq!(gone.code(), Some(Code::ScheduleNotFound));
    server.end().await;
}

#[tokio::test]
async fn a_commit_schedules_beside_a_dead_letter_and_is_repeated_harmlessly() {
    let server = with_topic(1).await;
    server.say("t", "poison").await;
    let token = server.lease("t", "g", 1).await[0]["token"].clone();
    let body = json!({
        "appends": [
            { "topic": "t", "records": [{ "value": "now" }] },
            { "topic": "t", "records": [{ "value": "later" }], "delay": "1h" },
        ],
        "settlements": [{ "token": token, "reject": { "reason": "on purpose" } }],
        "idempotency_key": "once",
    });
    let commit = || server.post("/v1/commits").json(&body).send();
    let first = json(commit().await.unwrap()).await;
    assert_eq!(first["settlements"][0]["dead_letter"]["offset"], 0, "{first}");
    let again = json(commit().await.unwrap()).await;
    assert_eq!((&again["appends"], &again["position"]), (&first["appends"], &first["position"]));
    let group = server.group("t", "g").await;
    assert_eq!((&group["dead"], &group["scheduled"]), (&json!(1), &json!(1)));
    let letters = server.records("t.g.dlq", 0).await;
    assert_eq!((letters.len(), &letters[0]["value"]), (1, &json!("poison")));
    let values: Vec<Value> =
        server.records("t", 0).await.iter().map(|record| record["value"].clone()).collect();
    assert_eq!(values, [json!("poison"), json!("now")]);
    let id = first["appends"][1]["schedule"].as_str().unwrap();
    let path = format!("/v1/topics/t/schedules/{id}");
    let shown = json(server.get(&path).send().await.unwrap()).await;
    assert_eq!(shown["records"][0]["value"], "later");
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("embermq_scheduled_records{topic=\"t\"} 1"), "{metrics}");
    server.end().await;
}
