//! The routes of stages, part of the one table.

use axum::routing::{delete, get, post, put};
use embermq_protocol::{media, paths};
use serde_json::{Value, json};

use super::resource;
use crate::http::routes::{OK, Route};

const STAGE_OUT: &[(&str, &str)] = &[(media::JSON, "Stage")];

const fn verb(path: &'static str, operation: &'static str, summary: &'static str) -> Route {
    Route {
        method: "POST",
        path,
        operation,
        summary,
        parameters: &[],
        takes: &[],
        gives: STAGE_OUT,
        succeeds: OK,
        handler: || post(resource::verb),
    }
}

/// Every route of stages.
pub(in crate::http) static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: paths::STAGES,
        operation: "listStages",
        summary: "Lists the stages and how they are doing.",
        parameters: &[],
        takes: &[],
        gives: &[(media::JSON, "StageList")],
        succeeds: OK,
        handler: || get(resource::list),
    },
    Route {
        method: "PUT",
        path: paths::STAGE,
        operation: "putStage",
        summary: "Attaches a model to a topic, or changes how it is attached; what was begun is finished first.",
        parameters: &[],
        takes: &[(media::JSON, "StageConfig")],
        gives: STAGE_OUT,
        succeeds: &[(201, "made"), (200, "changed, or it was there like that")],
        handler: || put(resource::put),
    },
    Route {
        method: "GET",
        path: paths::STAGE,
        operation: "getStage",
        summary: "Shows a stage and how it is doing.",
        parameters: &[],
        takes: &[],
        gives: STAGE_OUT,
        succeeds: OK,
        handler: || get(resource::show),
    },
    Route {
        method: "DELETE",
        path: paths::STAGE,
        operation: "deleteStage",
        summary: "Removes a stage; what was begun is finished. Its group stays.",
        parameters: &[],
        takes: &[],
        gives: &[],
        succeeds: &[(204, "removed")],
        handler: || delete(resource::remove),
    },
    verb("/v1/stages/{stage}:pause", "pauseStage", "Lets a stage lease nothing more."),
    verb("/v1/stages/{stage}:resume", "resumeStage", "Lets a stage go on."),
];

/// The schemas of what they take and give.
pub(in crate::http) fn schemas() -> Value {
    let settings = json!({
        "input": { "type": "string" },
        "model": { "type": "string", "description": "name@version or name@alias; a name alone: its alias champion, else its latest version" },
        "output": { "type": "string" },
        "ordering": { "enum": ["none", "key", "partition"] },
        "max_batch_size": { "type": "integer", "minimum": 1, "maximum": 1024 },
        "max_batch_bytes": { "type": "integer", "minimum": 1 },
        "max_queue_delay": { "type": "string", "description": "how long a record waits for others to fill its batch; 0s by default" },
        "instances": { "type": "integer", "minimum": 1, "maximum": 256 },
        "timeout": { "type": "string" },
        "max_attempts": { "type": "integer", "minimum": 1 },
        "backoff": { "type": "object" },
        "dead_letter_topic": { "type": "string" },
        "filter": { "type": "string" },
        "on_nonfinite": { "enum": ["dlq", "pass"] },
        "answer": {
            "enum": ["payload", "headers"],
            "description": "where an output has the answer; headers: its payload, content type and headers are those of the input, the answer is in x-answer-{stage}, and of classes the best in x-label-{stage} and x-score-{stage}"
        },
        "pre": {
            "type": "object",
            "description": "keys of [pre] of the model's model.toml that are to be others, spelt as there; null takes one away",
            "additionalProperties": true,
        },
        "post": {
            "type": "object",
            "description": "keys of [post] of the model's model.toml that are to be others, as with pre",
            "additionalProperties": true,
        },
        "loops": { "type": "boolean" },
        "paused": { "type": "boolean" },
    });
    let mut shown = settings.clone();
    shown["stage"] = json!({ "type": "string" });
    shown["status"] = json!({ "type": "object" });
    json!({
        "StageConfig": {
            "type": "object",
            "required": ["input", "model", "output"],
            "additionalProperties": false,
            "properties": settings,
        },
        "Stage": { "type": "object", "required": ["stage", "status"], "properties": shown },
        "StageList": {
            "type": "object",
            "required": ["stages"],
            "properties": { "stages": { "type": "array", "items": { "$ref": "#/components/schemas/Stage" } } },
        },
    })
}
