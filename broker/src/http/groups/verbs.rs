//! `POST /v1/topics/{topic}/groups/{group}:VERB`: what is done to a group. The router gives the name and the verb as one part of
//! the path; a name has no colon, so the last one parts them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use embermq_protocol::v1;
use embermq_protocol::v1::settlement::Decision;
use prost::Message;
use serde_json::{Value, json};

use super::asked::{Asked, last_part};
use super::json::{self, lease_page, result_out, sought_out};
use super::{calls, convert};
use crate::http::caller::Caller;
use crate::http::failure::Failure;
use crate::http::json::Style;
use crate::http::media::{JSON, PROTOBUF};
use crate::http::messages::count_settlements;
use crate::http::protobuf::protobuf;
use crate::http::query::Query;
use crate::http::shared::Shared;

/// What can be done to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Lease,
    Settle(Word),
    Seek,
    Redrive,
}

/// How leases are settled, all those of a request in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Ack,
    Nack,
    Reject,
    Extend,
    Release,
}

const VERBS: [(&str, Verb); 8] = [
    ("lease", Verb::Lease),
    ("ack", Verb::Settle(Word::Ack)),
    ("nack", Verb::Settle(Word::Nack)),
    ("reject", Verb::Settle(Word::Reject)),
    ("extend", Verb::Settle(Word::Extend)),
    ("release", Verb::Settle(Word::Release)),
    ("seek", Verb::Seek),
    ("redrive", Verb::Redrive),
];

/// `POST /v1/topics/{topic}/groups/{group}:VERB`.
pub(super) async fn verb(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let part = last_part(&parts.uri);
    let (group, verb) = verb_of(&part)?;
    let mut query = Query::of(&parts.uri);
    let style = if verb == Verb::Lease { style(&mut query)? } else { Style::default() };
    query.end()?;
    let asked = Asked::open(&shared, &parts, body, group).await?;
    match verb {
        Verb::Lease => {
            let caller = Caller::in_request(&parts.extensions);
            lease(&shared, asked, style, &caller).await
        }
        Verb::Settle(word) => settle(&shared, asked, word).await,
        Verb::Seek => {
            let answer = calls::seek(&shared, asked.message(json::seek)?).await?;
            Ok(show(asked.accepted, &answer, |answer| {
                let partitions: Vec<Value> = answer.partitions.iter().map(sought_out).collect();
                json!({ "partitions": partitions })
            }))
        }
        Verb::Redrive => {
            let answer = calls::redrive(&shared, asked.message(json::redrive)?).await?;
            Ok(show(
                asked.accepted,
                &answer,
                |answer| json!({ "matched": answer.matched, "done": answer.done }),
            ))
        }
    }
}

/// Parts `name:verb`.
fn verb_of(part: &str) -> Result<(&str, Verb), Failure> {
    let known = || VERBS.map(|(name, _)| format!(":{name}")).join(", ");
    let Some((group, word)) = part.rsplit_once(':') else {
        let detail = format!("a POST to a group needs a verb behind its name, one of {}", known());
        return Err(Failure::new(Code::RouteNotFound, detail));
    };
    let found = VERBS.into_iter().find(|(name, _)| *name == word);
    let (_, verb) = found.ok_or_else(|| {
        let detail = format!("a group has no verb {word:?}, it has {}", known());
        Failure::new(Code::RouteNotFound, detail)
    })?;
    Ok((group, verb))
}

/// How the records of an answer in JSON are to be written.
pub(super) fn style(query: &mut Query) -> Result<Style, Failure> {
    match query.take("encoding")?.as_deref() {
        None => Ok(Style::default()),
        Some("base64") => Ok(Style { base64: true, ..Style::default() }),
        Some(other) => {
            let detail =
                format!("query parameter encoding is {other:?}, only \"base64\" is possible");
            Err(Failure::invalid(detail).with("parameter", "encoding"))
        }
    }
}

async fn lease(
    shared: &Shared,
    asked: Asked,
    style: Style,
    caller: &Caller,
) -> Result<Response, Failure> {
    let message: v1::LeaseRequest = asked.message(json::wish)?;
    let accepted = asked.accepted;
    // A long poll holds no part of the byte budget.
    drop(asked);
    if accepted == PROTOBUF {
        return Ok(protobuf(&calls::lease_message(shared, message, caller).await?));
    }
    let request = convert::lease_request(message)?;
    let topic = request.topic.clone();
    let leases = calls::lease(shared, request, caller).await?;
    let page = lease_page(&topic, &leases, style)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(JSON))], page).into_response())
}

async fn settle(shared: &Shared, asked: Asked, word: Word) -> Result<Response, Failure> {
    if asked.kind == PROTOBUF {
        count_settlements(&asked.taken.bytes)?;
    }
    let mut message: v1::SettleRequest = asked.message(|body| json::settle(word, body))?;
    for (index, settlement) in message.settlements.iter_mut().enumerate() {
        let decision = settlement.decision.get_or_insert_with(|| word.bare());
        if Word::of(decision) != word {
            let detail = format!(
                "settlement {index} is not what the path says; GroupService.Settle takes all kinds at once"
            );
            return Err(Failure::invalid(detail).with("index", index));
        }
    }
    let answer = calls::settle(shared, message).await?;
    Ok(show(asked.accepted, &answer, |answer| {
        let results: Vec<Value> = answer.results.iter().map(result_out).collect();
        json!({ "results": results })
    }))
}

fn show<M: Message>(accepted: &str, message: &M, json: impl FnOnce(&M) -> Value) -> Response {
    if accepted == PROTOBUF {
        return protobuf(message);
    }
    Json(json(message)).into_response()
}

impl Word {
    const fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Ack(_) => Self::Ack,
            Decision::Nack(_) => Self::Nack,
            Decision::Reject(_) => Self::Reject,
            Decision::Extend(_) => Self::Extend,
            Decision::Release(_) => Self::Release,
        }
    }

    /// What the word alone means.
    fn bare(self) -> Decision {
        match self {
            Self::Ack => Decision::Ack(v1::settlement::Ack {}),
            Self::Nack => Decision::Nack(v1::settlement::Nack::default()),
            Self::Reject => Decision::Reject(v1::settlement::Reject::default()),
            Self::Extend => Decision::Extend(v1::settlement::Extend::default()),
            Self::Release => Decision::Release(v1::settlement::Release {}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_stands_behind_the_last_colon() {
        assert_eq!(verb_of("g:lease").unwrap(), ("g", Verb::Lease));
        assert_eq!(verb_of("g:x:ack").unwrap(), ("g:x", Verb::Settle(Word::Ack)));
        for part in ["g", "g:", "g:steal", ""] {
            let failure = verb_of(part).unwrap_err();
            assert_eq!(failure.problem().status, 404);
            assert!(failure.problem().detail.contains(":redrive"), "{failure:?}");
        }
    }
}
