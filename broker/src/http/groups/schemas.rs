//! The schemas of groups in `/openapi.json`.

use serde_json::{Value, json};

/// By name.
pub(in crate::http) fn schemas() -> Value {
    let mut all = settings();
    for part in [group(), leases(), requests(), answers()] {
        if let (Value::Object(all), Value::Object(part)) = (&mut all, part) {
            all.extend(part);
        }
    }
    all
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn duration(example: &str) -> Value {
    json!({ "type": "string", "examples": [example] })
}

fn place() -> Value {
    json!({
        "oneOf": [
            { "enum": ["earliest", "latest"] },
            { "type": "object", "required": ["offset"], "properties": { "offset": count() } },
            {
                "type": "object",
                "required": ["time"],
                "properties": { "time": { "type": "string", "format": "date-time" } },
            },
        ],
    })
}

fn settings() -> Value {
    let settings = json!({
        "ordering": { "enum": ["none", "key", "partition"] },
        "lease": duration("30s"),
        "max_attempts": { "type": "integer", "minimum": 1 },
        "backoff": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "initial": duration("1s"),
                "max": duration("60s"),
                "multiplier": { "type": "number", "minimum": 1, "maximum": 100 },
                "jitter": { "type": "boolean" },
            },
        },
        "max_in_flight": { "type": "integer", "minimum": 1 },
        "dead_letter_topic": { "type": ["string", "null"] },
        "filter": { "type": ["string", "null"] },
    });
    let mut creation = settings.clone();
    creation["start"] = json!({ "$ref": "#/components/schemas/GroupPlace" });
    json!({
        "GroupPlace": place(),
        "GroupSettings": { "type": "object", "additionalProperties": false, "properties": settings },
        "GroupCreation": { "type": "object", "additionalProperties": false, "properties": creation },
    })
}

fn group() -> Value {
    json!({
        "Group": {
            "type": "object",
            "required": [
                "topic", "group", "settings", "dead_letter_topic", "create_time", "lag", "in_flight", "waiting", "held", "dead", "scheduled",
            ],
            "properties": {
                "topic": { "type": "string" },
                "group": { "type": "string" },
                "settings": { "$ref": "#/components/schemas/GroupSettings" },
                "dead_letter_topic": { "type": "string" },
                "create_time": { "type": "string", "format": "date-time" },
                "lag": {
                    "type": "object",
                    "properties": { "records": count(), "seconds": { "type": "number" } },
                },
                "in_flight": count(),
                "waiting": count(),
                "held": count(),
                "dead": count(),
                "scheduled": count(),
                "partitions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "partition": count(),
                            "next_offset": count(),
                            "first_open_offset": count(),
                            "open": count(),
                            "lag_records": count(),
                        },
                    },
                },
            },
        },
        "GroupList": {
            "type": "object",
            "required": ["groups"],
            "properties": { "groups": { "type": "array", "items": { "$ref": "#/components/schemas/Group" } } },
        },
    })
}

fn leases() -> Value {
    json!({
        "LeaseRequest": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "max_records": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 1 },
                "wait": duration("10s"),
                "lease": duration("60s"),
                "member": { "type": "string" },
            },
        },
        "Lease": {
            "allOf": [
                { "$ref": "#/components/schemas/Record" },
                {
                    "type": "object",
                    "required": ["token", "attempt", "expires_at", "first_leased_at"],
                    "properties": {
                        "token": { "type": "string" },
                        "attempt": { "type": "integer", "minimum": 1 },
                        "expires_at": { "type": "string", "format": "date-time" },
                        "first_leased_at": { "type": "string", "format": "date-time" },
                    },
                },
            ],
        },
        "LeaseList": {
            "type": "object",
            "required": ["leases"],
            "properties": { "leases": { "type": "array", "items": { "$ref": "#/components/schemas/Lease" } } },
        },
    })
}

/// The body of a verb that settles leases: tokens, and what else it has.
fn settle(others: &Value, required: &[&str]) -> Value {
    let mut properties = json!({
        "tokens": { "type": "array", "items": { "type": "string" }, "maxItems": 1000 },
        "token": { "type": "string" },
    });
    if let (Value::Object(properties), Value::Object(others)) = (&mut properties, others) {
        properties.extend(others.clone());
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn requests() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "AckRequest": settle(&json!({}), &[]),
        "NackRequest": settle(&json!({ "delay": duration("5s"), "error": text }), &[]),
        "RejectRequest": settle(&json!({ "reason": text }), &[]),
        "ExtendRequest": settle(&json!({ "by": duration("30s") }), &["by"]),
        "ReleaseRequest": settle(&json!({}), &[]),
        "Settlement": {
            "description": "a lease and exactly one of ack, nack, reject, extend and release",
            "type": "object",
            "additionalProperties": false,
            "required": ["token"],
            "minProperties": 2,
            "maxProperties": 2,
            "properties": {
                "token": text,
                "ack": { "const": true },
                "nack": { "type": "object", "properties": { "delay": duration("5s"), "error": text } },
                "reject": { "type": "object", "properties": { "reason": text } },
                "extend": { "type": "object", "required": ["by"], "properties": { "by": duration("30s") } },
                "release": { "const": true },
            },
        },
        "ShortNack": {
            "type": "object",
            "additionalProperties": false,
            "required": ["token"],
            "properties": { "token": text, "delay": duration("5s"), "error": text },
        },
        "ShortReject": {
            "type": "object",
            "additionalProperties": false,
            "required": ["token"],
            "properties": { "token": text, "reason": text },
        },
        "SeekRequest": {
            "type": "object",
            "additionalProperties": false,
            "required": ["to"],
            "properties": {
                "to": { "$ref": "#/components/schemas/GroupPlace" },
                "partition": count(),
                "dry_run": { "type": "boolean" },
            },
        },
        "RedriveRequest": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "offsets": { "type": "array", "items": count(), "minItems": 1, "maxItems": 10_000 },
                "contains": text,
                "max_records": { "type": "integer", "minimum": 1 },
                "dry_run": { "type": "boolean" },
                "drop": { "type": "boolean" },
            },
        },
    })
}

fn answers() -> Value {
    let time = json!({ "type": "string", "format": "date-time" });
    json!({
        "SettlementResult": {
            "type": "object",
            "required": ["token", "ok"],
            "properties": {
                "token": { "type": "string" },
                "ok": { "type": "boolean" },
                "next_attempt_at": time,
                "expires_at": time,
                "dead_letter": {
                    "type": "object",
                    "properties": { "topic": { "type": "string" }, "partition": count(), "offset": count() },
                },
                "error": {
                    "type": "object",
                    "required": ["code", "detail", "retryable"],
                    "properties": {
                        "code": { "type": "string" },
                        "detail": { "type": "string" },
                        "retryable": { "type": "boolean" },
                    },
                },
            },
        },
        "SettleResponse": {
            "type": "object",
            "required": ["results"],
            "properties": {
                "results": { "type": "array", "items": { "$ref": "#/components/schemas/SettlementResult" } },
            },
        },
        "Sought": {
            "type": "object",
            "required": ["partitions"],
            "properties": {
                "partitions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "partition": count(),
                            "from_offset": count(),
                            "to_offset": count(),
                            "read_again": count(),
                            "skipped": count(),
                            "leases_lost": count(),
                        },
                    },
                },
            },
        },
        "Redriven": {
            "type": "object",
            "required": ["matched", "done"],
            "properties": { "matched": count(), "done": count() },
        },
        "DeadLetterList": {
            "type": "object",
            "required": ["dead_letter_topic", "letters", "next_after"],
            "properties": {
                "dead_letter_topic": { "type": "string" },
                "letters": { "type": "array", "items": { "$ref": "#/components/schemas/Record" } },
                "next_after": { "type": ["integer", "null"], "description": "where to go on; null: this was all" },
            },
        },
    })
}
