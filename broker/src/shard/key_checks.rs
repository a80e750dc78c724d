//! Preconditions on keys, when the commit that has them is decided on.

use super::Shard;
use crate::error::CommitError;
use crate::keys::{KeyCheck, KeyFacts};

impl Shard {
    /// Whether the preconditions on keys hold: they did when their caller looked, and nothing of them was appended since.
    /// Fails with the first that does not, and yet asks them all: a partition is watched from its first question on, and
    /// whoever looks again shall find all of them watched.
    pub(super) fn keys_hold(&mut self, keys: &KeyFacts) -> Result<(), CommitError> {
        let mut held = Ok(());
        for check in &keys.checks {
            held = held.and(match check {
                Ok(check) if self.key_holds(*check) => Ok(()),
                Ok(_) => Err(CommitError::KeyContended),
                Err(refusal) => Err(refusal.clone()),
            });
        }
        held
    }

    fn key_holds(&mut self, check: KeyCheck) -> bool {
        let KeyCheck { topic, partition, hash, as_of } = check;
        let found = self.state.topic(topic);
        let next = found.and_then(|topic| topic.partitions.get(partition.0 as usize));
        // Another topic may have its name by now.
        let Some(next) = next.map(|partition| partition.next) else { return false };
        self.recent_keys.unchanged((topic, partition), next, (hash, as_of))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use embermq_storage::disk::Disk as _;
    use embermq_storage::disk::sim::SimDisk;
    use embermq_storage::keys::KeyHash;
    use embermq_storage::{Offset, Timestamp};

    use super::*;
    use crate::shard::CatalogRequest;
    use crate::shard::simulation::open;
    use crate::state::Endings;
    use crate::topic::TopicId;
    use crate::{Batch, Commit, PartitionId, Record, TopicName, TopicSettings};

    const PARTITIONS: u32 = 3;

    fn stage(
        shard: &mut Shard,
        topic: &TopicName,
        partition: u32,
        keys: &KeyFacts,
    ) -> Result<(), CommitError> {
        let batch = Batch::of(&[Record::new("x").with_key("k")]);
        let commit = Commit::of_batch(topic, PartitionId(partition), batch);
        shard.stage_commit(&commit, &Endings::default(), keys, Timestamp(2)).map(|_| ())
    }

    fn checks(topic: TopicId, as_of: Offset) -> KeyFacts {
        let check = |partition| {
            let partition = PartitionId(partition);
            Ok(KeyCheck { topic, partition, hash: KeyHash(7), as_of })
        };
        KeyFacts { checks: (0..PARTITIONS).map(check).collect(), appended: Vec::new() }
    }

    #[test]
    fn one_attempt_starts_the_watch_of_all_partitions() {
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new("/data")).unwrap();
        let (mut shard, _catalog) = open(&disk, 1);
        let topic: TopicName = "t".parse().unwrap();
        let settings = TopicSettings { partitions: PARTITIONS, ..TopicSettings::default() };
        let create = CatalogRequest::Create(topic.clone(), settings);
        assert!(shard.stage_catalog(&create, Timestamp(1)).unwrap());
        let id = shard.topics[&topic].id;
        let other_key =
            KeyFacts { appended: vec![Some(Box::new([(KeyHash(8), 0)]))], ..KeyFacts::default() };
        for partition in 0..PARTITIONS {
            stage(&mut shard, &topic, partition, &other_key).unwrap();
        }
        let refused = stage(&mut shard, &topic, 0, &checks(id, Offset(0))).unwrap_err();
        assert!(matches!(refused, CommitError::KeyContended), "{refused}");
        // Other keys come in between while the caller looks again. All partitions know that by now.
        for partition in 0..PARTITIONS {
            stage(&mut shard, &topic, partition, &other_key).unwrap();
        }
        stage(&mut shard, &topic, 0, &checks(id, Offset(1))).unwrap();
    }
}
