//! The Open Inference Protocol: a real model in both forms of tensors, and all that can be wrong with a request.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use embermq::http::{ServeOptions, Serving};
use embermq::models::{
    Datatype, DirectOptions, Elements, Loader, Models, RawTensor, TensorFault, TensorModel,
    TensorPort,
};
use embermq::{Broker, Fault, Identity, Output, Processor, Record, Roster};
use parking_lot::Mutex;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Running, json, start, start_serving, start_serving_with};

async fn serving(loader: Arc<dyn Loader>, broker: Broker, data: PathBuf) -> Serving {
    let models = Arc::new(Models::open(&broker, &data, loader).await.unwrap());
    let stages = Arc::new(Roster::open(&broker, Arc::clone(&models)).await.unwrap());
    Serving { models, stages }
}

async fn register(server: &Running, place: &str, body: Vec<u8>) {
    let answer = server.put(&format!("/v1/models/{place}")).body(body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
}

/// The error of an answer, which has the form of the protocol.
async fn error(answer: Response, status: u16, says: &str) {
    let found = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert!(body["error"].as_str().unwrap().contains(says), "{text}");
}

#[cfg(feature = "inference")]
mod onnx {
    use embermq::models::OnnxLoader;

    use super::*;

    fn iris(file: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inference/models/iris-mlp");
        std::fs::read(folder.join(file)).unwrap()
    }

    fn near(found: f64, expected: &Value) -> bool {
        (found - expected.as_f64().unwrap()).abs() < 1e-5
    }

    async fn started() -> Running {
        let loader = || Arc::new(OnnxLoader::default());
        let server =
            start_serving(async |broker, data| serving(loader(), broker, data).await).await;
        register(&server, "iris/versions/1", iris("model.onnx")).await;
        server
    }

    #[tokio::test]
    async fn a_model_answers_in_json_and_in_bytes_as_it_should() {
        let server = started().await;
        let golden: Value = serde_json::from_slice(&iris("golden.json")).unwrap();
        let rows = golden["rows"].as_array().unwrap();
        let features: Vec<&Value> = rows.iter().map(|row| &row["features"]).collect();
        let request = json!({
            "id": "seven",
            "inputs": [{ "name": "features", "datatype": "FP32", "shape": [rows.len(), 4], "data": features }],
        });
        let path = "/v2/models/iris/infer";
        let answer = json(server.post(path).json(&request).send().await.unwrap()).await;
        assert_eq!(
            (&answer["model_name"], &answer["model_version"]),
            (&json!("iris"), &json!("1"))
        );
        assert_eq!(answer["id"], "seven");
        let output = |name: &str| {
            let all = answer["outputs"].as_array().unwrap();
            all.iter().find(|output| output["name"] == name).unwrap().clone()
        };
        let (probabilities, labels) = (output("probabilities"), output("label"));
        assert_eq!(probabilities["shape"], json!([rows.len(), 3]));
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(labels["data"][at], row["label"]);
            for class in 0..3 {
                let found = probabilities["data"][at * 3 + class].as_f64().unwrap();
                assert!(near(found, &row["probabilities"][class]), "{at} {class}");
            }
        }

        let values = features.iter().flat_map(|row| row.as_array().unwrap());
        let bytes: Vec<u8> = values
            .flat_map(|value| {
                let text = value.to_string();
                text.parse::<f32>().unwrap().to_le_bytes()
            })
            .collect();
        let head = json!({
            "inputs": [{
                "name": "features", "datatype": "FP32", "shape": [rows.len(), 4],
                "parameters": { "binary_data_size": bytes.len() },
            }],
            "outputs": [
                { "name": "label" },
                { "name": "probabilities", "parameters": { "binary_data": true } },
            ],
        })
        .to_string();
        let path = "/v2/models/iris/versions/1/infer";
        let request = server.post(path).header("Inference-Header-Content-Length", head.len());
        let body = [head.as_bytes(), &bytes].concat();
        let answered = request.body(body).send().await.unwrap();
        assert_eq!(answered.headers()["content-type"], "application/octet-stream");
        let length = answered.headers()["inference-header-content-length"].to_str().unwrap();
        let length: usize = length.parse().unwrap();
        let body = answered.bytes().await.unwrap();
        let again: Value = serde_json::from_slice(&body[..length]).unwrap();
        let shown: Vec<&Value> = again["outputs"].as_array().unwrap().iter().collect();
        assert_eq!(shown.len(), 2);
        let label = shown.iter().find(|output| output["name"] == "label").unwrap();
        assert_eq!(label["data"], labels["data"]);
        let (floats, rest) = body[length..].as_chunks::<4>();
        assert!(rest.is_empty());
        assert_eq!(floats.len(), rows.len() * 3);
        for (at, bytes) in floats.iter().enumerate() {
            let row = &rows[at / 3]["probabilities"][at % 3];
            assert!(near(f32::from_le_bytes(*bytes).into(), row), "{at}");
        }
        server.end().await;
    }

    #[tokio::test]
    async fn a_model_says_what_it_takes_and_gives() {
        let server = started().await;
        let about = json(server.get("/v2").send().await.unwrap()).await;
        assert_eq!(about["extensions"], json!(["binary_tensor_data"]));
        for path in ["/v2/health/live", "/v2/health/ready", "/v2/models/iris/ready"] {
            json(server.get(path).send().await.unwrap()).await;
        }
        let expected = json!({
            "name": "iris", "versions": ["1"], "platform": "embermq_onnx",
            "inputs": [{ "name": "features", "datatype": "FP32", "shape": [-1, 4] }],
            "outputs": [
                { "name": "probabilities", "datatype": "FP32", "shape": [-1, 3] },
                { "name": "label", "datatype": "INT64", "shape": [-1] },
            ],
        });
        let champion = json!({ "version": "1" });
        let alias = server.put("/v1/models/iris/aliases/champion").json(&champion);
        json(alias.send().await.unwrap()).await;
        for path in
            ["/v2/models/iris", "/v2/models/iris/versions/1", "/v2/models/iris/versions/champion"]
        {
            let found = json(server.get(path).send().await.unwrap()).await;
            assert_eq!(found, expected, "{path}");
        }
        server.end().await;
    }
}

/// Doubles what it gets: `x` to `y`, and the texts `t` to `u`. 13 panics, 14 waits to be let go, 15 is a fault of the request.
#[derive(Clone, Debug, Default)]
struct Doubles {
    gate: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
    begun: Arc<tokio::sync::Notify>,
}

#[derive(Debug)]
struct Double(Identity, Doubles);

impl Loader for Doubles {
    fn load(&self, _folder: &Path, identity: Identity) -> Result<Arc<dyn Processor>, Vec<String>> {
        Ok(Arc::new(Double(identity, self.clone())))
    }
}

impl Processor for Double {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn tensors(&self) -> Option<&dyn TensorModel> {
        (self.0.name != "mute").then_some(self)
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        let fault = |_| {
            let text = || "not here".to_owned();
            Err(Fault { retryable: false, code: text(), message: text() })
        };
        batch.iter().map(fault).collect()
    }
}

fn port(name: &str, datatype: Datatype) -> TensorPort {
    TensorPort { name: name.to_owned(), datatype: Some(datatype), shape: Some(vec![None]) }
}

impl TensorModel for Double {
    fn platform(&self) -> &'static str {
        "test"
    }

    fn inputs(&self) -> Vec<TensorPort> {
        vec![port("x", Datatype::I64), port("t", Datatype::Bytes)]
    }

    fn outputs(&self) -> Vec<TensorPort> {
        vec![port("y", Datatype::I64), port("u", Datatype::Bytes)]
    }

    fn run(
        &self,
        inputs: Vec<RawTensor>,
        _wanted: &[bool],
        _bytes_max: usize,
    ) -> Result<Vec<Option<RawTensor>>, TensorFault> {
        let [x, t] = <[RawTensor; 2]>::try_from(inputs).unwrap();
        let (Elements::Raw(bytes), Elements::Texts(texts)) = (x.elements, t.elements) else {
            return Err(TensorFault::Model { what: "other elements".to_owned() });
        };
        let numbers: Vec<i64> =
            bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
        match numbers.first() {
            Some(13) => panic!("as asked"),
            Some(14) => {
                self.1.begun.notify_one();
                if let Some(gate) = &*self.1.gate.lock() {
                    gate.recv().ok();
                }
            }
            Some(15) => return Err(TensorFault::Request { what: "fifteen".to_owned() }),
            _ => {}
        }
        let doubled: Vec<u8> = numbers.iter().flat_map(|n| (n * 2).to_le_bytes()).collect();
        let texts = texts.iter().map(|text| text.repeat(2)).collect();
        Ok(vec![
            Some(RawTensor {
                datatype: Datatype::I64,
                shape: x.shape,
                elements: Elements::Raw(doubled.into()),
            }),
            Some(RawTensor {
                datatype: Datatype::Bytes,
                shape: t.shape,
                elements: Elements::Texts(texts),
            }),
        ])
    }
}

async fn doubling(model: &Doubles, direct: DirectOptions) -> Running {
    let options = ServeOptions { direct, ..ServeOptions::default() };
    let loader = || Arc::new(model.clone());
    let server =
        start_serving_with(options, async |broker, data| serving(loader(), broker, data).await)
            .await;
    register(&server, "m/versions/1", b"1".to_vec()).await;
    server
}

fn asking(numbers: &[i64]) -> Value {
    json!({ "inputs": [
        { "name": "x", "datatype": "INT64", "shape": [numbers.len()], "data": numbers },
        { "name": "t", "datatype": "BYTES", "shape": [1], "data": ["ab"] },
    ]})
}

async fn infer(server: &Running, body: &Value) -> Response {
    server.post("/v2/models/m/infer").json(body).send().await.unwrap()
}

#[tokio::test]
async fn texts_and_large_numbers_come_through_whole() {
    let server = doubling(&Doubles::default(), DirectOptions::default()).await;
    let answer = json(infer(&server, &asking(&[1, 4_611_686_018_427_387_903])).await).await;
    assert_eq!(answer["outputs"][0]["data"], json!([2, 9_223_372_036_854_775_806_i64]));
    assert_eq!(answer["outputs"][1]["data"], json!(["abab"]));
    let mut binary = asking(&[]);
    binary["parameters"] = json!({ "binary_data_output": true });
    let answer = infer(&server, &binary).await;
    let length = answer.headers()["inference-header-content-length"].to_str().unwrap();
    let length: usize = length.parse().unwrap();
    assert_eq!(answer.bytes().await.unwrap()[length..], *b"\x04\0\0\0abab");
    server.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_in_the_protocols_form() {
    let server = doubling(&Doubles::default(), DirectOptions::default()).await;
    let get = async |path: &str| server.get(path).send().await.unwrap();
    error(get("/v2/models/none").await, 404, "no model").await;
    error(get("/v2/models/none/ready").await, 404, "no model").await;
    error(get("/v2/models/m/versions/9").await, 404, "its versions are 1, its aliases none").await;
    error(get("/v2/models/m%20m").await, 400, "model name").await;
    error(get("/v2/nothing").await, 404, "no route").await;
    error(get("/v2/models/m/infer").await, 405, "has no method GET").await;
    error(get("/v2/models/m?x=1").await, 400, "no query parameter").await;
    let post = async |body: &str| {
        let request = server.post("/v2/models/m/infer").body(body.to_owned());
        request.send().await.unwrap()
    };
    error(post("").await, 400, "no inference").await;
    error(post("{\"inputs\":7}").await, 400, "no inference").await;
    error(post("{\"inputs\":[]}").await, 400, "inputs are missing: x, t").await;
    error(infer(&server, &asking(&[15])).await, 400, "fifteen").await;
    error(infer(&server, &asking(&[13])).await, 500, "panicked: as asked").await;
    let answer = json(infer(&server, &asking(&[7])).await).await;
    assert_eq!(answer["outputs"][0]["data"], json!([14]));
    for length in ["x", "-1", "99999999999999999999", "5"] {
        let request = server.post("/v2/models/m/infer").body("{}");
        let request = request.header("Inference-Header-Content-Length", length);
        error(request.send().await.unwrap(), 400, "").await;
    }
    let huge = server.post("/v2/models/m/infer").body(vec![b' '; (64 << 20) + 1]);
    error(huge.send().await.unwrap(), 413, "the limit of").await;
    register(&server, "mute/versions/1", b"2".to_vec()).await;
    error(get("/v2/models/mute").await, 400, "takes no tensors").await;
    server.end().await;
}

#[tokio::test]
async fn a_server_without_models_says_so() {
    let server = start().await;
    json(server.get("/v2").send().await.unwrap()).await;
    error(server.get("/v2/models/m").send().await.unwrap(), 501, "without models").await;
    server.end().await;
}

#[tokio::test]
async fn a_version_that_is_deleted_answers_no_more() {
    let server = doubling(&Doubles::default(), DirectOptions::default()).await;
    register(&server, "m/versions/2", b"2".to_vec()).await;
    let latest = json(infer(&server, &asking(&[1])).await).await;
    assert_eq!(latest["model_version"], "2");
    let path = server.url("/v1/models/m/versions/2");
    assert_eq!(server.client.delete(path).send().await.unwrap().status(), 204);
    let latest = json(infer(&server, &asking(&[1])).await).await;
    assert_eq!(latest["model_version"], "1");
    let gone = server.get("/v2/models/m/versions/2/ready").send().await.unwrap();
    error(gone, 404, "its versions are 1, its aliases none").await;
    server.end().await;
}

#[tokio::test]
async fn a_full_queue_is_a_reason_to_come_again() {
    let model = Doubles::default();
    let (release, held) = mpsc::channel();
    *model.gate.lock() = Some(held);
    let options = DirectOptions { threads: 1, queue_max: 1, ..DirectOptions::default() };
    let server = doubling(&model, options).await;
    let mut asked = Vec::new();
    for _ in 0..2 {
        let request = server.post("/v2/models/m/infer").json(&asking(&[14]));
        asked.push(tokio::spawn(async move { request.send().await.unwrap() }));
        if asked.len() == 1 {
            model.begun.notified().await;
        }
    }
    // The second one may still be on its way: until it waits, this one is the one that does.
    let refused = loop {
        let request = server.post("/v2/models/m/infer").json(&asking(&[1]));
        let answer = tokio::time::timeout(Duration::from_millis(100), request.send()).await;
        if let Ok(answer) = answer {
            break answer.unwrap();
        }
    };
    assert_eq!(refused.headers()["retry-after"], "1");
    error(refused, 429, "calls of this model wait already").await;
    for _ in 0..2 {
        release.send(()).unwrap();
    }
    for answer in asked {
        assert!(matches!(answer.await.unwrap().status().as_u16(), 200 | 429));
    }
    server.end().await;
}

#[tokio::test]
async fn a_model_that_hangs_is_given_up() {
    let model = Doubles::default();
    let (release, held) = mpsc::channel::<()>();
    *model.gate.lock() = Some(held);
    let options = DirectOptions {
        threads: 1,
        timeout: Duration::from_millis(300),
        ..DirectOptions::default()
    };
    let server = doubling(&model, options).await;
    error(infer(&server, &asking(&[14])).await, 504, "did not answer within").await;
    let answer = json(infer(&server, &asking(&[1])).await).await;
    assert_eq!(answer["outputs"][0]["data"], json!([2]));
    drop(release);
    server.end().await;
}
