//! `/v1/topics/{topic}/keys` and `/v1/topics/{topic}/keys/{key}`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, Uri};
use axum::response::Response;
use bytes::Bytes;
use embermq_protocol::code::Code;
use embermq_protocol::limits::KEY_PAGE_MAX;
use embermq_protocol::{time, v1};

use super::answer::{Tail, bare, one, page};
use super::calls;
use crate::http::failure::Failure;
use crate::http::media::{JSON, NDJSON, PROTOBUF, negotiate};
use crate::http::protobuf::protobuf;
use crate::http::query::{Query, percent_decode};
use crate::http::shared::Shared;
use crate::http::topics::topic_of;
use crate::keys::AsOf;

/// Where the key stands in a path: behind the empty part, `v1`, `topics`, the topic and `keys`.
const KEY_PART: usize = 5;

const NEXT_BEFORE: HeaderName = HeaderName::from_static("next-before");
const NEXT_AFTER: HeaderName = HeaderName::from_static("next-after");

/// Whether a path would be a key's if there were one.
pub(in crate::http) fn is_empty_key(path: &str) -> bool {
    path.ends_with("/keys/") && path.split('/').count() == KEY_PART + 1
}

fn key_of(uri: &Uri) -> Bytes {
    percent_decode(uri.path().split('/').nth(KEY_PART).unwrap_or_default()).into()
}

/// `GET /v1/topics/{topic}/keys/{key}`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let topic = topic_of(request.uri())?.as_str().to_owned();
    let key = key_of(request.uri());
    let mut query = Query::of(request.uri());
    let (as_of, partition) = (query.as_of()?, query.number("partition")?);
    let base64 = base64(&mut query)?;
    if query.switch("history")? {
        let before = query.number("before")?;
        let limit = query.limit(KEY_PAGE_MAX)?;
        query.end()?;
        let accepted = negotiate(request.headers(), &[JSON, NDJSON, PROTOBUF])?;
        let as_of = as_of.map(|as_of| match as_of {
            AsOf::Offset(offset) => v1::read_key_history_request::AsOf::Offset(offset.0),
            AsOf::Time(time) => {
                v1::read_key_history_request::AsOf::Time(time::Timestamp::from_micros(time.0))
            }
        });
        let request = v1::ReadKeyHistoryRequest { topic, key, partition, as_of, before, limit };
        let history = calls::read_key_history(&shared, &request).await?;
        if accepted == PROTOBUF {
            return Ok(protobuf(&history));
        }
        let json = history.before.map(|before| before.to_string());
        let tail = Tail { member: "before", header: NEXT_BEFORE, json };
        return page(&request.topic, &history.records, tail, accepted, base64);
    }
    query.end()?;
    let as_of = as_of.map(|as_of| match as_of {
        AsOf::Offset(offset) => v1::read_key_request::AsOf::Offset(offset.0),
        AsOf::Time(time) => v1::read_key_request::AsOf::Time(time::Timestamp::from_micros(time.0)),
    });
    // Whoever accepts none of these gets the value as it is.
    let accepted = match negotiate(request.headers(), &[JSON, NDJSON, PROTOBUF]) {
        Ok(accepted) => Some(accepted),
        Err(failure) if failure.problem().code == Code::NotAcceptable.as_str() => None,
        Err(failure) => return Err(failure),
    };
    let request = v1::ReadKeyRequest { topic, key, partition, as_of };
    let answer = calls::read_key(&shared, &request).await?;
    if accepted == Some(PROTOBUF) {
        return Ok(protobuf(&answer));
    }
    let found = answer.record.unwrap_or_default();
    match accepted {
        Some(kind) => one(&request.topic, &found, kind, base64),
        None => Ok(bare(found)),
    }
}

/// `GET /v1/topics/{topic}/keys`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = negotiate(request.headers(), &[JSON, NDJSON, PROTOBUF])?;
    let topic = topic_of(request.uri())?.as_str().to_owned();
    let mut query = Query::of(request.uri());
    let wanted = v1::ListKeysRequest {
        topic: topic.clone(),
        partition: query.number("partition")?,
        prefix: query.take("prefix")?.unwrap_or_default().into(),
        after: query.take("after")?.unwrap_or_default(),
        limit: query.limit(KEY_PAGE_MAX)?,
    };
    let base64 = base64(&mut query)?;
    query.end()?;
    let answer = calls::list_keys(&shared, wanted).await?;
    if accepted == PROTOBUF {
        return Ok(protobuf(&answer));
    }
    // A cursor is digits and a point.
    let json = (!answer.after.is_empty()).then(|| format!("\"{}\"", answer.after));
    let tail = Tail { member: "after", header: NEXT_AFTER, json };
    page(&topic, &answer.records, tail, accepted, base64)
}

fn base64(query: &mut Query) -> Result<bool, Failure> {
    match query.take("encoding")?.as_deref() {
        None => Ok(false),
        Some("base64") => Ok(true),
        Some(other) => {
            let detail =
                format!("query parameter encoding is {other:?}, only \"base64\" is possible");
            Err(Failure::invalid(detail).with("parameter", "encoding"))
        }
    }
}
