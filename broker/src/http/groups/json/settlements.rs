//! What holders of leases say: the bodies of `:ack`, `:nack`, `:reject`, `:extend` and `:release`.

use embermq_protocol::limits::LEASE_RECORDS_MAX;
use embermq_protocol::v1;
use embermq_protocol::v1::settlement::{Ack, Decision, Extend, Nack, Reject, Release};
use serde::Deserialize;

use super::super::verbs::Word;
use crate::http::failure::Failure;
use crate::http::json::{BoundedList, Span, from_object};
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
            let decision = Reject { reason: reject.reason.unwrap_or_default() };
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
#[serde(deny_unknown_fields, expecting = "an object with tokens")]
struct PlainIn<'a> {
    #[serde(borrow, default)]
    tokens: Option<BoundedList<'a>>,
    #[serde(default)]
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with tokens")]
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
#[serde(deny_unknown_fields, expecting = "an object with tokens")]
struct RejectIn<'a> {
    #[serde(borrow, default)]
    tokens: Option<BoundedList<'a>>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with tokens and by")]
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
    from_object(body)
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
        assert!(detail(Word::Reject, r#"{"tokens":["a"],"reason":1}"#).contains("string"));
        let bare = of(Word::Reject, r#"{"token":"a"}"#).unwrap().settlements.remove(0);
        assert_eq!(bare.decision, Some(Decision::Reject(Reject::default())));
        assert!(detail(Word::Extend, r#"{"tokens":["a"],"by":"soon"}"#).contains("duration"));
        let many = format!(r#"{{"tokens":[{}"a"]}}"#, r#""a","#.repeat(1_000));
        assert!(detail(Word::Ack, &many).contains("1000"));
    }
}
