//! Leases: taking records, and saying what became of each.

use std::time::Duration;

use super::{ClientError, GroupClient, LeaseCommit, SettleError, Settled};
use crate::{
    limits::{LEASE_RECORDS_MAX, LEASE_WAIT_MAX},
    names::TopicName,
    paths,
    time::Timestamp,
    v1::{Lease, LeaseRequest, LeaseResponse, Record, Settlement, settlement::Decision},
};

/// What to lease, and how long to wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    /// At most so many records; at most 1,000.
    pub max_records: u32,
    /// How long the broker waits when there is none, at most 30 s.
    pub wait: Duration,
    /// How long the leases last. None: as the group says.
    pub lease: Option<Duration>,
    /// Who asks; with order by partition a partition stays with its member. May be empty.
    pub member: String,
}

impl Default for LeaseOptions {
    /// One record, without waiting, for as long as the group says, as nobody in particular.
    fn default() -> Self {
        Self { max_records: 1, wait: Duration::ZERO, lease: None, member: String::new() }
    }
}

/// A record that is yours until you settle it or its lease ends. A clone is cheap, and the same lease.
///
/// Dropping it does nothing: the record is offered again when the lease ends, and that was an attempt.
#[derive(Clone, Debug)]
pub struct Leased {
    /// The record as it was produced.
    pub record: Record,
    /// The topic it is in.
    pub topic: TopicName,
    /// The partition it is in.
    pub partition: u32,
    /// Its number in the partition.
    pub offset: u64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// When the lease ends, by the broker's clock.
    pub expires_at: Timestamp,
    /// When its first attempt began.
    pub first_leased_at: Timestamp,
    /// When the broker took the record.
    pub append_time: Timestamp,
    /// What settles it; opaque.
    pub token: String,
    pub(crate) group: GroupClient,
}

impl GroupClient {
    /// Takes records, in the order in which they are to be worked on. An empty answer: there were none in time. The group
    /// is made with default settings when there is none.
    ///
    /// When the answer to a try is lost, the records in it come back when their leases end, with one attempt more.
    ///
    /// # Errors
    /// [`ClientError`]; when there is no such topic, a problem with the code `topic_not_found`.
    pub async fn lease(&self, options: LeaseOptions) -> Result<Vec<Leased>, ClientError> {
        let (topic, group) = self.names();
        let wait = options.wait.min(LEASE_WAIT_MAX);
        let request = LeaseRequest {
            topic,
            group,
            member: options.member,
            max_records: options.max_records.min(LEASE_RECORDS_MAX),
            wait: (!wait.is_zero()).then(|| wait.into()),
            lease: options.lease.map(Into::into),
        };
        let transport = &self.client.transport;
        let call = || transport.connect_waiting(paths::LEASE, &request, wait);
        let answer: LeaseResponse = self.client.retry.run(call).await?;
        answer.leases.into_iter().map(|lease| self.leased(lease)).collect()
    }

    fn leased(&self, lease: Lease) -> Result<Leased, ClientError> {
        let without = |what| ClientError::Answer(format!("a lease has no {what}"));
        Ok(Leased {
            record: lease.record.ok_or_else(|| without("record"))?,
            topic: self.topic.clone(),
            partition: lease.partition,
            offset: lease.offset,
            attempt: lease.attempt,
            expires_at: lease.expires_at.ok_or_else(|| without("end"))?,
            first_leased_at: lease.first_leased_at.unwrap_or_default(),
            append_time: lease.append_time.unwrap_or_default(),
            token: lease.token,
            group: self.clone(),
        })
    }
}

impl Leased {
    /// Done: it is never offered again.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn ack(&self) -> Result<Settled, SettleError> {
        self.settle(ack()).await
    }

    /// It failed: it is offered again after `delay` or, without one, as the group's backoff says. On its last attempt it
    /// goes to the dead-letter topic, and `error` with it.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn nack(
        &self,
        delay: Option<Duration>,
        error: impl Into<String>,
    ) -> Result<Settled, SettleError> {
        self.settle(nack(delay, error.into())).await
    }

    /// It can never succeed: to the dead-letter topic now.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn reject(&self, reason: impl Into<String>) -> Result<Settled, SettleError> {
        self.settle(reject(reason.into())).await
    }

    /// It takes longer: the lease lasts until this long from now at least.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn extend(&mut self, by: Duration) -> Result<Settled, SettleError> {
        let settled = self.settle(extend(by)).await?;
        if let Settled::Extended { expires_at } = &settled {
            self.expires_at = *expires_at;
        }
        Ok(settled)
    }

    /// Not tried: it is offered to somebody else at once, and this was no attempt.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn release(&self) -> Result<Settled, SettleError> {
        self.settle(release()).await
    }

    /// Appends records and settles the lease in one commit, all or nothing.
    pub fn commit(&self) -> LeaseCommit<'_> {
        LeaseCommit::new(self)
    }

    /// The lease with a decision on it, for [`GroupClient::settle`] and [`Client::commit`](super::Client::commit).
    #[must_use]
    pub fn settlement(&self, decision: Decision) -> Settlement {
        Settlement { lease: self.token.clone(), decision: Some(decision) }
    }

    async fn settle(&self, decision: Decision) -> Result<Settled, SettleError> {
        let mut results = self.group.settle(vec![self.settlement(decision)]).await;
        // There is one for each; without one the answer would be an error already.
        results.pop().unwrap_or_else(|| {
            Err(ClientError::Answer("it has no result for the lease".to_owned()).into())
        })
    }
}

pub(crate) fn ack() -> Decision {
    Decision::Ack(crate::v1::settlement::Ack {})
}

pub(crate) fn nack(delay: Option<Duration>, error: String) -> Decision {
    Decision::Nack(crate::v1::settlement::Nack { delay: delay.map(Into::into), error })
}

pub(crate) fn reject(reason: String) -> Decision {
    Decision::Reject(crate::v1::settlement::Reject { reason })
}

pub(crate) fn extend(by: Duration) -> Decision {
    Decision::Extend(crate::v1::settlement::Extend { by: Some(by.into()) })
}

pub(crate) fn release() -> Decision {
    Decision::Release(crate::v1::settlement::Release {})
}
