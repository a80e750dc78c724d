//! The routes of keys, part of the one table.

use axum::routing::{get, post};
use embermq_protocol::{media, paths};
use serde_json::{Value, json};

use super::resource;
use crate::http::connect;
use crate::http::routes::{OK, Parameter, Route, query, rpc};

const ENCODING: Parameter = query("encoding", "string", "`base64`: every key and value as base64");
const LIMIT: Parameter =
    query("limit", "integer", "at most this many, 100 by default, 1,000 at most");

pub(in crate::http) static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: paths::KEY,
        operation: "readKey",
        summary: "Shows the latest record of a key, or with `history` all of them, newest first. Any other media type is the bare value.",
        parameters: &[
            query("as_of", "string", "an offset or an RFC 3339 time: nothing behind it counts"),
            query(
                "partition",
                "integer",
                "unset: the key's own; when it has no record of the key, all others",
            ),
            query("history", "boolean", "all records of the key, newest first"),
            query("before", "integer", "with history: only records below this offset"),
            LIMIT,
            ENCODING,
        ],
        takes: &[],
        gives: &[
            (media::JSON, "KeyRecordOrHistory"),
            (media::NDJSON, "Lines"),
            (media::PROTOBUF, "embermq.v1.ReadKeyResponse"),
            ("*/*", "Bytes"),
        ],
        succeeds: &[
            (200, "the record; `Key-Version` has its offset"),
            (204, "as a bare value: the record has none"),
        ],
        handler: || get(resource::show),
    },
    Route {
        method: "GET",
        path: paths::KEYS,
        operation: "listKeys",
        summary: "Lists the live keys of a topic with their latest records.",
        parameters: &[
            query("partition", "integer", "only keys in this partition"),
            query("prefix", "string", "only keys that begin so"),
            query("after", "string", "`after` of the page before"),
            LIMIT,
            ENCODING,
        ],
        takes: &[],
        gives: &[
            (media::JSON, "KeyTable"),
            (media::NDJSON, "Lines"),
            (media::PROTOBUF, "embermq.v1.ListKeysResponse"),
        ],
        succeeds: OK,
        handler: || get(resource::list),
    },
    rpc(paths::READ_KEY, "ReadKey", || post(connect::read_key).get(connect::read_key)),
    rpc(paths::READ_KEY_HISTORY, "ReadKeyHistory", || {
        post(connect::read_key_history).get(connect::read_key_history)
    }),
    rpc(paths::LIST_KEYS, "ListKeys", || post(connect::list_keys).get(connect::list_keys)),
];

/// The schemas of what these routes give.
pub(in crate::http) fn schemas() -> Value {
    let records = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Record" } });
    json!({
        "KeyRecordOrHistory": {
            "anyOf": [
                { "$ref": "#/components/schemas/Record" },
                { "$ref": "#/components/schemas/KeyHistory" },
            ],
        },
        "KeyHistory": {
            "type": "object",
            "required": ["records", "before"],
            "properties": {
                "records": records,
                "before": { "type": ["integer", "null"], "description": "where the next page goes on; null: this is the last" },
            },
        },
        "KeyTable": {
            "type": "object",
            "required": ["records", "after"],
            "properties": {
                "records": records,
                "after": {
                    "type": ["string", "null"],
                    "description": "where the next page goes on; null: this is the last. A page may be empty and not the last",
                },
            },
        },
    })
}
