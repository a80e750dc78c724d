//! Leases and how they end.

use std::time::Duration;

use embermq_protocol::limits::{
    LEASE_MAX, LEASE_MIN, LEASE_RECORDS_MAX, LEASE_WAIT_MAX, RETRY_DELAY_MAX,
};
use embermq_protocol::names::TopicName;
use embermq_protocol::{time, v1};

use super::{group_name, span, time_message};
use crate::http::catalog::topic_name;
use crate::http::failure::Failure;
use crate::http::messages::too_many_settlements;
use crate::{Appended, CommitError, Lease, LeaseRequest, Settled, Settlement, Verdict};

/// A wish for records. No number of records means one.
pub(in crate::http::groups) fn lease_request(
    message: v1::LeaseRequest,
) -> Result<LeaseRequest, Failure> {
    let wait = message.wait.unwrap_or_default();
    let lease = message.lease.map(|lease| span("lease", lease, LEASE_MIN, LEASE_MAX));
    Ok(LeaseRequest {
        topic: topic_name(&message.topic)?,
        group: group_name(&message.group)?,
        member: message.member,
        records_max: records_max(message.max_records.max(1).into())?,
        wait: span("wait", wait, Duration::ZERO, LEASE_WAIT_MAX)?,
        lease: lease.transpose()?,
    })
}

/// How many records one request may take.
pub(in crate::http::groups) fn records_max(number: u64) -> Result<u32, Failure> {
    let number_fits = u32::try_from(number).ok();
    number_fits.filter(|fits| (1..=LEASE_RECORDS_MAX).contains(fits)).ok_or_else(|| {
        Failure::invalid(format!("max_records is {number}, it can be 1 to {LEASE_RECORDS_MAX}"))
            .with("field", "max_records")
    })
}

/// A lease as a message.
pub(in crate::http::groups) fn lease_message(topic: &TopicName, lease: Lease) -> v1::Lease {
    v1::Lease {
        token: lease.token,
        topic: topic.as_str().to_owned(),
        partition: lease.partition.0,
        offset: lease.offset.0,
        attempt: lease.attempt,
        expires_at: time_message(lease.deadline),
        first_leased_at: time_message(lease.first_leased),
        append_time: time_message(lease.append_time),
        record: Some(lease.record),
    }
}

/// What the holders of leases say; the failure names the first one that makes no sense.
pub(in crate::http) fn settlements(
    messages: Vec<v1::Settlement>,
) -> Result<Vec<Settlement>, Failure> {
    if messages.len() > LEASE_RECORDS_MAX as usize {
        return Err(too_many_settlements());
    }
    let one = |(index, message): (usize, v1::Settlement)| {
        let verdict = verdict(index, message.decision);
        let verdict = verdict.map_err(|failure| failure.with("index", index))?;
        Ok(Settlement { token: message.lease, verdict })
    };
    messages.into_iter().enumerate().map(one).collect()
}

fn verdict(index: usize, decision: Option<v1::settlement::Decision>) -> Result<Verdict, Failure> {
    use v1::settlement::Decision;
    match decision {
        Some(Decision::Ack(_)) => Ok(Verdict::Ack),
        Some(Decision::Nack(nack)) => {
            let name = format!("settlement {index}: the delay");
            let delay = nack.delay.map(|delay| span(&name, delay, Duration::ZERO, RETRY_DELAY_MAX));
            Ok(Verdict::Nack { delay: delay.transpose()?, error: nack.error })
        }
        Some(Decision::Reject(reject)) => Ok(Verdict::Reject { reason: reject.reason }),
        Some(Decision::Extend(extend)) => {
            let by = extend.by.ok_or_else(|| {
                Failure::invalid(format!("settlement {index}: an extension needs `by`"))
            })?;
            let name = format!("settlement {index}: the extension");
            Ok(Verdict::Extend { by: span(&name, by, LEASE_MIN, LEASE_MAX)? })
        }
        Some(Decision::Release(_)) => Ok(Verdict::Release),
        None => Err(Failure::invalid(format!(
            "settlement {index} says nothing: it needs ack, nack, reject, extend or release"
        ))),
    }
}

/// What became of one of several leases that are settled each on its own.
pub(in crate::http::groups) fn result_message(
    token: String,
    result: Result<Settled, CommitError>,
) -> v1::SettlementResult {
    match result {
        Ok(settled) => settled_message(token, settled),
        Err(error) => v1::SettlementResult {
            lease: token,
            error: Some(error_message(&error.into())),
            ..v1::SettlementResult::default()
        },
    }
}

/// What became of a lease.
pub(in crate::http) fn settled_message(token: String, settled: Settled) -> v1::SettlementResult {
    let result = v1::SettlementResult { lease: token, ..v1::SettlementResult::default() };
    match settled {
        Settled::Acked => result,
        Settled::Waiting { until } => {
            v1::SettlementResult { next_attempt_at: time_message(until), ..result }
        }
        Settled::Extended { deadline } => {
            v1::SettlementResult { expires_at: time_message(deadline), ..result }
        }
        Settled::Dead { letter } => {
            v1::SettlementResult { dead_letter: Some(appended_message(&letter)), ..result }
        }
    }
}

fn appended_message(appended: &Appended) -> v1::AppendResult {
    v1::AppendResult {
        topic: appended.topic.as_str().to_owned(),
        partition: appended.partition.0,
        base_offset: appended.base_offset.0,
        count: appended.count,
        ..v1::AppendResult::default()
    }
}

/// The failure of one item among many.
fn error_message(failure: &Failure) -> v1::Error {
    let problem = failure.problem();
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let facts = problem.details.iter().map(|(name, value)| (name.clone(), text(value)));
    v1::Error {
        code: problem.code.clone(),
        message: problem.detail.clone(),
        retryable: problem.retryable,
        retry_after: problem
            .retry_after_ms
            .map(|ms| time::Duration::from(Duration::from_millis(ms))),
        details: facts.collect(),
    }
}

#[cfg(test)]
mod tests {
    use v1::settlement::{Decision, Extend, Nack};

    use super::*;

    fn one(decision: Option<Decision>) -> Result<Verdict, Failure> {
        let settlement = v1::Settlement { lease: "x".to_owned(), decision };
        settlements(vec![settlement]).map(|mut all| all.remove(0).verdict)
    }

    fn nack(seconds: i64) -> Decision {
        let delay = Some(time::Duration { seconds, nanos: 0 });
        Decision::Nack(Nack { delay, error: String::new() })
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_limit() {
        let refusal = |decision| one(decision).unwrap_err().problem().clone();
        for delay in [-1, 30 * 86_400 + 1, i64::MAX] {
            let refused = refusal(Some(nack(delay)));
            assert!(refused.detail.contains("0s to 2592000s"), "{refused:?}");
            assert_eq!(refused.details["index"], 0);
        }
        for seconds in [-1, 0, 43_201] {
            let by = Some(time::Duration { seconds, nanos: 0 });
            let refused = refusal(Some(Decision::Extend(Extend { by })));
            assert!(refused.detail.contains("1s to 43200s"), "{refused:?}");
        }
        assert!(refusal(Some(Decision::Extend(Extend { by: None }))).detail.contains("by"));
        assert!(refusal(None).detail.contains("ack, nack"));
        assert_eq!(
            one(Some(nack(0))).unwrap(),
            Verdict::Nack { delay: Some(Duration::ZERO), error: String::new() }
        );
        assert!(settlements(vec![v1::Settlement::default(); 1_001]).is_err());
    }

    #[test]
    fn a_wish_is_within_its_limits() {
        let wish = || v1::LeaseRequest {
            topic: "t".to_owned(),
            group: "g".to_owned(),
            ..v1::LeaseRequest::default()
        };
        let read = lease_request(wish()).unwrap();
        assert_eq!((read.records_max, read.wait, read.lease), (1, Duration::ZERO, None));
        let many = v1::LeaseRequest { max_records: 1_001, ..wish() };
        assert!(lease_request(many).is_err());
        let wait = Some(time::Duration { seconds: 30, nanos: 1 });
        assert!(lease_request(v1::LeaseRequest { wait, ..wish() }).is_err());
        assert!(lease_request(v1::LeaseRequest { group: "a:b".to_owned(), ..wish() }).is_err());
    }
}
