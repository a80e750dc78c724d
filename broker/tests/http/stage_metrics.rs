//! `/metrics` of stages, models and webhooks: what was sent and what came of it, to the record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use embermq::models::{Loader, ModelMeter, Models};
use embermq::{Broker, Fault, Identity, Output, Processor, Record, Roster};
use serde_json::{Value, json};

use crate::harness::{Running, json as body, start_serving};

/// Takes everything but `bad`, which it refuses for good, and `weak`, which it refuses for now.
#[derive(Debug)]
struct Fussy(Identity, Arc<ModelMeter>);

#[derive(Debug)]
struct Fussies;

impl Loader for Fussies {
    fn load(&self, _: &Path, identity: Identity) -> Result<Arc<dyn Processor>, Vec<String>> {
        Ok(Arc::new(Fussy(identity, Arc::default())))
    }
}

impl Processor for Fussy {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn meter(&self) -> Option<Arc<ModelMeter>> {
        Some(Arc::clone(&self.1))
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        let one = |record: &Record| {
            let value = record.value.clone().unwrap_or_default();
            if matches!(&value[..], b"bad" | b"weak") {
                let (code, message) = ("fussy".to_owned(), "as asked".to_owned());
                return Err(Fault { retryable: &value[..] == b"weak", code, message });
            }
            self.1.compute_seconds.observe_duration(Duration::from_millis(3));
            let content_type = "text/plain".to_owned();
            let took = Duration::ZERO;
            Ok(Output { value, content_type, nonfinite: false, took, batch_size: None })
        };
        batch.iter().map(one).collect()
    }
}

async fn serving(broker: Broker, data: PathBuf) -> embermq::http::Serving {
    let models = Arc::new(Models::open(&broker, &data, Arc::new(Fussies)).await.unwrap());
    let stages = Arc::new(Roster::open(&broker, Arc::clone(&models)).await.unwrap());
    embermq::http::Serving { models, stages }
}

async fn started() -> Running {
    start_serving(serving).await
}

/// A scrape, checked for what every exposition promises: by series, with its labels as they are written.
pub(crate) struct Page(BTreeMap<String, f64>);

impl Page {
    pub(crate) async fn of(server: &Running) -> Self {
        let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
        let mut series = BTreeMap::new();
        let mut families = BTreeSet::new();
        assert!(text.ends_with("# EOF\n"));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(
                    families.insert(rest.split(' ').next().unwrap().to_owned()),
                    "twice: {line}"
                );
            }
            if line.starts_with('#') {
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            let known = ["", "_total", "_bucket", "_sum", "_count"].iter().any(|suffix| {
                family.strip_suffix(suffix).is_some_and(|family| families.contains(family))
            });
            assert!(known, "no type: {line}");
            let value = value.parse().unwrap();
            assert!(series.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
        Self(series)
    }

    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> f64 {
        let found = self.0.get(&format!("embermq_{name}"));
        *found
            .unwrap_or_else(|| panic!("{name} is not there: {:#?}", self.having("embermq_stage_")))
    }

    pub(crate) fn having(&self, text: &str) -> Vec<&String> {
        self.0.keys().filter(|name| name.contains(text)).collect()
    }
}

async fn stage(server: &Running) -> Value {
    body(server.get("/v1/stages/s").send().await.unwrap()).await
}

/// Once the stage has worked all off.
async fn done(server: &Running, dead: u64, succeeded: u64) -> Value {
    loop {
        let stage = stage(server).await;
        let status = &stage["status"];
        if status["lag"]["records"] == 0
            && status["dead_letters_open"] == dead
            && status["succeeded"] == succeeded
        {
            return stage;
        }
        tokio::task::yield_now().await;
    }
}

async fn crown(server: &Running, version: &str) {
    let champion = json!({ "version": version }).to_string();
    let request = server.put("/v1/models/m/aliases/champion").body(champion);
    assert!(request.send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn what_stages_and_models_count_is_what_happened_also_across_a_swap() {
    let server = started().await;
    server.topic("in", 1).await;
    server.topic("out", 1).await;
    for version in ["1", "2"] {
        let request = server.put(&format!("/v1/models/m/versions/{version}")).body(version);
        assert!(request.send().await.unwrap().status().is_success());
    }
    crown(&server, "1").await;
    let config = json!({
        "input": "in", "output": "out", "model": "m@champion", "max_attempts": 2,
        "backoff": { "initial": "1ms", "max": "1ms" },
    });
    let put = server.put("/v1/stages/s").body(config.to_string()).send().await.unwrap();
    assert!(put.status().is_success());
    for value in ["a", "b", "bad", "c", "weak", "d", "e"] {
        server.say("in", value).await;
    }
    let mut shown = done(&server, 2, 5).await;
    // What was committed is counted a moment later.
    while shown["status"]["dead"] != 2 {
        tokio::task::yield_now().await;
        shown = stage(&server).await;
    }
    assert_eq!(shown["status"]["failed"], 2);
    assert_eq!(shown["status"]["last_failure"]["error"], "fussy: as asked");

    let page = Page::of(&server).await;
    let one = r#"stage="s",model="m",version="1""#;
    for (name, expected) in [
        (format!("stage_records_total{{{one},outcome=\"ok\"}}"), 5.0),
        (format!("stage_records_total{{{one},outcome=\"failed\"}}"), 2.0),
        (format!("stage_records_total{{{one},outcome=\"dead\"}}"), 2.0),
        (format!("stage_retries_total{{{one}}}"), 1.0),
        (format!("stage_queue_duration_seconds_count{{{one}}}"), 7.0),
        (format!("stage_batch_size_sum{{{one}}}"), 8.0),
        ("stage_abandoned_calls_total{stage=\"s\"}".to_owned(), 0.0),
        ("stage_lag_records{stage=\"s\"}".to_owned(), 0.0),
        ("stage_lag_seconds{stage=\"s\"}".to_owned(), 0.0),
        ("inference_compute_duration_seconds_count{model=\"m\",version=\"1\"}".to_owned(), 5.0),
        (
            "inference_compute_duration_seconds_bucket{le=\"0.002\",model=\"m\",version=\"1\"}"
                .to_owned(),
            0.0,
        ),
    ] {
        assert!((page.value(&name) - expected).abs() < 1e-9, "{name}: {}", page.value(&name));
    }
    let batches = page.value(&format!("stage_batches_total{{{one}}}"));
    let sizes = page.value(&format!("stage_batch_size_count{{{one}}}"));
    let times = page.value(&format!("stage_batch_duration_seconds_count{{{one}}}"));
    assert!((2.0..=8.0).contains(&batches), "{batches}");
    assert!((batches - sizes).abs() < 1e-9 && (batches - times).abs() < 1e-9);
    assert_eq!(page.having("embermq_stage_info").len(), 1);
    assert_eq!(page.having("embermq_model_info").len(), 1);
    assert_eq!(page.having("embermq_model_load_duration_seconds").len(), 1);

    crown(&server, "2").await;
    server.say("in", "f").await;
    server.say("in", "g").await;
    done(&server, 2, 7).await;
    let page = Page::of(&server).await;
    let ok = |version: &str| {
        page.value(&format!(
            r#"stage_records_total{{stage="s",model="m",version="{version}",outcome="ok"}}"#
        ))
    };
    assert!((ok("1") - 5.0).abs() < 1e-9 && (ok("2") - 2.0).abs() < 1e-9);
    let info = page.having("embermq_stage_info");
    assert!(info.len() == 1 && info[0].contains("version=\"2\""), "{info:?}");
    let info = page.having("embermq_model_info");
    assert!(info.len() == 1 && info[0].contains("version=\"2\""), "{info:?}");

    let deleted = server.client.delete(server.url("/v1/stages/s")).send().await.unwrap();
    assert!(deleted.status().is_success());
    let page = Page::of(&server).await;
    assert!(page.having("embermq_stage_").is_empty(), "{:?}", page.having("embermq_stage_"));
    assert!(page.having("embermq_model_info").is_empty());
    server.end().await;
}

#[tokio::test]
async fn a_stage_that_does_not_run_still_shows_its_state_and_its_lag() {
    let server = started().await;
    server.topic("in", 1).await;
    server.topic("out", 1).await;
    let request = server.put("/v1/models/m/versions/1").body("1");
    assert!(request.send().await.unwrap().status().is_success());
    let config = json!({ "input": "in", "output": "out", "model": "m", "paused": true });
    let put = server.put("/v1/stages/s").body(config.to_string()).send().await.unwrap();
    assert!(put.status().is_success());
    for value in ["a", "b", "c"] {
        server.say("in", value).await;
    }
    let state = |page: &Page, state: &str| {
        page.value(&format!("stage_state{{stage=\"s\",state=\"{state}\"}}"))
    };
    let page = Page::of(&server).await;
    assert!((state(&page, "paused") - 1.0).abs() < 1e-9 && state(&page, "running").abs() < 1e-9);
    assert!(page.value("stage_cannot_follow{stage=\"s\"}").abs() < 1e-9);
    assert_eq!(page.having("embermq_stage_info").len(), 1);

    // Nobody tends this one, so that nothing is started.
    let server = server.restarted(serving).await;
    let page = Page::of(&server).await;
    assert!(page.having("embermq_stage_info").is_empty());
    assert!((state(&page, "starting") - 1.0).abs() < 1e-9 && state(&page, "paused").abs() < 1e-9);
    assert!((page.value("stage_lag_records{stage=\"s\"}") - 3.0).abs() < 1e-9);
    server.end().await;
}
