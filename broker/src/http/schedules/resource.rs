//! `/v1/topics/{topic}/schedules` and `/v1/topics/{topic}/schedules/{schedule}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use embermq_protocol::limits::SCHEDULES_PAGE_MAX;
use embermq_protocol::v1;
use embermq_storage::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::calls;
use crate::http::failure::Failure;
use crate::http::json::{Style, write_unplaced};
use crate::http::media::{JSON, PROTOBUF, negotiate};
use crate::http::protobuf::protobuf;
use crate::http::query::{Query, percent_decode};
use crate::http::shared::Shared;
use crate::http::span::render_time;
use crate::http::topics::topic_of;

/// Where the id of a schedule stands in a path: behind the empty part, `v1`, `topics`, the topic and `schedules`.
const SCHEDULE_PART: usize = 5;

#[derive(Serialize)]
struct ScheduleOut {
    topic: String,
    schedule: String,
    deliver_at: String,
    partition: u32,
    count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<Box<RawValue>>>,
}

#[derive(Serialize)]
struct SchedulesOut {
    schedules: Vec<ScheduleOut>,
    #[serde(skip_serializing_if = "String::is_empty")]
    next_after: String,
}

/// `GET /v1/topics/{topic}/schedules`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = negotiate(request.headers(), &[JSON, PROTOBUF])?;
    let mut query = Query::of(request.uri());
    let wanted = v1::ListSchedulesRequest {
        topic: topic_of(request.uri())?.as_str().to_owned(),
        after: query.take("after")?.unwrap_or_default(),
        limit: query.limit(SCHEDULES_PAGE_MAX)?,
    };
    query.end()?;
    let page = calls::list_schedules(&shared, &wanted)?;
    if accepted == PROTOBUF {
        return Ok(protobuf(&page));
    }
    let schedules = page.schedules.into_iter().map(|schedule| shown(schedule, None)).collect();
    Ok(Json(SchedulesOut { schedules, next_after: page.next_after }).into_response())
}

/// `GET /v1/topics/{topic}/schedules/{schedule}`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = negotiate(request.headers(), &[JSON, PROTOBUF])?;
    let (topic, schedule) = place_of(request.uri())?;
    let mut query = Query::of(request.uri());
    let style = style(query.take("encoding")?.as_deref())?;
    query.end()?;
    let wanted = v1::GetScheduleRequest { topic, schedule };
    let found = calls::get_schedule(&shared, &wanted).await?.schedule.unwrap_or_default();
    if accepted == PROTOBUF {
        return Ok(protobuf(&found));
    }
    let records: Result<_, Failure> =
        found.records.iter().map(|record| record_out(record, style)).collect();
    let records = Some(records?);
    Ok(Json(shown(found, records)).into_response())
}

/// `DELETE /v1/topics/{topic}/schedules/{schedule}`.
pub(super) async fn cancel(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let (topic, schedule) = place_of(request.uri())?;
    Query::of(request.uri()).end()?;
    calls::cancel_schedule(&shared, &v1::CancelScheduleRequest { topic, schedule }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn style(encoding: Option<&str>) -> Result<Style, Failure> {
    match encoding {
        None => Ok(Style::default()),
        Some("base64") => Ok(Style { base64: true, ..Style::default() }),
        Some(other) => Err(Failure::invalid(format!(
            "query parameter encoding is {other:?}, only \"base64\" is possible"
        ))
        .with("parameter", "encoding")),
    }
}

fn place_of(uri: &Uri) -> Result<(String, String), Failure> {
    let topic = topic_of(uri)?.as_str().to_owned();
    let part = uri.path().split('/').nth(SCHEDULE_PART).unwrap_or_default();
    Ok((topic, String::from_utf8_lossy(&percent_decode(part)).into_owned()))
}

fn shown(schedule: v1::Schedule, records: Option<Vec<Box<RawValue>>>) -> ScheduleOut {
    let micros = schedule.deliver_at.and_then(|at| at.micros()).unwrap_or_default();
    ScheduleOut {
        topic: schedule.topic,
        schedule: schedule.schedule,
        deliver_at: render_time(Timestamp(micros)),
        partition: schedule.partition,
        count: schedule.count,
        records,
    }
}

fn record_out(record: &v1::Record, style: Style) -> Result<Box<RawValue>, Failure> {
    let mut out = Vec::new();
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Code::Internal, format!("a record cannot be written as JSON: {error}"))
    };
    write_unplaced(&mut out, record, style).map_err(|error| failed(&error))?;
    let text = String::from_utf8(out).map_err(|error| failed(&error))?;
    RawValue::from_string(text).map_err(|error| failed(&error))
}
