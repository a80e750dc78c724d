//! The routes of models, part of the one table.

use axum::routing::{delete, get, put};
use embermq_protocol::{media, paths};
use serde_json::{Value, json};

use super::resource;
use crate::http::routes::{OK, Parameter, Route, query};

const AS_OF: &[Parameter] = &[query(
    "as_of",
    "string",
    "an offset of the topic `_models`, or an RFC 3339 time: what was registered with that event, or at that time",
)];
const SHA256: &[Parameter] =
    &[query("sha256", "string", "SHA-256 of the body in hexadecimal; refused when it is another")];
const VERSION_OUT: &[(&str, &str)] = &[(media::JSON, "ModelVersion")];

/// Every route of models.
pub(in crate::http) static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: paths::MODELS,
        operation: "listModels",
        summary: "Lists the models with their versions and aliases.",
        parameters: AS_OF,
        takes: &[],
        gives: &[(media::JSON, "ModelList")],
        succeeds: OK,
        handler: || get(resource::list),
    },
    Route {
        method: "GET",
        path: paths::MODEL,
        operation: "getModel",
        summary: "Shows a model, its versions and its aliases.",
        parameters: AS_OF,
        takes: &[],
        gives: &[(media::JSON, "Model")],
        succeeds: OK,
        handler: || get(resource::show),
    },
    Route {
        method: "PUT",
        path: paths::MODEL_VERSION,
        operation: "registerModel",
        summary: "Registers a version: an ONNX file, or a tar archive with model.onnx and model.toml. It is loaded and warmed up first; what \
                  cannot be run is not registered.",
        parameters: SHA256,
        takes: &[("application/octet-stream", "Bytes"), ("application/x-tar", "Bytes")],
        gives: VERSION_OUT,
        succeeds: &[(201, "registered"), (200, "it was there with the same files")],
        handler: || put(resource::register),
    },
    Route {
        method: "GET",
        path: paths::MODEL_VERSION,
        operation: "getModelVersion",
        summary: "Shows a version of a model.",
        parameters: AS_OF,
        takes: &[],
        gives: VERSION_OUT,
        succeeds: OK,
        handler: || get(resource::show_version),
    },
    Route {
        method: "DELETE",
        path: paths::MODEL_VERSION,
        operation: "deleteModelVersion",
        summary: "Deletes a version that no stage uses.",
        parameters: &[],
        takes: &[],
        gives: &[],
        succeeds: &[(204, "deleted")],
        handler: || delete(resource::delete_version),
    },
    Route {
        method: "PUT",
        path: paths::MODEL_ALIAS,
        operation: "setModelAlias",
        summary: "Lets an alias mean a version. Stages that follow the alias use it from their next batch on.",
        parameters: &[],
        takes: &[(media::JSON, "ModelAliasIn")],
        gives: &[(media::JSON, "ModelAlias")],
        succeeds: OK,
        handler: || put(resource::set_alias),
    },
    Route {
        method: "DELETE",
        path: paths::MODEL_ALIAS,
        operation: "removeModelAlias",
        summary: "Takes an alias away that no stage names.",
        parameters: &[],
        takes: &[],
        gives: &[],
        succeeds: &[(204, "removed")],
        handler: || delete(resource::remove_alias),
    },
];

/// The schemas of what they take and give.
pub(in crate::http) fn schemas() -> Value {
    json!({
        "ModelVersion": {
            "type": "object",
            "required": ["model", "version", "digest", "bytes", "registered"],
            "properties": {
                "model": { "type": "string" },
                "version": { "type": "string" },
                "digest": { "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" },
                "bytes": { "type": "integer" },
                "registered": { "type": "string", "format": "date-time" },
            },
        },
        "Model": {
            "type": "object",
            "required": ["model", "versions", "aliases"],
            "properties": {
                "model": { "type": "string" },
                "versions": { "type": "array", "items": { "$ref": "#/components/schemas/ModelVersion" } },
                "aliases": { "type": "object", "additionalProperties": { "type": "string" } },
            },
        },
        "ModelList": {
            "type": "object",
            "required": ["models"],
            "properties": { "models": { "type": "array", "items": { "$ref": "#/components/schemas/Model" } } },
        },
        "ModelAliasIn": {
            "type": "object",
            "required": ["version"],
            "additionalProperties": false,
            "properties": { "version": { "type": "string" } },
        },
        "ModelAlias": {
            "type": "object",
            "required": ["model", "alias", "version"],
            "properties": {
                "model": { "type": "string" },
                "alias": { "type": "string" },
                "version": { "type": "string" },
            },
        },
    })
}
