//! The routes of calls, part of the one table.

use axum::routing::{get, post};
use embermq_protocol::{media, paths};
use serde_json::{Value, json};

use super::{call, show};
use crate::http::routes::{OK, Parameter, Route, head, query};

const WAIT: Parameter = head(
    "Prefer",
    "string",
    "`wait=10`: how many seconds to wait for the end, at most 30; `respond-async`: not at all",
);

const CALL_PARAMETERS: &[Parameter] = &[
    query(
        "stage",
        "string",
        "whose answer is wanted; may be left out where one stage reads the topic",
    ),
    WAIT,
    query("partition", "integer", "where the record goes; unset: by key, else spread"),
    query("durability", "string", "`fsync` or `os`; stronger than the topic's, never weaker"),
    head("Key", "string", "key of the record of a raw body"),
    head(
        "Idempotency-Key",
        "string",
        "a repeat with the same key and payload produces nothing and gets the answer to the first",
    ),
];

/// Every route of calls.
pub(in crate::http) static ROUTES: &[Route] = &[
    Route {
        method: "POST",
        path: paths::CALL,
        operation: "call",
        summary: "Produces one record, waits for what a stage makes of it, and answers with that.",
        parameters: CALL_PARAMETERS,
        takes: &[(media::JSON, "Any"), (media::CLOUDEVENT, "CloudEvent"), ("*/*", "Bytes")],
        gives: &[("*/*", "Bytes"), (media::JSON, "Request")],
        succeeds: &[
            (200, "the value of the output record; what made it is in headers"),
            (202, "produced, and not answered in time: ask for it at Location"),
        ],
        handler: || post(call::call),
    },
    Route {
        method: "GET",
        path: paths::REQUEST,
        operation: "getRequest",
        summary: "Says what became of a call, with its result when there is one.",
        parameters: &[WAIT],
        takes: &[],
        gives: &[(media::JSON, "Request")],
        succeeds: OK,
        handler: || get(show::show),
    },
];

/// The schemas of what they give.
pub(in crate::http) fn schemas() -> Value {
    json!({
        "Request": {
            "type": "object",
            "required": ["id", "state", "stage", "topic", "partition", "offset"],
            "properties": {
                "id": { "type": "string" },
                "state": { "enum": ["queued", "running", "failed", "succeeded", "dead_lettered", "passed_over"] },
                "stage": { "type": "string" },
                "topic": { "type": "string" },
                "partition": { "type": "integer" },
                "offset": { "type": "integer" },
                "attempt": { "type": "integer", "description": "running: which attempt this is" },
                "attempts": { "type": "integer", "description": "failed: how many there were" },
                "next_attempt_at": { "type": "string", "format": "date-time" },
                "result": { "$ref": "#/components/schemas/Record" },
                "dead_letter": {
                    "type": "object",
                    "properties": {
                        "topic": { "type": "string" },
                        "partition": { "type": "integer" },
                        "offset": { "type": "integer" },
                        "reason": { "enum": ["rejected", "failed", "lapsed"] },
                        "error": { "type": ["string", "null"] },
                        "attempts": { "type": ["integer", "null"] },
                    },
                },
            },
        },
    })
}
