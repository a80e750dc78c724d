//! From tokens and verdicts to what the committer decides on, and back.

use std::sync::Arc;
use std::time::Duration;

use embermq_storage::Timestamp;

use super::dead_letter::{History, Reason, letter};
use super::desk::Desk;
use super::lease::{Settled, Settlement, Verdict};
use super::read_record;
use super::token::Claim;
use crate::broker::Broker;
use crate::commit::{Append, Appended};
use crate::error::CommitError;
use crate::group::{self, Dead, LeaseRef, Outcome};
use crate::state::{Ending, Endings, GroupState};
use crate::topic::Topic;

impl Broker {
    /// The leases of a commit: all of them must be known. Reads the records of those that may die of it.
    pub(crate) fn endings_of(&self, settlements: &[Settlement]) -> Result<Endings, CommitError> {
        let limit = self.options().commit_bytes_max;
        let mut bytes = 0;
        let mut items = Vec::with_capacity(settlements.len());
        for (index, settlement) in settlements.iter().enumerate() {
            let (desk, lease) = self.claimed(&settlement.token, None, index)?;
            let ending = self.ending(&desk, lease, &settlement.verdict)?;
            let letter_bytes = ending.letter_bytes();
            bytes += letter_bytes;
            // One alone is always taken: else a record that just fitted a commit could never die in one.
            if bytes > limit && bytes > letter_bytes {
                return Err(CommitError::TooLarge { bytes, limit });
            }
            items.push(ending);
        }
        Ok(Endings { items, all_or_nothing: true })
    }

    /// Whose lease a token is.
    pub(super) fn claimed(
        &self,
        token: &str,
        of: Option<&Arc<Desk>>,
        index: usize,
    ) -> Result<(Arc<Desk>, LeaseRef), CommitError> {
        let invalid =
            |detail: &str| CommitError::InvalidLeaseToken { index, detail: detail.to_owned() };
        let claim = Claim::parse(token)
            .ok_or_else(|| invalid("this is no lease token: send it as it came"))?;
        let desk = match of {
            Some(desk) if desk.id == claim.group => Arc::clone(desk),
            Some(_) => return Err(invalid("the lease is of another group")),
            None => self
                .desks()
                .by_id(claim.group)
                .ok_or_else(|| invalid("the lease is of a group that is not there"))?,
        };
        if !claim.is_genuine(desk.state().secret) {
            return Err(invalid("the token was changed, or was made by another broker"));
        }
        Ok((desk, claim.lease))
    }

    pub(super) fn ending(
        &self,
        desk: &Desk,
        lease: LeaseRef,
        verdict: &Verdict,
    ) -> Result<Ending, CommitError> {
        let state = desk.state();
        let (core, reason) = match verdict {
            Verdict::Ack => (group::Verdict::Ack, None),
            Verdict::Release => (group::Verdict::Release, None),
            Verdict::Extend { by } => (group::Verdict::Extend { by_us: micros(*by) }, None),
            Verdict::Reject { reason } => {
                (group::Verdict::Reject, Some((Reason::Rejected, reason.as_str())))
            }
            Verdict::Nack { delay, error } => {
                let last = lease.attempt >= state.group.settings().attempts_max;
                let reason = last.then_some((Reason::Failed, error.as_str()));
                (group::Verdict::Nack { delay_us: delay.map(micros) }, reason)
            }
        };
        let letter = match reason {
            // Of a stale lease there is nothing to say, and the committer will say so.
            Some((reason, error)) if state.group.open(lease.place).is_some() => {
                let open = state.group.open(lease.place);
                let dead = Dead {
                    place: lease.place,
                    attempts: lease.attempt,
                    first_granted: open.map_or(Timestamp(0), |open| open.first_granted),
                };
                Some(self.letter(desk, &state, &dead, (reason, error))?)
            }
            _ => None,
        };
        let settlement = group::Settlement { lease, verdict: core };
        Ok(Ending { group: desk.id, settlement, letter })
    }

    /// The dead letter of a record.
    pub(super) fn letter(
        &self,
        desk: &Desk,
        state: &GroupState,
        dead: &Dead,
        (reason, error): (Reason, &str),
    ) -> Result<Append, CommitError> {
        let to = dead_letter_topic(desk, state)?;
        let partition = self.topic(&desk.topic).and_then(|topic: Arc<Topic>| {
            topic.partitions.get(dead.place.partition.0 as usize).cloned()
        });
        let record = match partition {
            Some(partition) => read_record(&partition, dead.place.offset)?.map(|s| s.record),
            None => None,
        };
        let history = History {
            reason,
            error,
            attempts: dead.attempts,
            group: desk.name.as_str(),
            topic: desk.topic.as_str(),
            partition: dead.place.partition,
            offset: dead.place.offset,
            first: dead.first_granted,
            last: self.group_time(),
        };
        Ok(letter(record, &history, to))
    }
}

/// Where the dead letters of a group go.
pub(crate) fn dead_letter_topic(
    desk: &Desk,
    state: &GroupState,
) -> Result<embermq_protocol::TopicName, CommitError> {
    super::GroupSettings::of_core(state.group.settings()).dead_letter_topic(&desk.topic, &desk.name)
}

/// What became of each lease; `letters` are those of the dead ones, in order.
pub(crate) fn settled(
    outcomes: &[Outcome],
    mut letters: impl Iterator<Item = Appended>,
) -> Vec<Result<Settled, CommitError>> {
    let one = |(index, outcome): (usize, &Outcome)| match outcome {
        Outcome::Acked => Ok(Settled::Acked),
        Outcome::Waiting { until } => Ok(Settled::Waiting { until: *until }),
        Outcome::Extended { deadline } => Ok(Settled::Extended { deadline: *deadline }),
        Outcome::Dead(_) => letters
            .next()
            .map(|letter| Settled::Dead { letter })
            .ok_or(CommitError::GroupChanged { index }),
        Outcome::Stale(stale) => Err(CommitError::LeaseLost { index, detail: stale.to_string() }),
    };
    outcomes.iter().enumerate().map(one).collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use embermq_protocol::v1::Record;

    use crate::Broker;
    use crate::commit::{Append, Batch, Commit};
    use crate::consume::{LeaseRequest, Verdict};
    use crate::error::CommitError;
    use crate::options::Options;
    use crate::topic::{PartitionId, TopicSettings};

    #[tokio::test]
    async fn each_lease_of_a_group_that_is_deleted_meanwhile_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        let (topic, group) = ("t".parse().unwrap(), "g".parse().unwrap());
        broker.create_topic(&topic, TopicSettings::default()).await.unwrap();
        let batch = Batch::of(&[Record::new("1"), Record::new("2")]);
        let append = Append { topic: topic.clone(), partition: PartitionId(0), batch };
        broker.commit(Commit { appends: vec![append], ..Commit::default() }).await.unwrap();
        let wish = LeaseRequest { records_max: 2, ..LeaseRequest::new(&topic, &group) };
        let leases = broker.lease(wish).await.unwrap();
        let prepared = leases.iter().map(|lease| {
            let (desk, lease) = broker.claimed(&lease.token, None, 0)?;
            broker.ending(&desk, lease, &Verdict::Ack)
        });
        let prepared: Vec<_> = prepared.collect();
        broker.delete_group(&topic, &group).await.unwrap();
        let results = broker.settle_some(prepared).await.unwrap();
        let lost = |(at, result): (usize, &Result<_, _>)| matches!(result, Err(CommitError::LeaseLost { index, .. }) if *index == at);
        assert!(results.len() == 2 && results.iter().enumerate().all(lost), "{results:?}");
        broker.shutdown().await;
    }
}
