//! Leases whose holders ended with an earlier process: nobody will settle them.
//!
//! Whoever holds leases in this very process (a stage) knows when it begins that leases under its name are nobody's. To wait until they
//! lapse would hold up their partitions and keys for as long as a lease lasts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::Offset;

use super::broker::{LETTER_BYTES, on_blocking_thread};
use super::desk::Desk;
use super::leasing::member_id;
use super::{Settled, Verdict};
use crate::broker::Broker;
use crate::error::CommitError;
use crate::group::LeaseRef;
use crate::state::Ending;
use crate::topic::PartitionId;

/// Leases that are ended in one commit.
const ENDED_AT_ONCE: usize = 256;

impl Broker {
    /// Ends the leases of members that are not there any more, each as an attempt that failed with `error`: the records are
    /// offered again at once, or are dead if it was their last attempt. Gives the places of those that are offered again.
    pub(crate) async fn end_leases_of(
        &self,
        topic: &TopicName,
        group: &GroupName,
        members: &[String],
        error: &str,
    ) -> Result<BTreeSet<(PartitionId, Offset)>, CommitError> {
        let desk = self.desk(topic, group)?;
        let members: BTreeSet<_> = members.iter().map(|name| member_id(name)).collect();
        let state = desk.state();
        let held: Vec<LeaseRef> =
            state.group.leases_of(|member| members.contains(&member)).collect();
        let verdict = Verdict::Nack { delay: Some(Duration::ZERO), error: error.to_owned() };
        let mut offered = BTreeSet::new();
        let held: Arc<[LeaseRef]> = held.into();
        let mut done = 0;
        while done < held.len() {
            let (broker, desk, verdict) = (self.clone(), Arc::clone(&desk), verdict.clone());
            let all = Arc::clone(&held);
            let prepare = move || broker.prepare_orphans(&desk, &all[done..], &verdict);
            let prepared = on_blocking_thread(prepare).await?;
            let count = prepared.len();
            let results = self.settle_some(prepared).await?;
            for (lease, result) in held[done..done + count].iter().zip(results) {
                if matches!(result, Ok(Settled::Waiting { .. })) {
                    offered.insert((lease.place.partition, lease.place.offset));
                }
            }
            done += count;
        }
        Ok(offered)
    }

    /// Endings of the first leases, as many as are a good piece of work.
    fn prepare_orphans(
        &self,
        desk: &Desk,
        leases: &[LeaseRef],
        verdict: &Verdict,
    ) -> Vec<Result<Ending, CommitError>> {
        let (mut prepared, mut bytes) = (Vec::new(), 0);
        for lease in leases.iter().take(ENDED_AT_ONCE) {
            let ending = self.ending(desk, *lease, verdict);
            bytes += ending.as_ref().map_or(0, Ending::letter_bytes);
            prepared.push(ending);
            if bytes > LETTER_BYTES {
                break;
            }
        }
        prepared
    }
}
