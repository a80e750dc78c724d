//! The settlements of a commit in JSON: in full in `settlements`, or in short in `acks`, `nacks` and `rejects`.
//!
//! They are one list, in this order: that is how answers have them, and what an index in an error means.

use embermq_protocol::limits::LEASE_RECORDS_MAX;
use embermq_protocol::v1;
use embermq_protocol::v1::settlement::{Ack, Decision, Extend, Nack, Reject, Release};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::failure::Failure;
use crate::http::json::{BoundedList, Object, Span, from_object};
use crate::http::messages::too_many_settlements;

/// The lists of a commit that settle leases, unread.
#[derive(Debug, Default)]
pub(in crate::http) struct SettlementLists<'a> {
    pub(in crate::http) settlements: BoundedList<'a>,
    pub(in crate::http) acks: BoundedList<'a>,
    pub(in crate::http) nacks: BoundedList<'a>,
    pub(in crate::http) rejects: BoundedList<'a>,
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with a token and one of ack, nack, reject, extend and release"
)]
struct SettlementIn {
    token: String,
    #[serde(default)]
    ack: Option<bool>,
    #[serde(default)]
    nack: Option<Object<NackPartIn>>,
    #[serde(default)]
    reject: Option<Object<RejectPartIn>>,
    #[serde(default)]
    extend: Option<Object<ExtendPartIn>>,
    #[serde(default)]
    release: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with delay, error or both")]
struct NackPartIn {
    #[serde(default)]
    delay: Option<Span>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object, perhaps with a reason")]
struct RejectPartIn {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with by")]
struct ExtendPartIn {
    #[serde(default)]
    by: Option<Span>,
}

/// An element of `nacks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a token")]
struct ShortNackIn {
    token: String,
    #[serde(default)]
    delay: Option<Span>,
    #[serde(default)]
    error: Option<String>,
}

/// An element of `rejects`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a token")]
struct ShortRejectIn {
    token: String,
    #[serde(default)]
    reason: Option<String>,
}

/// Reads one element of a list.
type Reader = fn(&RawValue) -> Result<v1::Settlement, String>;

impl SettlementLists<'_> {
    /// Reads all of them; they are counted before any is.
    pub(in crate::http) fn read(&self) -> Result<Vec<v1::Settlement>, Failure> {
        let lists: [(&BoundedList<'_>, Reader); 4] = [
            (&self.settlements, settlement),
            (&self.acks, ack),
            (&self.nacks, nack),
            (&self.rejects, reject),
        ];
        let count: usize = lists.iter().map(|(list, _)| list.elements.len()).sum();
        if lists.iter().any(|(list, _)| list.overflow) || count > LEASE_RECORDS_MAX as usize {
            return Err(too_many_settlements());
        }
        let elements = lists
            .into_iter()
            .flat_map(|(list, read)| list.elements.iter().map(move |element| read(element)));
        let one = |(index, read): (usize, Result<_, String>)| {
            read.map_err(|reason| {
                Failure::malformed(format!("settlement {index}: {reason}. Nothing was done"))
                    .with("index", index)
            })
        };
        elements.enumerate().map(one).collect()
    }
}

fn settlement(json: &RawValue) -> Result<v1::Settlement, String> {
    let read: SettlementIn = from_object(json.get().as_bytes())?;
    if read.ack == Some(false) || read.release == Some(false) {
        return Err("ack and release are true or not there".to_owned());
    }
    let decisions = [
        read.ack.map(|_| Decision::Ack(Ack {})),
        read.nack.map(|Object(nack)| nacked(nack.delay, nack.error)),
        read.reject.map(|Object(reject)| rejected(reject.reason)),
        read.extend
            .map(|Object(extend)| Decision::Extend(Extend { by: extend.by.map(|Span(by)| by) })),
        read.release.map(|_| Decision::Release(Release {})),
    ];
    let mut given = decisions.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(decision), None) => Ok(of(read.token, decision)),
        _ => Err("it needs exactly one of ack, nack, reject, extend and release".to_owned()),
    }
}

fn ack(json: &RawValue) -> Result<v1::Settlement, String> {
    let token = serde_json::from_str(json.get())
        .map_err(|error| format!("an element of acks is a token: {error}"))?;
    Ok(of(token, Decision::Ack(Ack {})))
}

fn nack(json: &RawValue) -> Result<v1::Settlement, String> {
    let read: ShortNackIn = from_object(json.get().as_bytes())?;
    Ok(of(read.token, nacked(read.delay, read.error)))
}

fn reject(json: &RawValue) -> Result<v1::Settlement, String> {
    let read: ShortRejectIn = from_object(json.get().as_bytes())?;
    Ok(of(read.token, rejected(read.reason)))
}

fn nacked(delay: Option<Span>, error: Option<String>) -> Decision {
    let delay = delay.map(|Span(delay)| delay);
    Decision::Nack(Nack { delay, error: error.unwrap_or_default() })
}

fn rejected(reason: Option<String>) -> Decision {
    Decision::Reject(Reject { reason: reason.unwrap_or_default() })
}

const fn of(lease: String, decision: Decision) -> v1::Settlement {
    v1::Settlement { lease, decision: Some(decision) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_says_exactly_one_thing() {
        let of = |json: &str| settlement(&RawValue::from_string(json.to_owned()).unwrap());
        for decision in [
            r#""ack":true"#,
            r#""nack":{}"#,
            r#""nack":{"delay":"5s","error":"x"}"#,
            r#""reject":{}"#,
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
            r#"["a",true]"#,
            r#"{"token":"a","nack":["5s","x"]}"#,
            r#"{"token":"a","reject":["x"]}"#,
            r#"{"token":"a","extend":["30s"]}"#,
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    /// Reads the four lists, each an array in JSON.
    fn read([settlements, acks, nacks, rejects]: [&str; 4]) -> Result<Vec<v1::Settlement>, String> {
        let list = |json| serde_json::from_str(json).unwrap();
        let lists = SettlementLists {
            settlements: list(settlements),
            acks: list(acks),
            nacks: list(nacks),
            rejects: list(rejects),
        };
        lists.read().map_err(|failure| failure.problem().detail.clone())
    }

    #[test]
    fn short_forms_follow_the_full_ones() {
        let all = read([
            r#"[{"token":"a","release":true}]"#,
            r#"["b","c"]"#,
            r#"[{"token":"d","delay":"5s","error":"later"},{"token":"e"}]"#,
            r#"[{"token":"f","reason":"never"},{"token":"g"}]"#,
        ])
        .unwrap();
        let tokens: Vec<&str> = all.iter().map(|one| one.lease.as_str()).collect();
        assert_eq!(tokens, ["a", "b", "c", "d", "e", "f", "g"]);
        assert_eq!(all[2].decision, Some(Decision::Ack(Ack {})));
        assert!(matches!(
            &all[3].decision,
            Some(Decision::Nack(Nack { delay: Some(delay), error })) if delay.seconds == 5 && error == "later"
        ));
        assert_eq!(all[4].decision, Some(Decision::Nack(Nack::default())));
        assert_eq!(all[6].decision, Some(Decision::Reject(Reject::default())));
    }

    #[test]
    fn a_wrong_one_is_named_by_its_place_among_all() {
        let detail = |lists| read(lists).unwrap_err();
        let full = r#"[{"token":"a","ack":true}]"#;
        assert!(detail([full, "[1]", "[]", "[]"]).starts_with("settlement 1: an element of acks"));
        assert!(detail(["[]", "[]", r#"[["a"]]"#, "[]"]).contains("an object is expected"));
        assert!(detail(["[]", "[]", "[]", r#"[["a"]]"#]).contains("an object is expected"));
        let nack = r#"[{"token":"a","reason":"x"}]"#;
        assert!(detail([full, r#"["b"]"#, nack, "[]"]).starts_with("settlement 2: "));
        assert!(detail(["[]", "[]", "[]", r#"["a"]"#]).starts_with("settlement 0: "));
        let (six, five) = (format!(r#"[{}"a"]"#, r#""a","#.repeat(599)), "{}");
        let nacks = format!("[{}{five}]", "{},".repeat(400));
        assert!(detail(["[]", &six, &nacks, "[]"]).contains("1000"), "counted together");
    }
}
