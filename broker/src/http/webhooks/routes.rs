//! The routes of webhooks, part of the one table.

use axum::routing::{delete, get, post, put};
use embermq_protocol::{media, paths};
use serde_json::{Value, json};

use super::resource;
use crate::http::routes::{OK, Route};

const WEBHOOK_OUT: &[(&str, &str)] = &[(media::JSON, "Webhook")];

const fn verb(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    takes: &'static [(&'static str, &'static str)],
    gives: &'static [(&'static str, &'static str)],
) -> Route {
    Route {
        method: "POST",
        path,
        operation,
        summary,
        parameters: &[],
        takes,
        gives,
        succeeds: OK,
        handler: || post(resource::verb),
    }
}

/// Every route of webhooks.
pub(in crate::http) static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: paths::WEBHOOKS,
        operation: "listWebhooks",
        summary: "Lists the webhooks and how they are doing.",
        parameters: &[],
        takes: &[],
        gives: &[(media::JSON, "WebhookList")],
        succeeds: OK,
        handler: || get(resource::list),
    },
    Route {
        method: "PUT",
        path: paths::WEBHOOK,
        operation: "putWebhook",
        summary: "Posts the records of a topic to a URL, or changes how; the secret that is made for a new one is told here alone.",
        parameters: &[],
        takes: &[(media::JSON, "WebhookConfig")],
        gives: WEBHOOK_OUT,
        succeeds: &[(201, "made"), (200, "changed, or it was there like that")],
        handler: || put(resource::put),
    },
    Route {
        method: "GET",
        path: paths::WEBHOOK,
        operation: "getWebhook",
        summary: "Shows a webhook and how it is doing.",
        parameters: &[],
        takes: &[],
        gives: WEBHOOK_OUT,
        succeeds: OK,
        handler: || get(resource::show),
    },
    Route {
        method: "DELETE",
        path: paths::WEBHOOK,
        operation: "deleteWebhook",
        summary: "Removes a webhook. Its group stays.",
        parameters: &[],
        takes: &[],
        gives: &[],
        succeeds: &[(204, "removed")],
        handler: || delete(resource::remove),
    },
    verb(
        "/v1/webhooks/{webhook}:pause",
        "pauseWebhook",
        "Lets a webhook post nothing more.",
        &[],
        WEBHOOK_OUT,
    ),
    verb(
        "/v1/webhooks/{webhook}:resume",
        "resumeWebhook",
        "Lets a webhook go on, even if its receiver said that it was gone.",
        &[],
        WEBHOOK_OUT,
    ),
    verb(
        "/v1/webhooks/{webhook}:rotate",
        "rotateWebhook",
        "Gives a webhook another secret; the old one is used beside it for a day.",
        &[(media::JSON, "WebhookRotation")],
        WEBHOOK_OUT,
    ),
    verb(
        "/v1/webhooks/{webhook}:test",
        "testWebhook",
        "Posts a signed test message now and says what came back.",
        &[],
        &[(media::JSON, "WebhookTest")],
    ),
];

/// The schemas of what they take and give.
pub(in crate::http) fn schemas() -> Value {
    let settings = json!({
        "topic": { "type": "string" },
        "url": { "type": "string", "format": "uri", "description": "http or https" },
        "ordering": { "enum": ["none", "key", "partition"] },
        "filter": { "type": "string" },
        "concurrency": { "type": "integer", "minimum": 1, "maximum": 64 },
        "timeout": { "type": "string", "examples": ["15s"] },
        "schedule": {
            "description": "delays between attempts; one attempt more than there are delays",
            "type": "array", "maxItems": 100, "items": { "type": "string", "examples": ["5m"] },
        },
        "jitter": { "type": "boolean" },
        "max_body_bytes": { "type": "integer", "minimum": 0, "maximum": 67_108_864 },
        "headers": {
            "description": "headers of a record that are sent along",
            "type": "array", "maxItems": 32, "items": { "type": "string" },
        },
        "start": { "enum": ["earliest", "latest"] },
        "dead_letter_topic": { "type": "string" },
        "paused": { "type": "boolean" },
    });
    let secret = json!({ "type": "string", "pattern": "^whsec_" });
    let mut taken = settings.clone();
    taken["secret"] = secret.clone();
    let mut shown = settings;
    shown["webhook"] = json!({ "type": "string" });
    shown["group"] = json!({ "type": "string" });
    shown["status"] = json!({ "type": "object" });
    shown["previous_secret_until"] = json!({ "type": "string", "format": "date-time" });
    shown["secret"] = json!({
        "type": "string", "description": "only where it was made by this very request",
    });
    json!({
        "WebhookConfig": {
            "type": "object",
            "required": ["topic", "url"],
            "additionalProperties": false,
            "properties": taken,
        },
        "Webhook": { "type": "object", "required": ["webhook", "group", "status"], "properties": shown },
        "WebhookList": {
            "type": "object",
            "required": ["webhooks"],
            "properties": { "webhooks": { "type": "array", "items": { "$ref": "#/components/schemas/Webhook" } } },
        },
        "WebhookRotation": {
            "type": "object",
            "additionalProperties": false,
            "properties": { "secret": secret },
        },
        "WebhookTest": {
            "type": "object",
            "required": ["delivered", "outcome", "webhook_id", "millis"],
            "properties": {
                "delivered": { "type": "boolean" },
                "outcome": { "type": "string" },
                "status": { "type": ["integer", "null"] },
                "body": { "type": ["string", "null"] },
                "error": { "type": ["string", "null"] },
                "webhook_id": { "type": "string" },
                "millis": { "type": "integer" },
            },
        },
    })
}
