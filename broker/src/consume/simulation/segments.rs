//! Callers behind segments that cannot be read, now or ever.

use std::io::ErrorKind;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use embermq_storage::Offset;
use embermq_storage::disk::sim::{Fault, Operation, SeededEntropy};

use super::{World, group, paused, topic};
use crate::commit::{Batch, Commit};
use crate::consume::{GroupSettings, LeaseRequest};
use crate::error::{CommitError, ReadError};
use crate::options::Options;
use crate::read::{From, Read, ReadRequest};
use crate::record::Record;
use crate::topic::PartitionId;

const RECORDS: usize = 20;

/// Records in some small segments, which are opened when they are read.
async fn cold() -> World {
    let world = World::open(SeededEntropy::new(1), GroupSettings::default(), true).await;
    let small = Options { segment_bytes: 1 << 20, ..Options::default() };
    let mut world = world.reopened(small.clone());
    let record = Record::new(vec![b'x'; 300_000]);
    for _ in 0..RECORDS {
        let batch = Batch::of(std::slice::from_ref(&record));
        let commit = Commit::of_batch(&topic(), PartitionId(0), batch);
        let broker = world.broker.clone();
        world.working(broker.commit(commit)).await.unwrap();
    }
    world.reopened(small)
}

async fn read(world: &mut World) -> Result<Read, ReadError> {
    let (topic, partition, from) = (topic(), PartitionId(0), From::Start);
    let request = ReadRequest { topic, partition, from, bytes_max: 1, wait: Duration::ZERO };
    let broker = world.broker.clone();
    world.working(broker.read(request)).await
}

/// The offsets that a caller gets.
async fn lease(world: &mut World) -> Result<Vec<Offset>, CommitError> {
    let records_max = u32::try_from(RECORDS).unwrap();
    let wish = LeaseRequest { records_max, ..LeaseRequest::new(&topic(), &group()) };
    let broker = world.broker.clone();
    let leases = world.working(broker.lease(wish)).await?;
    Ok(leases.iter().map(|lease| lease.offset).collect())
}

#[test]
fn what_cannot_be_opened_now_is_there_later() {
    paused(async {
        let mut world = cold().await;
        world.disk.fail(Fault::new(Operation::Open, ErrorKind::QuotaExceeded).lasting());
        let refused = read(&mut world).await.unwrap_err();
        assert!(matches!(refused, ReadError::TooManyOpenFiles { .. }), "{refused:?}");
        assert!(refused.retryable());
        let refused = lease(&mut world).await.unwrap_err();
        assert!(matches!(refused, CommitError::TooManyOpenFiles { .. }), "{refused:?}");
        assert!(refused.retryable());
        world.disk.heal();
        assert_eq!(read(&mut world).await.unwrap().next, Offset(1));
        assert_eq!(lease(&mut world).await.unwrap()[0], Offset(0));
    });
}

#[test]
fn what_is_damaged_is_passed_over_and_counted() {
    paused(async {
        let mut world = cold().await;
        let files = world.disk.files();
        let segment = files.iter().find(|file| file.extension().is_some_and(|it| it == "seg"));
        world.disk.flip_bit(segment.unwrap(), 400_000, 3).unwrap();
        let mut offsets = Vec::new();
        while offsets.last() != Some(&Offset(RECORDS as u64 - 1)) {
            offsets.extend(lease(&mut world).await.unwrap());
        }
        let expected = (0..RECORDS as u64).filter(|offset| *offset != 1).map(Offset);
        assert_eq!(offsets, expected.collect::<Vec<_>>());
        let counters = &world.topic().counters;
        assert_eq!(counters.records_passed_over.load(Relaxed), 1);
    });
}
