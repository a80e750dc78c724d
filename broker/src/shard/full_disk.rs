//! A full disk refuses; it does not end the shard.

use std::path::Path;
use std::sync::Arc;

use embermq_storage::Timestamp;
use embermq_storage::disk::Disk;
use embermq_storage::disk::sim::SimDisk;

use super::damage::finish_group;
use super::simulation::open;
use super::{CatalogRequest, Done, Shard};
use crate::error::CommitError;
use crate::keys::KeyFacts;
use crate::state::Endings;
use crate::{Batch, Commit, PartitionId, Record, TopicName, TopicSettings};

fn produce(shard: &mut Shard, topic: &TopicName) -> Result<(), CommitError> {
    let batch = Batch::of(&[Record::new(vec![7; 5_000])]);
    let commit = Commit::of_batch(topic, PartitionId(0), batch);
    let (endings, keys) = (Endings::default(), KeyFacts::default());
    shard.stage_commit(&commit, &endings, &keys, Timestamp(2)).map(|_| ())
}

#[test]
fn topics_are_made_and_deleted_while_there_is_no_room_for_records() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/data")).unwrap();
    let (mut shard, _catalog) = open(&disk, 1);
    let [kept, probe]: [TopicName; 2] = ["kept", "probe"].map(|name| name.parse().unwrap());
    let create = |name: &TopicName| CatalogRequest::Create(name.clone(), TopicSettings::default());
    assert!(shard.stage_catalog(&create(&kept), Timestamp(1)).unwrap());
    produce(&mut shard, &kept).unwrap();
    finish_group(&mut shard);

    disk.set_capacity(disk.held_bytes());
    assert!(shard.stage_catalog(&create(&probe), Timestamp(3)).unwrap());
    let refused = produce(&mut shard, &probe).unwrap_err();
    assert!(matches!(refused, CommitError::StorageFull { .. }), "{refused}");
    assert!(shard.stage_catalog(&CatalogRequest::Delete(probe.clone()), Timestamp(4)).unwrap());
    finish_group(&mut shard);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut removed = 0;
    while let Some(job) = shard.next_job() {
        let done = job.run(&shared);
        if let Done::TopicRemoved(_, result) = &done {
            assert!(result.is_ok(), "it has no folder, and that is no error: {result:?}");
            removed += 1;
        }
        shard.done(done);
    }
    assert_eq!(removed, 1);

    disk.set_capacity(1 << 30);
    assert!(shard.stage_catalog(&create(&probe), Timestamp(5)).unwrap());
    produce(&mut shard, &probe).unwrap();
    finish_group(&mut shard);
}
