//! The bodies of `:lease`, `:seek` and `:redrive`.

use embermq_protocol::v1;
use serde::Deserialize;

use super::super::convert::records_max;
use super::{PlaceIn, parse};
use crate::http::failure::Failure;
use crate::http::json::{Number, Span};

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "an object with max_records, wait, lease or member"
)]
struct WishIn {
    #[serde(alias = "maxRecords")]
    max_records: Option<Number>,
    wait: Option<Span>,
    lease: Option<Span>,
    member: Option<String>,
}

/// Reads the body of `:lease`.
pub(in crate::http::groups) fn wish(body: &[u8]) -> Result<v1::LeaseRequest, Failure> {
    let wish: WishIn = parse(body, "lease request")?;
    // In the message nothing and zero are the same; here a zero was meant.
    let max_records = wish.max_records.map(|Number(number)| records_max(number)).transpose()?;
    Ok(v1::LeaseRequest {
        member: wish.member.unwrap_or_default(),
        max_records: max_records.unwrap_or_default(),
        wait: wish.wait.map(|Span(wait)| wait),
        lease: wish.lease.map(|Span(lease)| lease),
        ..v1::LeaseRequest::default()
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object with to")]
struct SeekIn {
    to: Option<PlaceIn>,
    partition: Option<Number>,
    #[serde(alias = "dryRun")]
    dry_run: bool,
}

/// Reads the body of `:seek`.
pub(in crate::http::groups) fn seek(body: &[u8]) -> Result<v1::SeekRequest, Failure> {
    let seek: SeekIn = parse(body, "seek")?;
    // The message takes nothing for the start; whoever forgot the place does not want everything once more.
    let to = seek.to.ok_or_else(|| {
        Failure::invalid(
            "a seek needs `to`: \"earliest\", \"latest\", {\"offset\":5} or {\"time\":\"2026-11-22T10:00:00Z\"}",
        )
        .with("field", "to")
    })?;
    Ok(v1::SeekRequest {
        partition: small("partition", seek.partition)?,
        to: Some(to.into()),
        dry_run: seek.dry_run,
        ..v1::SeekRequest::default()
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "an object with offsets, contains, max_records, drop or dry_run"
)]
struct RedriveIn {
    offsets: Option<Vec<Number>>,
    contains: Option<String>,
    #[serde(alias = "maxRecords")]
    max_records: Option<Number>,
    #[serde(alias = "dryRun")]
    dry_run: bool,
    drop: bool,
}

/// Reads the body of `:redrive`.
pub(in crate::http::groups) fn redrive(body: &[u8]) -> Result<v1::RedriveRequest, Failure> {
    let redrive: RedriveIn = parse(body, "redrive")?;
    // In the message none and all are the same; here an empty list comes from a search that found nothing.
    if redrive.offsets.as_ref().is_some_and(Vec::is_empty) {
        let detail = "offsets is empty: name at least one, or leave it out for all dead letters";
        return Err(Failure::invalid(detail).with("field", "offsets"));
    }
    let max_records = small("max_records", redrive.max_records)?;
    if max_records == Some(0) {
        let detail = "max_records is 0, it must be at least 1; leave it out for all";
        return Err(Failure::invalid(detail).with("field", "max_records"));
    }
    let offsets = redrive.offsets.unwrap_or_default();
    Ok(v1::RedriveRequest {
        offsets: offsets.into_iter().map(|Number(offset)| offset).collect(),
        contains: redrive.contains.unwrap_or_default(),
        max_records: max_records.unwrap_or_default(),
        dry_run: redrive.dry_run,
        drop: redrive.drop,
        ..v1::RedriveRequest::default()
    })
}

fn small(name: &str, number: Option<Number>) -> Result<Option<u32>, Failure> {
    let number = number.map(|number| number.small(name)).transpose();
    number.map_err(|reason| Failure::invalid(reason).with("field", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_body_is_a_wish_for_one_record() {
        assert_eq!(wish(b"").unwrap(), v1::LeaseRequest::default());
        let all = wish(br#"{"max_records":2,"wait":"10s","lease":"60s","member":"m1"}"#).unwrap();
        assert_eq!((all.max_records, all.member.as_str()), (2, "m1"));
        for zero in ["0", "1001", "99999999999"] {
            let body = format!(r#"{{"max_records":{zero}}}"#);
            let failure = wish(body.as_bytes()).unwrap_err();
            assert!(failure.problem().detail.contains("1 to 1000"), "{failure:?}");
        }
        assert!(wish(br#"{"max":1}"#).unwrap_err().problem().detail.contains("max_records"));
    }

    #[test]
    fn what_would_mean_everything_must_be_said() {
        for body in ["", "{}", r#"{"partition":0}"#] {
            assert!(seek(body.as_bytes()).unwrap_err().problem().detail.contains("earliest"));
        }
        assert!(seek(br#"{"to":"latest","dry_run":true}"#).unwrap().dry_run);
        assert!(redrive(br#"{"offsets":[]}"#).is_err());
        assert!(redrive(br#"{"max_records":0}"#).is_err());
        assert_eq!(redrive(b"").unwrap(), v1::RedriveRequest::default());
        assert_eq!(redrive(br#"{"offsets":[3,"4"]}"#).unwrap().offsets, [3, 4]);
    }
}
