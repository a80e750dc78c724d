//! The routes of schedules, part of the one table, and what their JSON looks like.

use axum::routing::{delete, get, post};
use embermq_protocol::{media, paths};
use serde_json::{Value, json};

use super::resource;
use crate::http::connect;
use crate::http::routes::{OK, Route, query, rpc};

/// Every route of schedules.
pub(in crate::http) static ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: paths::SCHEDULES,
        operation: "listSchedules",
        summary: "Lists what is scheduled for a topic, in the order of its delivery.",
        parameters: &[
            query(
                "after",
                "string",
                "only what is behind this schedule: next_after of the page before",
            ),
            query("limit", "integer", "at most this many, 1,000 by default and at most"),
        ],
        takes: &[],
        gives: &[
            (media::JSON, "ScheduleList"),
            (media::PROTOBUF, "embermq.v1.ListSchedulesResponse"),
        ],
        succeeds: OK,
        handler: || get(resource::list),
    },
    Route {
        method: "GET",
        path: paths::SCHEDULE,
        operation: "getSchedule",
        summary: "Shows something that is scheduled, with its records.",
        parameters: &[query("encoding", "string", "`base64`: every key and value as base64")],
        takes: &[],
        gives: &[(media::JSON, "Schedule"), (media::PROTOBUF, "embermq.v1.Schedule")],
        succeeds: OK,
        handler: || get(resource::show),
    },
    Route {
        method: "DELETE",
        path: paths::SCHEDULE,
        operation: "cancelSchedule",
        summary: "Cancels something that is scheduled: its records will not appear.",
        parameters: &[],
        takes: &[],
        gives: &[],
        succeeds: &[(204, "cancelled")],
        handler: || delete(resource::cancel),
    },
    rpc(paths::GET_SCHEDULE, "GetSchedule", || {
        post(connect::get_schedule).get(connect::get_schedule)
    }),
    rpc(paths::LIST_SCHEDULES, "ListSchedules", || {
        post(connect::list_schedules).get(connect::list_schedules)
    }),
    rpc(paths::CANCEL_SCHEDULE, "CancelSchedule", || post(connect::cancel_schedule)),
];

/// What is in the JSON of schedules.
pub(in crate::http) fn schemas() -> Value {
    json!({
        "Schedule": {
            "type": "object",
            "required": ["topic", "schedule", "deliver_at", "partition", "count"],
            "properties": {
                "topic": { "type": "string" },
                "schedule": { "type": "string", "description": "names it until it is delivered or cancelled" },
                "deliver_at": { "type": "string", "format": "date-time" },
                "partition": { "type": "integer" },
                "count": { "type": "integer", "description": "records, which appear together" },
                "records": {
                    "description": "left out of lists",
                    "type": "array",
                    "items": { "$ref": "#/components/schemas/Record" },
                },
            },
        },
        "ScheduleList": {
            "type": "object",
            "required": ["schedules"],
            "properties": {
                "schedules": { "type": "array", "items": { "$ref": "#/components/schemas/Schedule" } },
                "next_after": { "type": "string", "description": "there is more behind this one" },
            },
        },
    })
}
