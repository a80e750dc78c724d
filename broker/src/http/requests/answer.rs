//! Requests as clients see them: the bare answer of a call, or what is known of it in JSON.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use embermq_protocol::code::Code;
use embermq_storage::Timestamp;
use serde_json::{Map, Value, json};

use crate::http::failure::Failure;
use crate::http::json::{Place, Style, content_type, write_record};
use crate::http::media::JSON;
use crate::http::portions::SMALL_BYTES;
use crate::http::span::render_time;
use crate::record::Record;
use crate::requests::{Found, RequestError, RequestState, RequestView};
use crate::stage::{PROVENANCE, header_names};

/// When to ask again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let text = error.to_string();
        match error {
            RequestError::NotFound => Self::new(Code::RequestNotFound, text),
            // The stage is there: it is started every few seconds until it is.
            RequestError::NotReading { stage, .. } => {
                Self::new(Code::Starting, text).with("stage", stage.as_str())
            }
            RequestError::Expired { .. } => Self::new(Code::RequestExpired, text),
            RequestError::Read(error) => Self::from(error),
            RequestError::Commit(error) => Self::from(error),
        }
    }
}

fn location(view: &RequestView) -> HeaderValue {
    // An id is base64 of the URL alphabet.
    HeaderValue::try_from(format!("/v1/requests/{}", view.id))
        .unwrap_or_else(|_| HeaderValue::from_static("/v1/requests"))
}

/// The answer to a call: the output itself, a problem, or where to ask for it later. There is no room for a large output while
/// answers hold as much as they may.
pub(super) fn of_call(view: &RequestView, room: bool) -> Result<Response, Failure> {
    let place = |failure: Failure| {
        failure
            .with("request", view.id.to_string())
            .with("topic", view.topic.as_str())
            .with("partition", view.partition.0)
            .with("offset", view.offset.0)
            .with_header(header::LOCATION, location(view))
    };
    match &view.state {
        RequestState::Succeeded(found) if room || is_small(found) => Ok(output(view, found)),
        RequestState::DeadLettered(found) => {
            let said = |name| text_of(&found.record, name).unwrap_or_default();
            let (reason, error) = (said("x-dead-reason"), said("x-dead-error"));
            let detail = format!(
                "stage {} has given the record up ({reason}): {error}. Its dead letter is at {}/{}/{}",
                view.stage, found.topic, found.partition.0, found.offset
            );
            let failure = Failure::new(Code::DeadLettered, detail)
                .with("reason", reason)
                .with("error", error)
                .with("dead_letter", letter_out(found));
            Err(place(failure))
        }
        RequestState::PassedOver => {
            let detail = format!(
                "stage {} has gone past the record and made nothing of it: it was settled by somebody else, or the stage's \
                 group was moved",
                view.stage
            );
            Err(place(Failure::new(Code::PassedOver, detail)))
        }
        RequestState::Queued
        | RequestState::Running { .. }
        | RequestState::Failed { .. }
        | RequestState::Succeeded(_) => {
            let mut response = state_of(view, None)?;
            *response.status_mut() = StatusCode::ACCEPTED;
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            Ok(response)
        }
    }
}

/// The bare value of an output, with what is known of it in headers.
fn output(view: &RequestView, found: &Found) -> Response {
    let record = &found.record;
    let kind = content_type(&record.headers)
        .and_then(|kind| HeaderValue::from_bytes(kind).ok())
        .unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"));
    let place = format!("{}/{}/{}", found.topic, found.partition.0, found.offset);
    let head = [
        (header::CONTENT_TYPE, kind),
        (header::LOCATION, location(view)),
        (HeaderName::from_static("partition"), view.partition.0.into()),
        (HeaderName::from_static("offset"), view.offset.0.into()),
        // What a model has made is not to be taken for a page of ours.
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let value = record.value.clone().unwrap_or_default();
    let mut response = (head, Body::from(value)).into_response();
    let headers = response.headers_mut();
    for name in PROVENANCE {
        if let Some(Ok(value)) = record.header_value(name).map(HeaderValue::from_bytes) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    for name in header_names(&view.stage) {
        let Some(said) = record.header_value(&name) else { continue };
        // Raw answers, and labels with control characters, cannot stand in a header of HTTP.
        let (name, value) = match HeaderValue::from_bytes(said) {
            Ok(value) => (name, Ok(value)),
            Err(_) => (format!("{name}-base64"), HeaderValue::try_from(STANDARD.encode(said))),
        };
        if let (Ok(value), Ok(name)) = (value, HeaderName::try_from(name)) {
            headers.insert(name, value);
        }
    }
    if let Ok(place) = HeaderValue::try_from(place) {
        headers.insert(HeaderName::from_static("x-output"), place);
    }
    response
}

fn is_small(found: &Found) -> bool {
    found.record.value.as_ref().is_none_or(|value| value.len() <= SMALL_BYTES)
}

/// What is known of a request, in JSON.
pub(super) fn of_question(view: &RequestView) -> Result<Response, Failure> {
    let result = match &view.state {
        RequestState::Succeeded(found) => Some(found.as_ref()),
        _ => None,
    };
    state_of(view, result)
}

fn state_of(view: &RequestView, result: Option<&Found>) -> Result<Response, Failure> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("id", view.id.to_string().into());
    put("state", view.state.name().into());
    put("stage", view.stage.as_str().into());
    put("topic", view.topic.as_str().into());
    put("partition", view.partition.0.into());
    put("offset", view.offset.0.into());
    match &view.state {
        RequestState::Queued | RequestState::PassedOver | RequestState::Succeeded(_) => {}
        RequestState::Running { attempt } => {
            put("attempt", (*attempt).into());
        }
        RequestState::Failed { attempts, next_attempt } => {
            put("attempts", (*attempts).into());
            put("next_attempt_at", render_time(*next_attempt).into());
        }
        RequestState::DeadLettered(found) => {
            put("dead_letter", letter_out(found));
        }
    }
    let mut text = Value::Object(out).to_string().into_bytes();
    if let Some(found) = result {
        text.pop();
        text.extend_from_slice(b",\"result\":");
        let place = Place {
            topic: found.topic.as_str(),
            partition: found.partition.0,
            offset: found.offset.0,
            append_time: Timestamp(found.append_time.0),
        };
        write_record(&mut text, place, &found.record, Style::default()).map_err(|error| {
            Failure::new(Code::Internal, format!("the result cannot be shown: {error}"))
        })?;
        text.push(b'}');
    }
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static(JSON)),
        (header::LOCATION, location(view)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = (head, text).into_response();
    if !view.state.is_final() {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    Ok(response)
}

fn text_of<'r>(record: &'r Record, name: &str) -> Option<&'r str> {
    std::str::from_utf8(record.header_value(name)?).ok()
}

fn letter_out(found: &Found) -> Value {
    let said = |name| text_of(&found.record, name);
    json!({
        "topic": found.topic.as_str(),
        "partition": found.partition.0,
        "offset": found.offset.0,
        "reason": said("x-dead-reason"),
        "error": said("x-dead-error"),
        "attempts": said("x-dead-attempts").and_then(|text| text.parse::<u32>().ok()),
    })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::topic::PartitionId;

    #[tokio::test]
    async fn a_large_output_is_asked_for_later_when_there_is_no_room() {
        let topic: embermq_protocol::names::TopicName = "photos".parse().unwrap();
        let found = |value: usize| Found {
            topic: topic.clone(),
            partition: PartitionId(0),
            offset: embermq_storage::Offset(3),
            append_time: Timestamp(0),
            record: Record::new(vec![b'x'; value]),
        };
        let view = |value| RequestView {
            id: "A".repeat(32).parse().unwrap(),
            topic: topic.clone(),
            partition: PartitionId(0),
            offset: embermq_storage::Offset(7),
            stage: embermq_protocol::names::GroupName::new("s").unwrap(),
            state: RequestState::Succeeded(Box::new(found(value))),
        };
        let large = SMALL_BYTES + 1;
        for (value, room, status) in [(10, true, 200), (10, false, 200), (large, true, 200)] {
            let answer = of_call(&view(value), room).unwrap();
            assert_eq!(answer.status(), status, "{value}, {room}");
            assert_eq!(to_bytes(answer.into_body(), 2 * large).await.unwrap().len(), value);
        }
        let later = of_call(&view(large), false).unwrap();
        assert_eq!(later.status(), StatusCode::ACCEPTED);
        assert!(later.headers().contains_key(header::LOCATION));
        assert!(later.headers().contains_key(header::RETRY_AFTER));
        let body = to_bytes(later.into_body(), large).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["state"], &body["result"]), (&"succeeded".into(), &Value::Null));
    }
}
