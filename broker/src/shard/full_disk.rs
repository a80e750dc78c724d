//! A full disk refuses; it does not end the shard. Neither does a file too many.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use embermq_storage::commit_log::CommitLog;
use embermq_storage::disk::Disk;
use embermq_storage::disk::sim::{Fault, Operation, SeededEntropy, SimDisk};
use embermq_storage::{Offset, Timestamp};

use super::damage::finish_group;
use super::simulation::{open, open_with, options};
use super::{CatalogRequest, Done, Job, Place, Shard};
use crate::error::{CommitError, OpenError};
use crate::group::{
    Candidate, Examined, GroupSettings, KeyHash, LeaseRef, MemberId, Members, Settlement, Verdict,
    Wish,
};
use crate::keys::KeyFacts;
use crate::options::Options;
use crate::state::{Ending, Endings, GroupId, GroupRequest, Made, NewGroup};
use crate::{Batch, Commit, PartitionId, Record, TopicName, TopicSettings};

fn produce(shard: &mut Shard, topic: &TopicName) -> Result<(), CommitError> {
    produce_bytes(5_000, shard, topic)
}

fn produce_bytes(bytes: usize, shard: &mut Shard, topic: &TopicName) -> Result<(), CommitError> {
    let batch = Batch::of(&[Record::new(vec![7; bytes])]);
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

#[test]
fn a_folder_without_room_for_a_log_is_not_called_damaged() {
    for (capacity, fault) in [(1 << 20, None), (1 << 30, Some(ErrorKind::QuotaExceeded))] {
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.set_capacity(capacity);
        if let Some(kind) = fault {
            disk.fail(Fault::new(Operation::Create, kind).at("/log").lasting());
        }
        let place = || Place {
            disk: Arc::new(disk.clone()),
            dir: "/data".into(),
            entropy: Box::new(SeededEntropy::new(1)),
        };
        let opened = Shard::open(place(), Options::default(), Arc::default(), Arc::default());
        let refused = opened.unwrap_err();
        assert!(matches!(refused, OpenError::NoRoom { .. }), "{refused}");
        disk.set_capacity(1 << 30);
        disk.heal();
        Shard::open(place(), Options::default(), Arc::default(), Arc::default()).unwrap();
    }
}

/// A topic with one record, and a group that has it leased.
fn with_lease(shard: &mut Shard, topic: &TopicName) -> (GroupId, LeaseRef) {
    let create = CatalogRequest::Create(topic.clone(), TopicSettings::default());
    assert!(shard.stage_catalog(&create, Timestamp(1)).unwrap());
    produce(shard, topic).unwrap();
    let new = NewGroup {
        topic: topic.clone(),
        name: "workers".parse().unwrap(),
        settings: GroupSettings::default(),
        starts: Vec::new(),
        secret: 7,
    };
    let create = GroupRequest::Create(Box::new(new));
    let Made::Group(group, true) = shard.stage_group(&create, Timestamp(2)).unwrap().0 else {
        panic!("it is new");
    };
    let candidates = vec![Candidate { offset: Offset(0), key: KeyHash::NONE }];
    let (partition, from, end) = (PartitionId(0), Offset(0), Offset(1));
    let examined = vec![Examined { partition, from, candidates, end }];
    let wish = Wish { member: MemberId(1), records_max: 1, lease_us: None };
    let grant = GroupRequest::Grant { group, wish, examined, members: Members::default() };
    let Made::Leases(leases, _) = shard.stage_group(&grant, Timestamp(3)).unwrap().0 else {
        panic!("there is a record");
    };
    finish_group(shard);
    let lease = &leases[0];
    (group, LeaseRef { place: lease.place, attempt: lease.attempt, epoch: lease.epoch })
}

fn extend(shard: &mut Shard, (group, lease): (GroupId, LeaseRef)) -> Result<(), CommitError> {
    let settlement = Settlement { lease, verdict: Verdict::Extend { by_us: 30_000_000 } };
    let items = vec![Ending { group, settlement, letter: None }];
    let endings = Endings { items, all_or_nothing: false };
    shard.stage_group(&GroupRequest::Settle { endings }, Timestamp(4))?;
    finish_group(shard);
    Ok(())
}

fn is_full(result: &Result<(), CommitError>) -> bool {
    matches!(result, Err(CommitError::StorageFull { .. }))
}

#[test]
fn consumers_leave_of_the_reserve_what_frees_space() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/data")).unwrap();
    let (mut shard, _catalog) = open(&disk, 1);
    let topic: TopicName = "jobs".parse().unwrap();
    let lease = with_lease(&mut shard, &topic);
    let probe: TopicName = "probe".parse().unwrap();
    let create = CatalogRequest::Create(probe.clone(), TopicSettings::default());
    assert!(shard.stage_catalog(&create, Timestamp(4)).unwrap());
    finish_group(&mut shard);
    disk.set_capacity(disk.held_bytes());
    let until_full =
        |shard: &mut Shard, step: &mut dyn FnMut(&mut Shard) -> Result<(), CommitError>| {
            (0..1_000).take_while(|_| !is_full(&step(shard))).count()
        };
    until_full(&mut shard, &mut |shard| produce(shard, &topic).map(|()| finish_group(shard)));
    let extended = until_full(&mut shard, &mut |shard| extend(shard, lease));
    assert!((5..1_000).contains(&extended), "{extended}");
    assert!(is_full(&extend(&mut shard, lease)));
    assert!(shard.stage_catalog(&CatalogRequest::Delete(probe), Timestamp(5)).unwrap());
    assert!(is_full(&extend(&mut shard, lease)), "also beside something that may use all of it");
    assert!(shard.stage_catalog(&CatalogRequest::Delete(topic), Timestamp(5)).unwrap());
    finish_group(&mut shard);
}

#[test]
fn a_log_without_room_begins_snapshots_until_its_old_files_are_gone() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/data")).unwrap();
    let options = Options { snapshot_log_bytes: 1 << 30, ..options() };
    let (mut shard, _catalog) = open_with(&disk, 1, options);
    let topic: TopicName = "jobs".parse().unwrap();
    let lease = with_lease(&mut shard, &topic);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut snapshots = 0;
    let mut go_on = |shard: &mut Shard| {
        finish_group(shard);
        while let Some(job) = shard.next_job() {
            snapshots += u32::from(matches!(job, Job::Snapshot(_)));
            let done = job.run(&shared);
            shard.done(done);
        }
        snapshots
    };
    for _ in 0..12 {
        produce(&mut shard, &topic).unwrap();
        assert_eq!(go_on(&mut shard), 0);
    }
    assert!(shard.log.has_old_files());
    // Room for a snapshot there is.
    disk.fail(Fault::new(Operation::Allocate, ErrorKind::StorageFull).at("/log").lasting());
    while !is_full(&produce(&mut shard, &topic)) {
        assert_eq!(go_on(&mut shard), 0);
    }
    assert_eq!(go_on(&mut shard), 1);
    assert!(is_full(&produce(&mut shard, &topic)));
    assert_eq!(go_on(&mut shard), 1, "nothing has happened since");
    extend(&mut shard, lease).unwrap();
    assert!(is_full(&produce(&mut shard, &topic)));
    assert_eq!(go_on(&mut shard), 2);
    assert!(!shard.log.has_old_files());
    extend(&mut shard, lease).unwrap();
    assert!(is_full(&produce(&mut shard, &topic)));
    assert_eq!(go_on(&mut shard), 2, "another one would free nothing");
    disk.heal();
    produce(&mut shard, &topic).unwrap();
    go_on(&mut shard);
}

#[test]
fn a_file_too_many_refuses_and_does_not_end_the_shard() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/data")).unwrap();
    let (mut shard, _catalog) = open(&disk, 1);
    let topic: TopicName = "jobs".parse().unwrap();
    let lease = with_lease(&mut shard, &topic);
    for operation in [Operation::Create, Operation::Map] {
        disk.fail(Fault::new(operation, ErrorKind::QuotaExceeded).lasting());
        // More than a segment holds, and then more than the log.
        let refused = (0..100)
            .find_map(|_| produce(&mut shard, &topic).map(|()| finish_group(&mut shard)).err());
        let refused = refused.unwrap();
        assert!(matches!(refused, CommitError::TooManyOpenFiles { .. }), "{refused}");
        assert!(refused.retryable() && !shard.is_full());
        extend(&mut shard, lease).unwrap();
        disk.heal();
        produce(&mut shard, &topic).unwrap();
        finish_group(&mut shard);
    }
    // A snapshot that cannot open folders to sync them is taken later.
    shard.next_job().into_iter().for_each(drop);
    disk.fail(Fault::new(Operation::SyncDir, ErrorKind::QuotaExceeded).at("/topics"));
    let outcome = shard.snapshot_job().run();
    assert!(matches!(outcome, Err(super::snapshot::SnapshotFailed::TooManyOpen { .. })));
    shard.done(Done::Snapshot(outcome));
    assert_eq!(shard.health().0, None);
    disk.keep_trace();
    shard.snapshot_job().run().unwrap();
    let synced = |operation: &str| operation.contains("/topics") && operation.contains("SyncDir");
    assert!(disk.trace().iter().any(|operation| synced(&format!("{operation:?}"))));
}

#[test]
fn a_proof_waits_when_no_file_can_be_made_for_it() {
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new("/data")).unwrap();
        let (mut shard, _catalog) = open(&disk, 1);
        let topic: TopicName = "jobs".parse().unwrap();
        with_lease(&mut shard, &topic);
        disk.fail(Fault::new(Operation::Create, kind).at("/log").lasting());
        while produce(&mut shard, &topic).is_ok() {
            finish_group(&mut shard);
        }
        // To the last bytes.
        assert!((0..5_000).rev().any(|bytes| produce_bytes(bytes, &mut shard, &topic).is_ok()));
        finish_group(&mut shard);
        assert!(!shard.prove().unwrap());
        assert_eq!(shard.health().0, None);
        disk.heal();
        assert!(shard.prove().unwrap());
    }
}

#[test]
fn nothing_is_trimmed_behind_a_snapshot_that_ends_after_the_disk_has_failed() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/data")).unwrap();
    let options = Options { snapshot_log_bytes: 1 << 30, ..options() };
    let (mut shard, _catalog) = open_with(&disk, 1, options);
    let topic: TopicName = "jobs".parse().unwrap();
    with_lease(&mut shard, &topic);
    let snapshot = |shard: &mut Shard, poison: bool| {
        for _ in 0..12 {
            produce(shard, &topic).unwrap();
            finish_group(shard);
        }
        let outcome = shard.snapshot_job().run();
        if poison {
            shard.poison(&"a segment could not be written");
        }
        shard.done(Done::Snapshot(outcome));
    };
    snapshot(&mut shard, false);
    snapshot(&mut shard, true);
    assert_eq!(shard.log.start().0, 0);
    assert!(std::iter::from_fn(|| shard.next_job()).all(|job| !matches!(job, Job::TrimLog(_))));
}
