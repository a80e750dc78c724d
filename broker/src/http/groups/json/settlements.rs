//! What holders of leases say: the bodies of `:ack`, `:nack`, `:reject`, `:extend` and `:release`, and the settlements of a commit.

use embermq_protocol::limits::LEASE_RECORDS_MAX;
use embermq_protocol::v1;
use embermq_protocol::v1::settlement::{Ack, Decision, Extend, Nack, Reject, Release};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::verbs::Word;
use crate::http::failure::Failure;
use crate::http::json::{BoundedList, Span};
use crate::http::messages::too_many_settlements;

/// Reads the body of a verb that settles leases.
pub(in crate::http::groups) fn settle(
    word: Word,
    body: &[u8],
) -> Result<v1::SettleRequest, Failure> {
    let (tokens, decision) = match word {
        Word::Ack => (parse::<PlainIn<'_>>(body)?.tokens()?, Decision::Ack(Ack {})),
        Word::Release => (parse::<PlainIn<'_>>(body)?.tokens()?, Decision::Release(Release {})),
        Word::Nack => {
            let nack: NackIn<'_> = parse(body)?;
            let delay = nack.delay.map(|Span(delay)| delay);
            let decision = Nack { delay, error: nack.error.unwrap_or_default() };
            (tokens(nack.tokens, nack.token)?, Decision::Nack(decision))
        }
        Word::Reject => {
            let reject: RejectIn<'_> = parse(body)?;
            let decision = Reject { reason: reject.reason };
            (tokens(reject.tokens, reject.token)?, Decision::Reject(decision))
        }
        Word::Extend => {
            let extend: ExtendIn<'_> = parse(body)?;
            let by = extend.by.map(|Span(by)| by);
            (tokens(extend.tokens, extend.token)?, Decision::Extend(Extend { by }))
        }
    };
    let one = |lease| v1::Settlement { lease, decision: Some(decision.clone()) };
    let settlements = tokens.into_iter().map(one).collect();
    Ok(v1::SettleRequest { settlements, ..v1::SettleRequest::default() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainIn<'a> {
    #[serde(borrow, default)]
    tokens: Option<BoundedList<'a>>,
    #[serde(default)]
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NackIn<'a> {
    #[serde(borrow, default)]
    tokens: Option<BoundedList<'a>>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    delay: Option<Span>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectIn<'a> {
    #[serde(borrow, default)]
    tokens: Option<BoundedList<'a>>,
    #[serde(default)]
    token: Option<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendIn<'a> {
    #[serde(borrow, default)]
    tokens: Option<BoundedList<'a>>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    by: Option<Span>,
}

impl PlainIn<'_> {
    fn tokens(self) -> Result<Vec<String>, Failure> {
        tokens(self.tokens, self.token)
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Failure::malformed(format!("the body is no settlement: {error}")))
}

/// The tokens of a list, the one token, or both.
fn tokens(list: Option<BoundedList<'_>>, token: Option<String>) -> Result<Vec<String>, Failure> {
    let list = list.unwrap_or_default();
    let mut tokens: Vec<String> = token.into_iter().collect();
    if list.overflow || list.elements.len() + tokens.len() > LEASE_RECORDS_MAX as usize {
        return Err(too_many_settlements());
    }
    for (index, element) in list.elements.into_iter().enumerate() {
        let token = serde_json::from_str(element.get()).map_err(|error| {
            Failure::malformed(format!("token {index} is no text: {error}")).with("index", index)
        })?;
        tokens.push(token);
    }
    if tokens.is_empty() {
        let detail = "there is nothing to settle: name lease tokens in `tokens`, or one in `token`";
        return Err(Failure::invalid(detail).with("field", "tokens"));
    }
    Ok(tokens)
}

/// One settlement of a commit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettlementIn {
    token: String,
    #[serde(default)]
    ack: Option<bool>,
    #[serde(default)]
    nack: Option<NackPartIn>,
    #[serde(default)]
    reject: Option<RejectPartIn>,
    #[serde(default)]
    extend: Option<ExtendPartIn>,
    #[serde(default)]
    release: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NackPartIn {
    #[serde(default)]
    delay: Option<Span>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectPartIn {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendPartIn {
    #[serde(default)]
    by: Option<Span>,
}

/// Reads the settlements of a commit.
pub(in crate::http) fn settlement_list(
    list: &BoundedList<'_>,
) -> Result<Vec<v1::Settlement>, Failure> {
    if list.overflow || list.elements.len() > LEASE_RECORDS_MAX as usize {
        return Err(too_many_settlements());
    }
    let one = |(index, json): (usize, &&RawValue)| {
        settlement(json).map_err(|reason| {
            Failure::malformed(format!("settlement {index}: {reason}. Nothing was done"))
                .with("index", index)
        })
    };
    list.elements.iter().enumerate().map(one).collect()
}

fn settlement(json: &RawValue) -> Result<v1::Settlement, String> {
    let read: SettlementIn = serde_json::from_str(json.get()).map_err(|error| error.to_string())?;
    if read.ack == Some(false) || read.release == Some(false) {
        return Err("ack and release are true or not there".to_owned());
    }
    let decisions = [
        read.ack.map(|_| Decision::Ack(Ack {})),
        read.nack.map(|nack| {
            let delay = nack.delay.map(|Span(delay)| delay);
            Decision::Nack(Nack { delay, error: nack.error.unwrap_or_default() })
        }),
        read.reject.map(|reject| Decision::Reject(Reject { reason: reject.reason })),
        read.extend.map(|extend| Decision::Extend(Extend { by: extend.by.map(|Span(by)| by) })),
        read.release.map(|_| Decision::Release(Release {})),
    ];
    let mut given = decisions.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(decision), None) => {
            Ok(v1::Settlement { lease: read.token, decision: Some(decision) })
        }
        _ => Err("it needs exactly one of ack, nack, reject, extend and release".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_takes_many_tokens_or_one() {
        let of = |word, body: &str| settle(word, body.as_bytes());
        let all = of(Word::Ack, r#"{"tokens":["a","b"]}"#).unwrap().settlements;
        assert_eq!(all.iter().map(|one| one.lease.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(of(Word::Release, r#"{"token":"a"}"#).unwrap().settlements.len(), 1);
        let detail = |word, body| of(word, body).unwrap_err().problem().detail.clone();
        for body in ["", "{}", r#"{"tokens":[]}"#] {
            assert!(detail(Word::Ack, body).contains("`tokens`"));
        }
        assert!(detail(Word::Ack, r#"{"tokens":[1]}"#).contains("token 0"));
        assert!(detail(Word::Ack, r#"{"tokens":["a"],"delay":"1s"}"#).contains("delay"));
        assert!(detail(Word::Reject, r#"{"tokens":["a"]}"#).contains("reason"));
        assert!(detail(Word::Extend, r#"{"tokens":["a"],"by":"soon"}"#).contains("duration"));
        let many = format!(r#"{{"tokens":[{}"a"]}}"#, r#""a","#.repeat(1_000));
        assert!(detail(Word::Ack, &many).contains("1000"));
    }

    #[test]
    fn a_settlement_says_exactly_one_thing() {
        let of = |json: &str| settlement(&RawValue::from_string(json.to_owned()).unwrap());
        for decision in [
            r#""ack":true"#,
            r#""nack":{}"#,
            r#""nack":{"delay":"5s","error":"x"}"#,
            r#""reject":{"reason":"x"}"#,
            r#""extend":{"by":"30s"}"#,
            r#""release":true"#,
        ] {
            let read = of(&format!(r#"{{"token":"a",{decision}}}"#)).unwrap();
            assert!(read.decision.is_some() && read.lease == "a");
        }
        for wrong in [
            r#"{"token":"a"}"#,
            r#"{"token":"a","ack":false}"#,
            r#"{"token":"a","ack":true,"release":true}"#,
            r#"{"token":"a","acked":true}"#,
            r#"{"ack":true}"#,
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
