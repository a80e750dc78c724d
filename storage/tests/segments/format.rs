//! The format, seen by others: an unrelated protobuf decoder, and bytes that were committed when it was released.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use embermq_storage::disk::RealDisk;
use embermq_storage::segment::{SegmentOptions, verify_segment};
use embermq_storage::{Entropy, Offset, Timestamp};
use prost::Message;

use crate::harness::{Partition, stage, tiny};

#[derive(Clone, PartialEq, Message)]
struct SegmentHeader {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(fixed64, tag = "3")]
    epoch: u64,
    #[prost(fixed64, tag = "4")]
    base_offset: u64,
    #[prost(sfixed64, tag = "5")]
    created_us: i64,
    #[prost(fixed32, tag = "6")]
    crc: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RecordBatch {
    #[prost(fixed32, tag = "1")]
    crc: u32,
    #[prost(fixed64, tag = "2")]
    base_offset: u64,
    #[prost(sfixed64, tag = "3")]
    append_time_us: i64,
    #[prost(fixed32, tag = "4")]
    record_count: u32,
    #[prost(fixed32, tag = "5")]
    offset_span: u32,
    #[prost(fixed64, tag = "6")]
    producer_id: u64,
    #[prost(fixed32, tag = "7")]
    producer_epoch: u32,
    #[prost(fixed64, tag = "8")]
    base_sequence: u64,
    #[prost(bytes = "vec", repeated, tag = "10")]
    records: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Segment {
    #[prost(message, repeated, tag = "1")]
    batches: Vec<RecordBatch>,
    #[prost(message, optional, tag = "2")]
    header: Option<SegmentHeader>,
    #[prost(bytes = "vec", tag = "15")]
    padding: Vec<u8>,
}

struct Fixed(u64);

impl Entropy for Fixed {
    fn next_u64(&mut self) -> u64 {
        self.0
    }
}

fn records(records: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for record in records {
        body.push(0x52);
        body.push(u8::try_from(record.len()).unwrap());
        body.extend_from_slice(record);
    }
    body
}

/// Appends three batches and one that starts the next segment; gives the first file.
fn sealed_segment(folder: &Path, segment_bytes: u64) -> PathBuf {
    let options = SegmentOptions { segment_bytes, first_step_bytes: 4_096, ..tiny() };
    let mut partition = Partition::new(Arc::new(RealDisk), folder, options);
    let bodies: [&[&[u8]]; 4] = [&[b"one"], &[b"two", b"three"], &[b""], &[&[7; 100]]];
    for body in bodies {
        let bytes = records(body);
        let batch_bytes = 56 + bytes.len() as u64;
        partition
            .log
            .reserve(batch_bytes, Timestamp(1_000_000), &mut Fixed(0x0123_4567_89AB_CDEF))
            .unwrap();
        let mut head = embermq_storage::batch::BatchHead {
            base_offset: partition.log.next_offset(),
            append_time: Timestamp(2_000_000),
            record_count: u32::try_from(body.len()).unwrap(),
            offset_span: u32::try_from(body.len()).unwrap(),
            ..Default::default()
        };
        head.producer_id = 0xFEED;
        head.producer_epoch = 2;
        head.base_sequence = head.base_offset.0;
        stage(&mut partition.log, &crate::harness::Batch { head, body: bytes });
    }
    partition.commit();
    partition.run_jobs();
    assert!(partition.log.manifest().segments[0].sealed);
    partition.segment_path(0)
}

fn assert_decodes(bytes: &[u8]) {
    let segment = Segment::decode(bytes).unwrap();
    let header = segment.header.unwrap();
    assert_eq!((&*header.topic, header.partition, header.base_offset), ("photos", 3, 0));
    assert_eq!((header.epoch, header.created_us), (0x0123_4567_89AB_CDEF, 1_000_000));
    let all: Vec<_> = segment.batches.iter().flat_map(|batch| batch.records.clone()).collect();
    assert_eq!(all, [&b"one"[..], b"two", b"three", b""]);
    let batch = &segment.batches[1];
    assert_eq!((batch.base_offset, batch.record_count, batch.offset_span), (1, 2, 2));
    assert_eq!((batch.producer_id, batch.producer_epoch, batch.base_sequence), (0xFEED, 2, 1));
    assert_eq!(batch.append_time_us, 2_000_000);
    assert!(segment.padding.iter().all(|byte| *byte == 0));
}

#[test]
fn a_sealed_segment_is_a_protobuf_message() {
    let folder = tempfile::tempdir().unwrap();
    assert_decodes(&std::fs::read(sealed_segment(folder.path(), 400)).unwrap());
}

#[test]
fn whatever_is_left_of_the_file_becomes_padding() {
    let probe = tempfile::tempdir().unwrap();
    let end = verify_segment(&RealDisk, &sealed_segment(probe.path(), 400)).unwrap().end;
    for left in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let path = sealed_segment(folder.path(), end + left);
        let bytes = std::fs::read(&path).unwrap();
        let expected = if left == 1 { end + 1 + 4_096 } else { end + left };
        assert_eq!(bytes.len() as u64, expected, "{left} bytes left");
        assert_decodes(&bytes);
        let report = verify_segment(&RealDisk, &path).unwrap();
        assert!(report.sealed && report.damage.is_empty(), "{left} bytes left: {report:?}");
        assert_eq!((report.batches, report.records, report.next), (3, 4, Offset(4)));
    }
}

/// Segments of every released version stay readable, and today's writer gives the same bytes. Run with
/// `EMBERMQ_BLESS=1` to write the file of a new version.
#[test]
fn the_bytes_are_those_of_version_1() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/segment_v1.seg");
    let golden_index = golden.with_extension("idx");
    let folder = tempfile::tempdir().unwrap();
    let path = sealed_segment(folder.path(), 400);
    let (bytes, index) =
        (std::fs::read(&path).unwrap(), std::fs::read(path.with_extension("idx")).unwrap());
    if std::env::var_os("EMBERMQ_BLESS").is_some() {
        std::fs::write(&golden, &bytes).unwrap();
        std::fs::write(&golden_index, &index).unwrap();
    }
    assert!(std::fs::read(&golden).unwrap() == bytes, "the segment's bytes have changed");
    assert!(std::fs::read(&golden_index).unwrap() == index, "the index's bytes have changed");
    let report = verify_segment(&RealDisk, &golden).unwrap();
    assert!(report.sealed && report.damage.is_empty(), "{report:?}");
}
