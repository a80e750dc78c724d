//! Readers beside the writer: what they see only ever grows, and is whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use embermq_storage::disk::RealDisk;
use embermq_storage::reader::PartitionReader;
use embermq_storage::segment::{ReadError, SegmentOptions};
use embermq_storage::{Offset, Timestamp};

use crate::harness::{Partition, decode};

const BATCHES: u64 = 4_000;

/// Every byte of a body follows from its offset.
fn body(offset: Offset) -> Vec<u8> {
    let len = usize::try_from(offset.0 * 37 % 900).unwrap();
    vec![offset.0.to_le_bytes()[0] ^ 0x5A; len]
}

fn follow(reader: &PartitionReader, staged: &AtomicU64) {
    let (mut at, mut end) = (Offset(0), Offset(0));
    while at < Offset(BATCHES) {
        let now = reader.end();
        assert!(now >= end, "the end went back from {end} to {now}");
        end = now;
        let slice = match reader.read(at, 20_000) {
            Ok(slice) => slice,
            Err(ReadError::OutOfRange { start, .. }) => {
                assert!(start > at);
                at = start;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        for batch in decode(&slice) {
            assert_eq!(batch.body, body(batch.head.base_offset));
            assert!(batch.head.base_offset.0 < staged.load(Ordering::SeqCst), "not staged yet");
        }
        assert!(slice.next <= reader.end());
        if slice.next == at {
            std::thread::yield_now();
        }
        at = slice.next;
    }
}

#[test]
fn readers_see_a_growing_whole() {
    let folder = tempfile::tempdir().unwrap();
    let options = SegmentOptions {
        segment_bytes: 128 << 10,
        first_step_bytes: 8 << 10,
        step_bytes_max: 32 << 10,
        ..SegmentOptions::default()
    };
    let mut partition = Partition::new(Arc::new(RealDisk), folder.path(), options);
    let staged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let reader = partition.log.reader();
            let staged = &staged;
            scope.spawn(move || follow(&reader, staged));
        }
        let random = partition.log.reader();
        let staged = &staged;
        scope.spawn(move || {
            while random.end() < Offset(BATCHES) {
                let end = random.end().0;
                let from = Offset(end.saturating_sub(end.wrapping_mul(7_919) % (end + 1)));
                match random.read(from, 1) {
                    Ok(slice) => {
                        for batch in decode(&slice) {
                            assert_eq!(batch.body, body(batch.head.base_offset));
                        }
                    }
                    Err(ReadError::OutOfRange { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                random.offset_at(Timestamp(i64::try_from(end).unwrap() * 5)).unwrap();
                let _hot = random.is_hot(from);
            }
        });
        let mut at = 0;
        while at < BATCHES {
            for _ in 0..(at % 17 + 1).min(BATCHES - at) {
                staged.fetch_add(1, Ordering::SeqCst);
                partition.stage(1, body(Offset(at)));
                at += 1;
            }
            partition.commit();
            partition.run_jobs();
            if at % 5 == 0 {
                let trim = Offset(at.saturating_sub(2_000));
                partition.log.trim(trim).iter().for_each(|job| job.run().unwrap());
            }
        }
    });
}
