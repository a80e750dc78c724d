//! The routes of the Open Inference Protocol, part of the one table.

use axum::routing::{get, post};
use embermq_protocol::{media, paths};
use serde_json::{Value, json};

use super::resource;
use crate::http::routes::{OK, Parameter, Route, head};

const INFER_PARAMETERS: &[Parameter] = &[head(
    "Inference-Header-Content-Length",
    "integer",
    "binary tensors: how many bytes of the body are JSON; the tensors follow",
)];
const INFER_TAKES: &[(&str, &str)] =
    &[(media::JSON, "InferenceRequest"), ("application/octet-stream", "Bytes")];
const INFER_GIVES: &[(&str, &str)] =
    &[(media::JSON, "InferenceResponse"), ("application/octet-stream", "Bytes")];

/// Something that is read.
const fn shown(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    schema: &'static [(&'static str, &'static str)],
    handler: fn() -> axum::routing::MethodRouter<std::sync::Arc<crate::http::shared::Shared>>,
) -> Route {
    Route {
        method: "GET",
        path,
        operation,
        summary,
        parameters: &[],
        takes: &[],
        gives: schema,
        succeeds: OK,
        handler,
    }
}

const fn infer(path: &'static str, operation: &'static str, summary: &'static str) -> Route {
    Route {
        method: "POST",
        path,
        operation,
        summary,
        parameters: INFER_PARAMETERS,
        takes: INFER_TAKES,
        gives: INFER_GIVES,
        succeeds: OK,
        handler: || post(resource::infer),
    }
}

const ANY: &[(&str, &str)] = &[(media::JSON, "Any")];
const MODEL: &[(&str, &str)] = &[(media::JSON, "InferenceModel")];

/// Every route of the protocol.
pub(in crate::http) static ROUTES: &[Route] = &[
    shown(
        paths::OPEN_INFERENCE,
        "inferenceServer",
        "Open Inference Protocol: what this server is.",
        ANY,
        || get(resource::server),
    ),
    shown(
        paths::OPEN_INFERENCE_LIVE,
        "inferenceLive",
        "Open Inference Protocol: the process lives.",
        ANY,
        || get(resource::live),
    ),
    shown(
        paths::OPEN_INFERENCE_READY,
        "inferenceReady",
        "Open Inference Protocol: it can take requests.",
        ANY,
        || get(resource::ready),
    ),
    shown(
        paths::OPEN_INFERENCE_MODEL,
        "inferenceModel",
        "Open Inference Protocol: inputs and outputs of a model.",
        MODEL,
        || get(resource::model),
    ),
    shown(
        paths::OPEN_INFERENCE_VERSION,
        "inferenceModelVersion",
        "The same of a version or alias.",
        MODEL,
        || get(resource::model),
    ),
    shown(
        paths::OPEN_INFERENCE_MODEL_READY,
        "inferenceModelReady",
        "Open Inference Protocol: whether a model answers; it is loaded, if it was not.",
        ANY,
        || get(resource::model_ready),
    ),
    shown(
        paths::OPEN_INFERENCE_VERSION_READY,
        "inferenceModelVersionReady",
        "The same of a version or alias.",
        ANY,
        || get(resource::model_ready),
    ),
    infer(
        paths::OPEN_INFERENCE_INFER,
        "infer",
        "Open Inference Protocol: tensors in, tensors out, past the log.",
    ),
    infer(paths::OPEN_INFERENCE_VERSION_INFER, "inferVersion", "The same by a version or alias."),
];

/// The schemas of what they take and give.
pub(in crate::http) fn schemas() -> Value {
    let port = json!({
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": { "type": "string" },
            "datatype": { "type": "string", "examples": ["FP32", "INT64", "BYTES"] },
            "shape": { "type": "array", "items": { "type": "integer", "description": "-1: it varies" } },
        },
    });
    let mut tensor = port.clone();
    tensor["properties"]["parameters"] = json!({ "type": "object" });
    tensor["properties"]["data"] =
        json!({ "type": "array", "description": "flat, or lists within lists" });
    let wanted = json!({
        "type": "object",
        "required": ["name"],
        "properties": { "name": { "type": "string" }, "parameters": { "type": "object" } },
    });
    json!({
        "OpenInferenceError": {
            "type": "object",
            "required": ["error"],
            "properties": { "error": { "type": "string" }, "code": { "type": "string" } },
        },
        "InferenceModel": {
            "type": "object",
            "required": ["name", "versions", "platform", "inputs", "outputs"],
            "properties": {
                "name": { "type": "string" },
                "versions": { "type": "array", "items": { "type": "string" } },
                "platform": { "type": "string" },
                "inputs": { "type": "array", "items": port },
                "outputs": { "type": "array", "items": port },
            },
        },
        "InferenceRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": { "type": "string" },
                "parameters": { "type": "object" },
                "inputs": { "type": "array", "items": tensor },
                "outputs": { "type": "array", "items": wanted },
            },
        },
        "InferenceResponse": {
            "type": "object",
            "required": ["model_name", "model_version", "outputs"],
            "properties": {
                "model_name": { "type": "string" },
                "model_version": { "type": "string" },
                "id": { "type": "string" },
                "outputs": { "type": "array", "items": tensor },
            },
        },
    })
}
