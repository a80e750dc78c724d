//! The answers of the verbs.

use embermq_protocol::code::Code;
use embermq_protocol::names::TopicName;
use embermq_protocol::{time, v1};
use embermq_storage::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Lease;
use crate::http::failure::Failure;
use crate::http::json::{Place, Style, write_record};
use crate::http::span::render_time;

/// The partition that all dead letters are in.
const LETTER_PARTITION: u32 = 0;

/// What a lease has beside the record.
#[derive(Serialize)]
struct LeaseHead<'a> {
    token: &'a str,
    attempt: u32,
    expires_at: String,
    first_leased_at: String,
}

/// Leases as one JSON text: `{"leases":[..]}`, each a record as a fetch shows it with the lease's own members before.
pub(in crate::http::groups) fn lease_page(
    topic: &TopicName,
    leases: &[Lease],
    style: Style,
) -> Result<Vec<u8>, Failure> {
    let mut text = b"{\"leases\":[".to_vec();
    for (index, lease) in leases.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        write_lease(&mut text, topic, lease, style).map_err(|error| {
            Failure::new(Code::Internal, format!("a record cannot be shown: {error}"))
        })?;
    }
    text.extend_from_slice(b"]}");
    Ok(text)
}

fn write_lease(
    text: &mut Vec<u8>,
    topic: &TopicName,
    lease: &Lease,
    style: Style,
) -> serde_json::Result<()> {
    let head = LeaseHead {
        token: &lease.token,
        attempt: lease.attempt,
        expires_at: render_time(lease.deadline),
        first_leased_at: render_time(lease.first_leased),
    };
    serde_json::to_writer(&mut *text, &head)?;
    let seam = text.len();
    let place = Place {
        topic: topic.as_str(),
        partition: lease.partition.0,
        offset: lease.offset.0,
        append_time: lease.append_time,
    };
    write_record(text, place, &lease.record, style)?;
    // Two objects, `{..}{..}`, become one: both have members.
    text.splice(seam - 1..=seam, [b',']);
    Ok(())
}

/// Dead letters as one JSON text: `{"dead_letter_topic","letters":[..],"next_after"}`, each a record as a fetch shows it.
pub(in crate::http::groups) fn letter_page(
    page: &v1::ListDeadLettersResponse,
    style: Style,
) -> Result<Vec<u8>, Failure> {
    let write = || -> serde_json::Result<Vec<u8>> {
        let mut text = b"{\"dead_letter_topic\":".to_vec();
        serde_json::to_writer(&mut text, &page.dead_letter_topic)?;
        text.extend_from_slice(b",\"letters\":[");
        for (index, letter) in page.letters.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            let micros = letter.append_time.and_then(|time| time.micros());
            let place = Place {
                topic: &page.dead_letter_topic,
                partition: LETTER_PARTITION,
                offset: letter.offset,
                append_time: Timestamp(micros.unwrap_or_default()),
            };
            write_record(&mut text, place, &letter.record.clone().unwrap_or_default(), style)?;
        }
        text.extend_from_slice(b"],\"next_after\":");
        serde_json::to_writer(&mut text, &page.next_after)?;
        text.push(b'}');
        Ok(text)
    };
    write()
        .map_err(|error| Failure::new(Code::Internal, format!("a record cannot be shown: {error}")))
}

/// What became of one lease.
pub(in crate::http) fn result_out(result: &v1::SettlementResult) -> Value {
    if let Some(error) = &result.error {
        let error = json!({
            "code": error.code,
            "detail": error.message,
            "retryable": error.retryable,
        });
        return json!({ "token": result.lease, "ok": false, "error": error });
    }
    let mut out = json!({ "token": result.lease, "ok": true });
    if let Some(at) = result.next_attempt_at {
        out["next_attempt_at"] = time_out(at);
    }
    if let Some(at) = result.expires_at {
        out["expires_at"] = time_out(at);
    }
    if let Some(letter) = &result.dead_letter {
        out["dead_letter"] = json!({
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.base_offset,
        });
    }
    out
}

fn time_out(time: time::Timestamp) -> Value {
    render_time(Timestamp(time.micros().unwrap_or_default())).into()
}

/// What a seek did to a partition.
pub(in crate::http::groups) fn sought_out(sought: &v1::SoughtPartition) -> Value {
    json!({
        "partition": sought.partition,
        "from_offset": sought.from_offset,
        "to_offset": sought.to_offset,
        "read_again": sought.read_again,
        "skipped": sought.skipped,
        "leases_lost": sought.leases_lost,
    })
}

#[cfg(test)]
mod tests {
    use embermq_storage::Offset;

    use super::*;
    use crate::{PartitionId, Record};

    #[test]
    fn a_lease_is_a_record_with_more() {
        let lease = Lease {
            token: "to\"ken".to_owned(),
            partition: PartitionId(1),
            offset: Offset(4),
            attempt: 2,
            deadline: Timestamp(2_000_000),
            first_leased: Timestamp(1_000_000),
            append_time: Timestamp(0),
            record: Record::new("resize 17").with_key("k"),
        };
        let topic = TopicName::new("jobs").unwrap();
        let page = lease_page(&topic, &[lease.clone(), lease], Style::default()).unwrap();
        let page: Value = serde_json::from_slice(&page).unwrap();
        let expected = json!({
            "token": "to\"ken", "attempt": 2, "expires_at": "1970-01-01T00:00:02.000000Z",
            "first_leased_at": "1970-01-01T00:00:01.000000Z", "topic": "jobs", "partition": 1, "offset": 4,
            "append_time": "1970-01-01T00:00:00.000000Z", "key": "k", "headers": {}, "value": "resize 17",
        });
        assert_eq!(page, json!({ "leases": [expected.clone(), expected] }));
        assert_eq!(lease_page(&topic, &[], Style::default()).unwrap(), b"{\"leases\":[]}");
    }
}
