//! Are batches taken apart, checked and put together exactly as protobuf says, whatever comes?

use bytes::Bytes;
use embermq_protocol::{
    batch::{
        Body, BodyBuilder, FormError, ProducerFields, ScanLimits, compress, decode_batches,
        partition_for_key, route, scan, split,
    },
    headers::REDRIVE_GROUP,
    limits::{INFLATE_FREE_BYTES, RECORD_HEADERS_MAX},
    v1::{Compression, FetchResponse, Header, Record, RecordBatch, RecordSet},
};
use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;

const KINDS: &[Compression] = &[
    Compression::Unspecified,
    Compression::Lz4,
    #[cfg(feature = "zstd")]
    Compression::Zstd,
];

fn checked(body: &Bytes) -> Result<embermq_protocol::batch::Scan, FormError> {
    scan(body, ScanLimits::default())
}

fn builder(records: &[Record]) -> BodyBuilder {
    let mut builder = BodyBuilder::default();
    records.iter().for_each(|record| builder.push(record));
    builder
}

fn golden_records() -> Vec<Record> {
    vec![
        Record::new("resize 17")
            .with_key("cam-7")
            .with_header("content-type", "text/plain")
            .with_event_time_us(1_795_341_600_123_456),
        Record::tombstone("k"),
    ]
}

/// The bytes that every client and every stored segment relies on.
const GOLDEN_BATCH: &[u8] = b"\
    \x31\x08\x07\x06\x05\x04\x03\x02\x01\x3d\x02\x00\x00\x00\x41\x28\x00\x00\x00\x00\x00\x00\x00\
    \x52\x37\x0a\x05cam-7\x12\x09resize 17\
    \x1a\x1a\x0a\x0ccontent-type\x12\x0atext/plain\x21\x40\x6a\x53\x8a\xda\x60\x06\x00\
    \x52\x03\x0a\x01k";

#[test]
fn the_wire_form_is_what_it_always_was() {
    let sender =
        ProducerFields { producer_id: 0x0102_0304_0506_0708, producer_epoch: 2, base_sequence: 40 };
    let body = Body::from_records(&golden_records());
    let batch = body.to_batch(sender);
    assert_eq!(batch, GOLDEN_BATCH, "{}", batch.escape_ascii());
    assert_eq!(body.crc, crc32fast::hash(&GOLDEN_BATCH[23..]));
    let decoded = RecordBatch::decode(GOLDEN_BATCH).unwrap();
    assert_eq!(decoded.records, golden_records());
    assert_eq!(decoded.encode_to_vec(), GOLDEN_BATCH);
}

#[test]
fn the_partition_of_a_key_never_changes() {
    // zlib.crc32 of the same keys in Python.
    for (key, crc) in [(&b""[..], 0), (b"a", 0xE8B7_BE43), (b"123456789", 0xCBF4_3926)] {
        for partitions in [1, 3, 16, 1_000] {
            assert_eq!(partition_for_key(key, partitions), crc % partitions);
        }
    }
}

fn any_record() -> impl Strategy<Value = Record> {
    let bytes = || vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let header = ("[a-z\u{e9}-]{1,12}", bytes()).prop_map(|(name, value)| Header { name, value });
    (option::of(bytes()), option::of(bytes()), vec(header, 0..4), any::<i64>()).prop_map(
        |(key, value, headers, event_time_us)| Record { key, value, headers, event_time_us },
    )
}

fn any_kind() -> impl Strategy<Value = Compression> {
    proptest::sample::select(KINDS)
}

proptest! {
    #[test]
    fn scan_sees_what_prost_sees(records in vec(any_record(), 1..40), kind in any_kind()) {
        let body = builder(&records).finish_compressed(kind).unwrap();
        let scan = checked(&body.bytes).unwrap();
        prop_assert_eq!(scan.count() as usize, records.len());
        for (index, record) in records.iter().enumerate() {
            prop_assert_eq!(scan.key(index), record.key.as_deref());
            prop_assert_eq!(scan.records[index].has_value, record.value.is_some());
            prop_assert_eq!(&scan.decode(index).unwrap(), record);
        }
    }

    #[test]
    fn split_takes_what_prost_writes(
        records in vec(any_record(), 0..10),
        producer_id: u64,
        producer_epoch: u32,
        base_sequence: u64,
        base_offset: u64,
    ) {
        let batch = RecordBatch {
            producer_id, producer_epoch, base_sequence, base_offset,
            records: records.clone(),
            ..RecordBatch::default()
        };
        let batch = Bytes::from(batch.encode_to_vec());
        let (sender, body) = split(batch.clone()).unwrap();
        prop_assert_eq!(sender, ProducerFields { producer_id, producer_epoch, base_sequence });
        prop_assert_eq!(&body, &Body::from_records(&records).bytes);
        // Without a copy: the body ends where the batch does.
        prop_assert_eq!(body.as_ptr_range().end, batch.as_ptr_range().end);
    }

    #[test]
    fn stored_batches_come_back_with_their_offsets(
        parts in vec((vec(any_record(), 1..8), any_kind()), 1..6),
        first in 0_u64..1 << 40,
        skip in 0_u64..20,
    ) {
        let (mut batches, mut expected, mut next) = (Vec::new(), Vec::new(), first);
        for (records, kind) in parts {
            let body = builder(&records).finish_compressed(kind).unwrap();
            let mut batch = RecordBatch::decode(body.bytes).unwrap();
            batch.base_offset = next;
            batch.offset_span = u32::try_from(records.len()).unwrap();
            batches.push(batch);
            expected.extend((next..).zip(records.iter().cloned()));
            next += records.len() as u64;
        }
        expected.retain(|(offset, _)| *offset >= first + skip);
        let response = FetchResponse { batches, next_offset: next, ..FetchResponse::default() };
        let found: Vec<_> = decode_batches([response.encode_to_vec().into()], first + skip)
            .map(|record| record.map(|record| (record.offset, record.record)))
            .collect::<Result<_, _>>()
            .unwrap();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_bytes_break_anything(bytes in vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _checked = checked(&bytes);
        let _split = split(bytes.clone());
        let _counted = decode_batches([bytes], 0).count();
    }

    /// Bytes that differ from a good batch in one place are refused, or are another batch that prost reads alike.
    #[test]
    fn what_is_accepted_is_what_prost_reads(
        records in vec(any_record(), 1..4), at: proptest::sample::Index, byte: u8,
    ) {
        let mut bytes = Body::from_records(&records).bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let Ok((_, body)) = split(bytes.into()) else { return Ok(()) };
        let Ok(scan) = checked(&body) else { return Ok(()) };
        let decoded = RecordBatch::decode(body).unwrap();
        let ours: Vec<_> = (0..scan.records.len()).map(|index| scan.decode(index).unwrap()).collect();
        if scan.compression == Compression::Unspecified {
            prop_assert_eq!(ours, decoded.records);
        }
    }

    #[test]
    fn every_record_is_routed_once(
        records in vec(any_record(), 1..30), partitions in 1_u32..6, kind in any_kind(),
    ) {
        let body = builder(&records).finish_compressed(kind).unwrap();
        let scan = checked(&body.bytes).unwrap();
        let unkeyed = partitions - 1;
        let mut seen = vec![0; records.len()];
        let parts = route(body, &scan, partitions, unkeyed).unwrap();
        prop_assert!(parts.is_sorted_by(|a, b| a.partition < b.partition));
        for part in &parts {
            let inner = checked(&part.body.bytes).unwrap();
            prop_assert_eq!(inner.count(), part.body.records);
            for index in 0..inner.records.len() {
                let of = part.record_indexes.get(index).map_or(index, |of| *of as usize);
                seen[of] += 1;
                prop_assert_eq!(&inner.decode(index).unwrap(), &records[of]);
                let wanted = inner.key(index).map_or(unkeyed, |key| partition_for_key(key, partitions));
                prop_assert_eq!(part.partition, wanted);
            }
        }
        prop_assert!(seen.iter().all(|times| *times == 1));
    }
}

#[test]
fn fields_out_of_order_are_put_in_order() {
    let body = Body::from_records(&golden_records()).bytes;
    let head = &GOLDEN_BATCH[..23];
    let swapped = Bytes::from([&body[..], head].concat());
    let (sender, found) = split(swapped).unwrap();
    assert_eq!(sender.base_sequence, 40);
    assert_eq!(found, body);

    let inside = body.to_vec();
    let frame = compress(Compression::Lz4, &inside).unwrap();
    let mut backwards = vec![0x5a, u8::try_from(frame.len()).unwrap()];
    backwards.extend_from_slice(&frame);
    backwards.extend_from_slice(&[0x48, 0x01]);
    let (_, found) = split(backwards.into()).unwrap();
    assert_eq!(found[..2], [0x48, 0x01]);
    assert_eq!(checked(&found).unwrap().count(), 2);
}

#[test]
fn compressed_records_inflate_to_a_record_set() {
    let records = golden_records();
    let set = RecordSet { records: records.clone() };
    assert_eq!(set.encode_to_vec(), Body::from_records(&records).bytes);
}

#[test]
fn a_cut_batch_is_refused_or_shorter_but_never_more() {
    let whole = Bytes::from_static(GOLDEN_BATCH);
    for end in 0..whole.len() {
        let taken = split(whole.slice(..end)).and_then(|(_, body)| checked(&body));
        // Where a field ends by chance the rest is a batch of its own.
        assert_eq!(taken.is_ok(), end == whole.len() - 5, "{end}");
    }
}

#[test]
fn compaction_keeps_the_offsets_of_what_is_left() {
    let records: Vec<_> = (0..6).map(|n| Record::new(n.to_string()).with_key("k")).collect();
    for kind in KINDS {
        let body = builder(&records).finish_compressed(*kind).unwrap();
        let once = checked(&body.bytes).unwrap().keep(&[1, 3, 4]).unwrap();
        let twice = checked(&once.bytes).unwrap().keep(&[0, 2]).unwrap();
        assert_eq!(twice.records, 2);
        let mut batch = RecordBatch::decode(twice.bytes.clone()).unwrap();
        assert_eq!(batch.offset_deltas, [1, 4]);
        (batch.base_offset, batch.offset_span) = (100, 6);
        let response = FetchResponse { batches: vec![batch], ..FetchResponse::default() };
        let found: Vec<_> = decode_batches([response.encode_to_vec().into()], 101)
            .map(|record| record.unwrap())
            .map(|record| (record.offset, record.record))
            .collect();
        assert_eq!(found, [(101, records[1].clone()), (104, records[4].clone())]);
        // What a producer may not send.
        assert_eq!(split(twice.bytes), Err(FormError::OffsetDeltas));
    }
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn each_kind_of_wrong_form_has_its_error() {
    let record = |content: &[u8]| checked(&field(10, content).into());
    let header = |content: &[u8]| record(&field(3, content));
    let name = Err(FormError::HeaderName { record: 0 });

    assert_eq!(checked(&Bytes::new()).map(|_| ()), Err(FormError::NoRecords));
    assert!(matches!(record(&[0x08, 1]), Err(FormError::Field { message: "Record", .. })));
    assert!(matches!(record(&field(9, b"")), Err(FormError::Field { message: "Record", .. })));
    assert!(matches!(header(&field(7, b"")), Err(FormError::Field { message: "Header", .. })));
    assert_eq!(header(&field(1, b"\xff")).map(|_| ()), name);
    assert_eq!(header(&field(2, b"value")).map(|_| ()), name);
    assert_eq!(header(&field(1, &[b'n'; 256])).map(|_| ()), name);
    assert!(header(&field(1, &[b'n'; 255])).is_ok());

    let batch = |fields: &[&[u8]]| split(fields.concat().into()).and_then(|(_, b)| checked(&b));
    let ok = field(10, b"");
    assert_eq!(batch(&[&[0x48, 1], &ok]).map(|_| ()), Err(FormError::Layout { compression: 1 }));
    assert_eq!(batch(&[&field(11, b"x")]).map(|_| ()), Err(FormError::Layout { compression: 0 }));
    assert_eq!(
        batch(&[&[0x48, 9], &field(11, b"x")]).map(|_| ()),
        Err(FormError::UnknownCompression { compression: 9 })
    );
    let twice = batch(&[&[0x48, 1, 0x48, 1], &field(11, b"x")]).map(|_| ());
    assert_eq!(twice, Err(FormError::Repeated { message: "RecordBatch", field: 9 }));
    assert!(matches!(batch(&[&field(13, b"")]), Err(FormError::Field { field: 13, .. })));
    assert!(matches!(batch(&[&[0x08, 1]]), Err(FormError::Field { field: 1, .. })));
    let deep = [0x53; 100_000];
    assert!(matches!(batch(&[&deep]), Err(FormError::Field { wire_type: 3, .. })));
}

#[test]
fn limits_hold_before_anything_is_built() {
    // 64 MiB of two-byte records: prost would make gigabytes of them.
    let many = Bytes::from([0x52, 0x00].repeat(32 << 20));
    let refused = FormError::TooManyRecords { limit: 10_000 };
    assert_eq!(checked(&many).map(|_| ()), Err(refused.clone()));
    assert_eq!(split(many), Err(refused.clone()));
    assert!(checked(&Bytes::from([0x52, 0x00].repeat(10_000))).is_ok());
    for kind in &KINDS[1..] {
        let mut body = BodyBuilder::default();
        (0..10_001).for_each(|_| body.push_encoded(b""));
        let body = body.finish_compressed(*kind).unwrap();
        assert_eq!(checked(&body.bytes).map(|_| ()), Err(refused.clone()));
    }

    let mut record = Record::default();
    let header = Header { name: "n".into(), value: Bytes::new() };
    record.headers = vec![header; RECORD_HEADERS_MAX as usize];
    assert!(checked(&Body::from_records([&record]).bytes).is_ok());
    record.headers.push(Header { name: "n".into(), value: Bytes::new() });
    let one_more = checked(&Body::from_records([&record]).bytes).map(|_| ());
    assert_eq!(one_more, Err(FormError::TooManyHeaders { record: 0 }));
    record.headers.push(Header::default());
    assert!(scan(&Body::from_records([&record]).bytes, ScanLimits::stored()).is_ok());

    let limits = ScanLimits { record_bytes: 10, ..ScanLimits::default() };
    let sized = |bytes: usize| Body::from_records([&Record::new(vec![0; bytes])]).bytes;
    assert!(scan(&sized(8), limits).is_ok());
    assert_eq!(
        scan(&sized(9), limits).map(|_| ()),
        Err(FormError::RecordTooLarge { record: 0, bytes: 11, limit: 10 })
    );
}

#[test]
fn a_header_is_found_and_taken_out() {
    let record = |number: usize| Record::new("v".repeat(40)).with_key(number.to_string());
    let plain: Vec<Record> = (0..20).map(|n| record(n).with_header("x-own", "1")).collect();
    let mut marked = plain.clone();
    marked[7] = record(7).with_header(REDRIVE_GROUP, "t/g").with_header("x-own", "1");
    for kind in KINDS {
        let body = |records| builder(records).finish_compressed(*kind).unwrap();
        assert!(!checked(&body(&plain).bytes).unwrap().redriven, "{kind:?}");
        let scan = checked(&body(&marked).bytes).unwrap();
        assert!(scan.redriven, "{kind:?}");
        assert_eq!(scan.without_header(REDRIVE_GROUP).unwrap(), body(&plain), "{kind:?}");
    }
}

#[test]
fn what_would_look_like_a_bomb_is_left_as_it_is() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut noise = vec![0; 100_000];
    noise.fill_with(|| random.u8(..));
    let records = [Record::new(noise), Record::new(vec![0; INFLATE_FREE_BYTES + 1])];
    let [_, zeros] = &records;
    for kind in &KINDS[1..] {
        let alone = builder(std::slice::from_ref(zeros)).finish_compressed(*kind).unwrap();
        assert_eq!(checked(&alone.bytes).unwrap().decode(0).unwrap(), *zeros, "{kind:?}");

        let body = builder(&records).finish_compressed(*kind).unwrap();
        let whole = checked(&body.bytes).unwrap();
        assert_eq!(whole.compression, *kind);
        for part in [whole.select(&[1]), whole.keep(&[1])] {
            let part = scan(&part.unwrap().bytes, ScanLimits::stored()).unwrap();
            assert_eq!(part.decode(0).unwrap(), *zeros, "{kind:?}");
        }
    }
}

#[test]
fn bombs_are_refused_by_what_they_inflate_to() {
    for kind in &KINDS[1..] {
        let mut random = fastrand::Rng::with_seed(1);
        let mut body = BodyBuilder::default();
        for _ in 0..9 {
            let mut value = vec![0; 1 << 20];
            value[..20_000].fill_with(|| random.u8(..));
            body.push(&Record::new(value));
        }
        let body = body.finish_compressed(*kind).unwrap();
        let limits = ScanLimits { inflated_bytes: INFLATE_FREE_BYTES, ..ScanLimits::default() };
        let refused = scan(&body.bytes, limits).map(|_| ()).unwrap_err();
        assert!(matches!(refused, FormError::Inflates { .. }), "{kind:?} {refused}");
    }
}
