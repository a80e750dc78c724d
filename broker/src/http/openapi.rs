//! `/openapi.json`: OpenAPI 3.1, made from the table of routes.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use embermq_protocol::code::Code;
use embermq_protocol::media::{JSON, PROBLEM};
use serde_json::{Map, Value, json};

use super::routes::{self, Parameter, Route};
use super::{connect, groups, keys, models, open_inference, requests, schedules, stages, webhooks};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    ([kind], DOCUMENT.clone()).into_response()
}

/// The document.
fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes::all() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(route.method.to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "EmberMQ",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A durable message broker. Connect methods (/embermq.v1.*) take and give the messages of \
                            the proto files; everything else is for people and curl.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [tag(route.path)],
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if !route.takes.is_empty() {
        operation["requestBody"] = json!({ "content": content(route.takes) });
    }
    operation
}

fn tag(path: &str) -> &'static str {
    if path.starts_with(connect::PREFIX) {
        "connect"
    } else if path.starts_with("/v1/") {
        "rest"
    } else if open_inference::is_ours(path) {
        "open-inference"
    } else {
        "operations"
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path =
        route.path.split('/').filter_map(|part| Some(part.strip_prefix('{')?.split_once('}')?.0));
    let in_path = in_path.map(
        |name| json!({ "name": name, "in": "path", "required": true, "schema": path_schema(name) }),
    );
    let others = route.parameters.iter().map(|parameter: &Parameter| {
        json!({
            "name": parameter.name,
            "in": parameter.place,
            "required": false,
            "description": parameter.description,
            "schema": { "type": parameter.kind },
        })
    });
    in_path.chain(others).collect()
}

fn path_schema(name: &str) -> Value {
    match name {
        "topic" => json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,249}$" }),
        "group" => json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$" }),
        _ => json!({ "type": "string" }),
    }
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for (status, meaning) in route.succeeds {
        let mut response = json!({ "description": meaning });
        if !route.gives.is_empty() {
            response["content"] = content(route.gives);
        }
        responses.insert(status.to_string(), response);
    }
    let (kind, schema) = if route.path.starts_with(connect::PREFIX) {
        (JSON, "ConnectError")
    } else if open_inference::is_ours(route.path) {
        (JSON, "OpenInferenceError")
    } else {
        (PROBLEM, "Problem")
    };
    let failure =
        json!({ "description": "failed; `code` says why", "content": content(&[(kind, schema)]) });
    responses.insert("default".to_owned(), failure);
    Value::Object(responses)
}

fn content(kinds: &[(&str, &str)]) -> Value {
    let kinds = kinds
        .iter()
        .map(|(kind, schema)| ((*kind).to_owned(), json!({ "schema": reference(schema) })));
    Value::Object(kinds.collect())
}

fn reference(schema: &str) -> Value {
    match schema.strip_prefix("embermq.v1.") {
        Some(message) => json!({
            "type": "string", "format": "binary", "description": format!("the protobuf message embermq.v1.{message}"),
        }),
        None => json!({ "$ref": format!("#/components/schemas/{schema}") }),
    }
}

fn schemas() -> Value {
    let codes: BTreeSet<&str> = Code::all().map(Code::as_str).collect();
    let mut schemas = Map::new();
    for part in [
        records(),
        topics(),
        preconditions(),
        commits(),
        groups::schemas(),
        schedules::schemas(),
        keys::schemas(),
        models::schemas(),
        stages::schemas(),
        webhooks::schemas(),
        requests::schemas(),
        open_inference::schemas(),
        plain(),
        problems(&codes),
    ] {
        if let Value::Object(part) = part {
            schemas.extend(part);
        }
    }
    Value::Object(schemas)
}

fn plain() -> Value {
    json!({
        "Any": {},
        "Bytes": { "type": "string", "format": "binary" },
        "Text": { "type": "string" },
        "Lines": { "type": "string", "description": "one Record as JSON a line, or an event each" },
    })
}

fn records() -> Value {
    json!({
        "Record": {
            "type": "object",
            "required": ["value"],
            "properties": {
                "topic": { "type": "string" },
                "partition": { "type": "integer", "minimum": 0 },
                "offset": { "type": "integer", "minimum": 0 },
                "append_time": { "type": "string", "format": "date-time" },
                "event_time": { "type": "string", "format": "date-time" },
                "key": { "type": ["string", "null"] },
                "key_encoding": { "const": "base64" },
                "headers": { "type": "object" },
                "value": { "description": "JSON when the content-type header says so, else a string; null: a tombstone" },
                "encoding": { "const": "base64" },
            },
        },
        "RecordList": {
            "type": "object",
            "required": ["records", "next_offset", "start_offset", "end_offset"],
            "properties": {
                "records": { "type": "array", "items": { "$ref": "#/components/schemas/Record" } },
                "next_offset": { "type": "integer" },
                "start_offset": { "type": "integer" },
                "end_offset": { "type": "integer" },
            },
        },
        "RecordBatch": {
            "type": "object",
            "required": ["records"],
            "additionalProperties": false,
            "properties": {
                "records": { "type": "array", "items": { "$ref": "#/components/schemas/Record" } },
                "partition": { "type": "integer", "minimum": 0 },
            },
        },
        "RecordBatchOrValue": { "anyOf": [{ "$ref": "#/components/schemas/RecordBatch" }, {}] },
        "CloudEvent": { "type": "object", "required": ["specversion", "id", "source", "type"] },
        "CloudEvents": { "type": "array", "items": { "$ref": "#/components/schemas/CloudEvent" } },
        "Placed": {
            "type": "object",
            "required": ["partition"],
            "properties": {
                "partition": { "type": "integer" },
                "offset": { "type": "integer" },
                "schedule": { "type": "string", "description": "it appears later; this names what it waits in" },
                "deliver_at": { "type": "string", "format": "date-time" },
            },
        },
        "Produced": {
            "description": "one offset for one record, a list for a batch",
            "type": "object",
            "required": ["topic"],
            "properties": {
                "topic": { "type": "string" },
                "partition": { "type": "integer" },
                "offset": { "type": "integer" },
                "schedule": { "type": "string", "description": "in place of an offset: it appears later" },
                "deliver_at": { "type": "string", "format": "date-time" },
                "records": { "type": "array", "items": { "$ref": "#/components/schemas/Placed" } },
            },
        },
    })
}

fn topics() -> Value {
    json!({
        "TopicSettings": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "partitions": { "type": "integer", "minimum": 1, "maximum": 1024 },
                "retention": {
                    "type": "object",
                    "properties": {
                        "age": { "type": ["string", "null"], "examples": ["7d"] },
                        "bytes": { "type": ["integer", "null"] },
                    },
                },
                "compact": { "type": "boolean" },
                "tombstone_retention": { "type": "string", "examples": ["1d"] },
                "durability": { "enum": ["fsync", "os"] },
                "record_bytes_max": { "type": "integer", "minimum": 1 },
            },
        },
        "Topic": {
            "type": "object",
            "required": ["name", "settings", "create_time"],
            "properties": {
                "name": { "type": "string" },
                "settings": { "$ref": "#/components/schemas/TopicSettings" },
                "create_time": { "type": "string", "format": "date-time" },
                "partitions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "partition": { "type": "integer" },
                            "start_offset": { "type": "integer" },
                            "end_offset": { "type": "integer" },
                            "bytes": { "type": "integer" },
                        },
                    },
                },
            },
        },
        "TopicList": {
            "type": "object",
            "required": ["topics"],
            "properties": {
                "topics": { "type": "array", "items": { "$ref": "#/components/schemas/Topic" } },
                "next_page_token": { "type": "string" },
            },
        },
    })
}

fn preconditions() -> Value {
    let place = json!({ "type": "integer", "minimum": 0 });
    json!({
        "Precondition": {
            "type": "object",
            "description": "exactly one of next_offset and key_version",
            "required": ["topic"],
            "properties": {
                "topic": { "type": "string" },
                "partition": place,
                "next_offset": place,
                "key_version": {
                    "type": "object",
                    "required": ["key"],
                    "properties": {
                        "key": { "type": "string" },
                        "key_encoding": { "const": "base64" },
                        "offset": { "type": ["integer", "null"], "description": "null: no record of the key" },
                    },
                },
            },
        },
    })
}

fn commits() -> Value {
    let place = json!({ "type": "integer", "minimum": 0 });
    json!({
        "CommitRequest": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "preconditions": { "type": "array", "items": { "$ref": "#/components/schemas/Precondition" } },
                "appends": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["topic", "records"],
                        "properties": {
                            "topic": { "type": "string" },
                            "partition": place,
                            "records": { "type": "array", "items": { "$ref": "#/components/schemas/Record" } },
                            "deliver_at": { "type": "string", "format": "date-time" },
                            "delay": { "type": "string", "examples": ["30s"] },
                        },
                    },
                },
                "cancels": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["topic", "schedule"],
                        "properties": { "topic": { "type": "string" }, "schedule": { "type": "string" } },
                    },
                },
                "settlements": {
                    "type": "array",
                    "maxItems": 1000,
                    "items": { "$ref": "#/components/schemas/Settlement" },
                },
                "acks": {
                    "description": "short forms of settlements; with nacks and rejects at most 1,000 in all",
                    "type": "array",
                    "items": { "type": "string" },
                },
                "nacks": { "type": "array", "items": { "$ref": "#/components/schemas/ShortNack" } },
                "rejects": { "type": "array", "items": { "$ref": "#/components/schemas/ShortReject" } },
                "idempotency_key": { "type": "string", "maxLength": 255 },
                "durability": { "enum": ["fsync", "os"] },
            },
        },
        "CommitResponse": {
            "type": "object",
            "required": ["position", "appends"],
            "properties": {
                "position": place,
                "appends": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "topic": { "type": "string" },
                            "partition": place,
                            "base_offset": place,
                            "count": place,
                            "schedule": { "type": "string", "description": "in place of base_offset: it appears later" },
                            "deliver_at": { "type": "string", "format": "date-time" },
                        },
                    },
                },
                "settlements": {
                    "description": "in order of the request's settlements, acks, nacks and rejects, when it had some",
                    "type": "array",
                    "items": { "$ref": "#/components/schemas/SettlementResult" },
                },
            },
        },
    })
}

fn problems(codes: &BTreeSet<&str>) -> Value {
    json!({
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "code", "detail", "retryable"],
            "properties": {
                "type": { "type": "string" },
                "title": { "type": "string" },
                "status": { "type": "integer" },
                "code": { "enum": codes },
                "detail": { "type": "string" },
                "retryable": { "type": "boolean" },
                "retry_after_ms": { "type": "integer" },
                "details": { "type": "object" },
                "request_id": { "type": "string" },
                "hint": { "type": "string" },
            },
        },
        "ConnectError": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": { "type": "string" },
                "message": { "type": "string" },
                "details": { "type": "array", "items": { "type": "object" } },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` in the document.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member.as_str() {
                        Some(target) if name == "$ref" => found.push(target),
                        _ => references(member, found),
                    }
                }
            }
            Value::Array(elements) => {
                elements.iter().for_each(|element| references(element, found));
            }
            _ => {}
        }
    }

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let document = document();
        let described: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|path| path.as_object().unwrap().len())
            .sum();
        assert_eq!(described, routes::all().count());
        let mut operations = BTreeSet::new();
        for route in routes::all() {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            assert_eq!(operation["operationId"], route.operation);
            assert!(operations.insert(route.operation), "{} stands for two", route.operation);
            for (status, _) in route.succeeds {
                assert!(operation["responses"][status.to_string()].is_object(), "{}", route.path);
            }
            assert!(operation["responses"]["default"].is_object());
            assert_eq!(operation["requestBody"].is_object(), !route.takes.is_empty());
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }
}
