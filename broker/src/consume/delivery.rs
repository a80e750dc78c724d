//! Granted records on their way to their taker.

use std::collections::VecDeque;
use std::sync::Arc;

use embermq_protocol::batch::StoredRecord;
use embermq_storage::Timestamp;

use super::lease::Lease;
use super::leasing::{LEASE_BYTES, Read, Taker, record_bytes};
use super::{read_batch, token};
use crate::error::CommitError;
use crate::group::{Lease as Grant, LeaseRef, Place, Settlement, Verdict};
use crate::state::{Ending, Endings, GroupRequest, GroupState};

/// What was read again of one batch: what was granted together often lies together.
#[derive(Default)]
struct Batch {
    of: Place,
    records: VecDeque<StoredRecord>,
}

impl Taker {
    /// The leases with their records. One whose record is gone for good is done; one whose record cannot be read now, or
    /// does not fit into the answer, is given back.
    pub(super) async fn deliver(
        &self,
        state: &GroupState,
        mut read: Read,
        grants: &[Grant],
    ) -> Vec<Lease> {
        let mut leases = Vec::with_capacity(grants.len());
        let mut batch = Batch::default();
        let (mut bytes, mut endings) = (0, Vec::new());
        for grant in grants {
            let place = grant.place;
            if bytes > LEASE_BYTES {
                endings.push(ending(self, grant, Verdict::Release));
                continue;
            }
            let stored = match read.remove(&place) {
                Some(stored) => Ok(Some(stored)),
                None => self.read_again(&mut batch, place).await,
            };
            let stored = match stored {
                Ok(Some(stored)) => stored,
                Ok(None) => {
                    tracing::warn!(topic = %self.desk.topic, ?place, "a record that was leased is not there any more");
                    endings.push(ending(self, grant, Verdict::Ack));
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, topic = %self.desk.topic, ?place, "a lease was given back");
                    endings.push(ending(self, grant, Verdict::Release));
                    continue;
                }
            };
            bytes += record_bytes(&stored.record);
            let lease = LeaseRef { place, attempt: grant.attempt, epoch: grant.epoch };
            leases.push(Lease {
                token: token::token(self.desk.id, state.secret, &lease),
                partition: place.partition,
                offset: place.offset,
                attempt: grant.attempt,
                deadline: grant.deadline,
                first_leased: grant.first_granted,
                append_time: Timestamp(stored.append_time_us),
                record: stored.record,
            });
        }
        self.end(endings);
        leases
    }

    async fn read_again(
        &self,
        batch: &mut Batch,
        place: Place,
    ) -> Result<Option<StoredRecord>, CommitError> {
        if batch.of.partition != place.partition || !batch.holds(place) {
            let topic = self.topic();
            let partition = topic
                .and_then(|topic| topic.partitions.get(place.partition.0 as usize).map(Arc::clone));
            let Some(partition) = partition else { return Ok(None) };
            let read = move || read_batch(&partition, place.offset);
            let read = tokio::task::spawn_blocking(read).await;
            batch.of = place;
            batch.records = read.map_err(|_| CommitError::ShuttingDown)??;
        }
        Ok(batch.take(place))
    }

    /// Gives leases back that nobody will settle.
    pub(super) fn give_back(&self, grants: &[Grant]) {
        self.end(grants.iter().map(|grant| ending(self, grant, Verdict::Release)).collect());
    }

    fn end(&self, items: Vec<Ending>) {
        if !items.is_empty() {
            let endings = Endings { items, all_or_nothing: false };
            // If it cannot be said, they lapse.
            self.broker.submit_group(GroupRequest::Settle { endings }).ok();
        }
    }
}

impl Batch {
    fn holds(&self, place: Place) -> bool {
        let ends = (self.records.front(), self.records.back());
        matches!(ends, (Some(first), Some(last)) if (first.offset..=last.offset).contains(&place.offset.0))
    }

    fn take(&mut self, place: Place) -> Option<StoredRecord> {
        let offset = place.offset.0;
        let at = self.records.binary_search_by_key(&offset, |record| record.offset).ok()?;
        self.records.get(at).cloned()
    }
}

fn ending(taker: &Taker, grant: &Grant, verdict: Verdict) -> Ending {
    let lease = LeaseRef { place: grant.place, attempt: grant.attempt, epoch: grant.epoch };
    Ending { group: taker.desk.id, settlement: Settlement { lease, verdict }, letter: None }
}
