//! Retention: which partitions begin later now. The decision is a commit; the files go afterwards.

use embermq_storage::commit_log::ReserveUse;
use embermq_storage::retention::{RetentionLimits, new_start};
use embermq_storage::{Offset, Timestamp};

use super::Shard;
use crate::topic::{Cleanup, PartitionId, TopicId};

impl Shard {
    /// Stages a frame for each partition that has segments beyond its topic's retention, and looks for something to
    /// compact. Part of the current group; true when it staged something.
    pub(crate) fn stage_retention(&mut self, now: Timestamp) -> bool {
        if self.writable().is_err() {
            return false;
        }
        let mut staged = false;
        for (topic, partition, start) in self.expired(now) {
            let head = self.state.decide_trim(topic, partition, start, now);
            let room = self.make_log_room(head.payload_bytes(), ReserveUse::Whole);
            if let Err(error) = room.and_then(|()| self.frame(&head, std::iter::empty())) {
                tracing::warn!(%error, "retention could not be committed");
                break;
            }
            staged = true;
        }
        self.plan_compaction(now);
        staged
    }

    fn expired(&self, now: Timestamp) -> Vec<(TopicId, PartitionId, Offset)> {
        let mut expired = Vec::new();
        for topic in self.state.topics() {
            if topic.settings.cleanup == Cleanup::Compact {
                continue;
            }
            let age = topic.settings.retention_age;
            let limits = RetentionLimits {
                age_us: age.map(|age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX)),
                bytes: topic.settings.retention_bytes,
            };
            let Some(slot) = self.slots.get(&topic.id) else { continue };
            for (number, slot) in (0..).zip(&slot.partitions) {
                let manifest = slot.log.manifest();
                let start = new_start(&manifest, now, limits);
                if start > manifest.start {
                    expired.push((topic.id, PartitionId(number), start));
                }
            }
        }
        expired
    }
}
