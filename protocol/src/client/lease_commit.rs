//! What a record led to and its settlement, in one commit.
//!
//! The commit's idempotency key is derived from the lease's token: when an answer is lost, the next try gets the first
//! one's answer instead of a lost lease. It also means that one lease is settled by one commit at most, whatever is
//! tried: another commit of the same lease is refused with `idempotency_key_reused` when the first one went through.

use std::time::Duration;

use bytes::Bytes;

use super::{
    ClientError, Delivery, KeyVersion, Leased, SettleError, Settled, When, lease,
    producer::deliveries,
    settle::{effect_unknown, settled},
};
use crate::{
    names::{NameError, TopicName},
    paths,
    v1::{
        Append, AppendResult, Cancel, CommitRequest, CommitResponse, Precondition, ProduceResponse,
        Record, RecordBatch, precondition, settlement::Decision,
    },
};

/// Records to append in the same commit as a lease is settled.
///
/// ```no_run
/// use embermq_protocol::{client::Leased, v1::Record};
///
/// # async fn example(lease: Leased) -> Result<(), embermq_protocol::client::SettleError> {
/// let committed = lease
///     .commit()
///     .append("thumbnails", Record::new("17.jpg"))
///     .append("audit", Record::new("resized 17"))
///     .ack()
///     .await?;
/// println!("the thumbnail is at offset {}", committed.deliveries[0].offset);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens before it is settled"]
pub struct LeaseCommit<'a> {
    lease: &'a Leased,
    /// In order of first use.
    appends: Vec<(String, Option<When>, Vec<Record>)>,
    cancels: Vec<Cancel>,
    /// What must hold for all of it.
    preconditions: Vec<Precondition>,
    /// Of each record: which of `appends` it is in, and where in it.
    places: Vec<(usize, usize)>,
}

/// What a commit of a lease did.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Where each appended record went, in their order.
    pub deliveries: Vec<Delivery>,
    /// What became of the lease. None: this is a replayed answer, which does not say whether the record waits or is dead.
    pub settled: Option<Settled>,
    /// This is the answer to an earlier try, which went through.
    pub replayed: bool,
}

impl<'a> LeaseCommit<'a> {
    pub(crate) const fn new(lease: &'a Leased) -> Self {
        Self {
            lease,
            appends: Vec::new(),
            cancels: Vec::new(),
            preconditions: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Only if the version of a key is this one, as things are before the commit. Another one is a problem with the code
    /// `key_conflict`, and the lease is still the caller's.
    pub fn expect_key(
        mut self,
        topic: impl Into<String>,
        key: impl Into<Bytes>,
        version: KeyVersion,
    ) -> Self {
        let version =
            precondition::KeyVersion { key: key.into(), offset: version.offset(), partition: None };
        self.preconditions.push(Precondition {
            topic: topic.into(),
            check: Some(precondition::Check::KeyVersion(version)),
        });
        self
    }

    /// One more record, behind those that were added for its topic before.
    pub fn append(self, topic: impl Into<String>, record: Record) -> Self {
        self.add(topic.into(), None, record)
    }

    /// One more record, which appears later; those of one topic and one moment appear together.
    pub fn append_at(self, topic: impl Into<String>, when: When, record: Record) -> Self {
        self.add(topic.into(), Some(when), record)
    }

    /// Something scheduled that is not to happen. If it is not pending any more, the whole commit is refused.
    pub fn cancel(mut self, topic: impl Into<String>, schedule: impl Into<String>) -> Self {
        self.cancels.push(Cancel { topic: topic.into(), schedule: schedule.into() });
        self
    }

    fn add(mut self, topic: String, when: Option<When>, record: Record) -> Self {
        let same = |(known, at, _): &(String, Option<When>, _)| (known, at) == (&topic, &when);
        let at = self.appends.iter().position(same);
        let at = at.unwrap_or_else(|| {
            self.appends.push((topic, when, Vec::new()));
            self.appends.len() - 1
        });
        let records = &mut self.appends[at].2;
        self.places.push((at, records.len()));
        records.push(record);
        self
    }

    /// Appends everything, and the leased record is done.
    ///
    /// # Errors
    /// [`SettleError`]; then nothing was appended and nothing settled, unless the last try's answer was lost.
    pub async fn ack(self) -> Result<Committed, SettleError> {
        self.settle(lease::ack()).await
    }

    /// Appends everything, and the leased record failed: see [`Leased::nack`].
    ///
    /// # Errors
    /// As [`LeaseCommit::ack`].
    pub async fn nack(
        self,
        delay: Option<Duration>,
        error: impl Into<String>,
    ) -> Result<Committed, SettleError> {
        self.settle(lease::nack(delay, error.into())).await
    }

    /// Appends everything, and the leased record can never succeed: see [`Leased::reject`].
    ///
    /// # Errors
    /// As [`LeaseCommit::ack`].
    pub async fn reject(self, reason: impl Into<String>) -> Result<Committed, SettleError> {
        self.settle(lease::reject(reason.into())).await
    }

    async fn settle(self, decision: Decision) -> Result<Committed, SettleError> {
        let Self { lease, appends, cancels, preconditions, places } = self;
        let counts: Vec<usize> = appends.iter().map(|(.., records)| records.len()).collect();
        let topics: Vec<String> = appends.iter().map(|(topic, ..)| topic.clone()).collect();
        let settlement = lease.settlement(decision);
        let request = CommitRequest {
            preconditions,
            appends: appends
                .into_iter()
                .map(append)
                .collect::<Result<_, _>>()
                .map_err(ClientError::from)?,
            settlements: vec![settlement.clone()],
            cancels,
            idempotency_key: key(&lease.token),
            ..CommitRequest::default()
        };

        let client = &lease.group.client;
        let (mut tries, mut answer_lost) = (client.retry.start(), false);
        let answer: CommitResponse = loop {
            match client.transport.connect(paths::COMMIT, &request).await {
                Ok(answer) => break answer,
                Err(error) => {
                    answer_lost |= effect_unknown(&error);
                    let again = tries.wait_after(error).await;
                    again.map_err(|error| SettleError::of(error, answer_lost))?;
                }
            }
        };

        let replayed = answer.replayed;
        let mut found = Vec::with_capacity(counts.len());
        let mut results = answer.appends.into_iter().peekable();
        for (topic, count) in topics.iter().zip(counts) {
            let mut of_append = Vec::new();
            let mut records = 0;
            while records < count
                && let Some(result) = results.next_if(|result| result.topic == *topic)
            {
                records += result.count as usize;
                of_append.push(result);
            }
            found.push(placed(of_append, count)?);
        }
        let settled = match (answer.settlements.into_iter().next(), &settlement.decision) {
            (Some(result), _) => Some(settled(&settlement, result, answer_lost)?),
            // All or nothing: there is a commit, so the lease is settled in it.
            (None, Some(Decision::Ack(_))) => Some(Settled::Acked),
            (None, _) => None,
        };
        let deliveries = places.into_iter().map(|(append, at)| found[append][at].clone()).collect();
        Ok(Committed { deliveries, settled, replayed })
    }
}

fn append(
    (topic, when, records): (String, Option<When>, Vec<Record>),
) -> Result<Append, NameError> {
    let topic = TopicName::new(&topic)?.as_str().to_owned();
    let batch = Some(RecordBatch { records, ..RecordBatch::default() });
    let (deliver_at, delay) = When::fields(when);
    Ok(Append { topic, partition: None, batch, deliver_at, delay })
}

fn placed(results: Vec<AppendResult>, records: usize) -> Result<Vec<Delivery>, ClientError> {
    deliveries(&ProduceResponse { results, replayed: false }, records)
}

/// The idempotency key of a token, by FNV-1a with 128 bits: short, and the same for every try.
fn key(token: &str) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash =
        token.bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    format!("lease-{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_key_of_its_own() {
        assert_eq!(key("a"), "lease-d228cb696f1a8caf78912b704e4a8964");
        assert_ne!(key("token 1"), key("token 2"));
        assert!(key(&"x".repeat(10_000)).len() < crate::limits::IDEMPOTENCY_KEY_BYTES_MAX);
    }
}
