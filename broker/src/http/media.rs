//! Media types: what a body is, and what the client accepts.

use axum::http::{HeaderMap, header};
use embermq_protocol::code::Code;

use super::failure::Failure;

pub(super) use embermq_protocol::media::{
    CLOUDEVENT, CLOUDEVENT_BATCH, EVENT_STREAM, JSON, NDJSON, PROTOBUF,
};

/// Other names of the same media types.
const ALIASES: [(&str, &str); 5] = [
    ("application/ndjson", NDJSON),
    ("application/jsonl", NDJSON),
    ("application/protobuf", PROTOBUF),
    ("application/proto", PROTOBUF),
    ("application/vnd.google.protobuf", PROTOBUF),
];

/// The type without its parameters, in the name that this program uses; others in lower case.
pub(super) fn essence(media_type: &str) -> String {
    let bare = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match ALIASES.iter().find(|(alias, _)| *alias == bare) {
        Some((_, name)) => (*name).to_owned(),
        None => bare,
    }
}

/// The essence of the request's content type; empty when it has none.
pub(super) fn content_type(headers: &HeaderMap) -> Result<String, Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(String::new()) };
    let text = value.to_str().map_err(|_| {
        Failure::new(Code::UnsupportedMediaType, "the content-type header is not ASCII text")
    })?;
    Ok(essence(text))
}

/// What curl sends when it was told nothing.
const FORM: &str = "application/x-www-form-urlencoded";

/// The kind of a body that is JSON or protobuf; JSON when the client says nothing. Anything else is refused.
pub(super) fn body_kind(headers: &HeaderMap) -> Result<&'static str, Failure> {
    match content_type(headers)?.as_str() {
        "" | JSON | FORM => Ok(JSON),
        PROTOBUF => Ok(PROTOBUF),
        other => Err(Failure::new(
            Code::UnsupportedMediaType,
            format!("this route takes {JSON} or {PROTOBUF}, not {other}"),
        )),
    }
}

/// Which of the offered types the client wants most; the first one when it does not say.
///
/// # Errors
/// 406 when it accepts none of them.
pub(super) fn negotiate(
    headers: &HeaderMap,
    offered: &[&'static str],
) -> Result<&'static str, Failure> {
    let mut best: Option<(&'static str, u32)> = None;
    let mut asked = false;
    for value in headers.get_all(header::ACCEPT) {
        for part in
            value.to_str().unwrap_or_default().split(',').filter(|part| !part.trim().is_empty())
        {
            asked = true;
            let weight = weight(part);
            let wanted = essence(part);
            let found = offered.iter().find(|offer| {
                wanted == "*/*"
                    || **offer == wanted
                    || wanted.strip_suffix("/*").is_some_and(|kind| {
                        offer.split_once('/').is_some_and(|(offered_kind, _)| offered_kind == kind)
                    })
            });
            if let Some(offer) = found
                && weight > 0
                && best.is_none_or(|(_, most)| weight > most)
            {
                best = Some((offer, weight));
            }
        }
    }
    match (best, offered.first()) {
        (Some((offer, _)), _) => Ok(offer),
        (None, Some(first)) if !asked => Ok(first),
        _ => Err(Failure::new(
            Code::NotAcceptable,
            format!(
                "this route answers with {}; the accept header allows none of them",
                offered.join(", ")
            ),
        )),
    }
}

/// The `q` of one part of an accept header, in thousandths.
fn weight(part: &str) -> u32 {
    let quality = part.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("q="));
    let Some(quality) = quality else { return 1_000 };
    let (whole, fraction) = quality.trim().split_once('.').unwrap_or((quality.trim(), ""));
    if whole != "0" {
        return 1_000;
    }
    let thousandths = format!("{fraction:0<3}");
    thousandths.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        negotiate(&headers, &[JSON, NDJSON, EVENT_STREAM]).ok()
    }

    #[test]
    fn the_client_gets_what_it_wants_most() {
        assert_eq!(negotiate(&HeaderMap::new(), &[JSON, NDJSON]).unwrap(), JSON);
        assert_eq!(accepted("*/*"), Some(JSON));
        assert_eq!(accepted("application/*"), Some(JSON));
        assert_eq!(accepted("text/*"), Some(EVENT_STREAM));
        assert_eq!(accepted("application/json;q=0.5, application/x-ndjson;q=0.9"), Some(NDJSON));
        assert_eq!(accepted("application/ndjson"), Some(NDJSON));
        assert_eq!(accepted("text/html, application/json;q=0.1"), Some(JSON));
        assert_eq!(accepted("image/png"), None);
        assert_eq!(accepted("application/json;q=0"), None);
    }

    #[test]
    fn parameters_and_case_do_not_matter() {
        assert_eq!(essence("Application/JSON; charset=utf-8"), JSON);
        assert_eq!(essence(" application/proto "), PROTOBUF);
    }
}
