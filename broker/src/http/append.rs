//! From records, however they came, to a commit, and from its result to what each record became.
//!
//! Whatever the body was, it ends as batches in their wire form that are checked by one scan. A protobuf batch that goes
//! to one partition is stored as the bytes that were sent.

use std::sync::Arc;

use bytes::Bytes;
use embermq_protocol::batch::{
    Body, BodyBuilder, ProducerFields, Route, ScanLimits, route, scan, split,
};
use embermq_protocol::code::Code;
use embermq_protocol::limits::{IDEMPOTENCY_KEY_BYTES_MAX, REQUEST_BYTES_MAX, REQUEST_RECORDS_MAX};
use embermq_protocol::names::TopicName;
use embermq_protocol::v1;
use embermq_storage::{Offset, Timestamp};

use super::catalog::not_reserved;
use super::failure::Failure;
use super::fetch::partition_needed;
use super::fingerprint::Fingerprint;
use super::json::IncomingRecord;
use super::places::Places;
use super::produce::EventName;
use super::repeat::Destinations;
use super::shared::Shared;
use crate::consume::ONLY_FOR;
use crate::{
    Append, Batch, Commit, CommitError, Committed, Durability, IdempotencyKey, PartitionId,
    Precondition, ProducerStamp, ScheduleRef, Scheduled, Settlement, Topic,
};

/// The records of one append.
#[derive(Debug)]
pub(super) enum Records {
    /// A `RecordBatch` as it was sent.
    Batch(Bytes),
    /// Records that were read from something else.
    List(Vec<IncomingRecord>),
}

/// Records for one topic, and where they shall go.
#[derive(Debug)]
pub(super) struct Portion {
    pub(super) topic: Arc<Topic>,
    /// None: by key, or as the records say.
    pub(super) partition: Option<u32>,
    pub(super) records: Records,
    /// None: now.
    pub(super) deliver_at: Option<Timestamp>,
}

/// What surrounds the records of a commit.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) preconditions: Vec<Precondition>,
    pub(super) settlements: Vec<Settlement>,
    pub(super) cancels: Vec<ScheduleRef>,
    pub(super) producer: Option<ProducerStamp>,
    pub(super) idempotency_key: Option<String>,
    /// The event that the idempotency key stands for, when the request has none itself.
    pub(super) event: Option<EventName>,
    pub(super) durability: Option<Durability>,
}

/// A portion, parted among partitions.
#[derive(Debug)]
struct Parted {
    topic: Arc<Topic>,
    deliver_at: Option<Timestamp>,
    routes: Vec<Route>,
    producer: ProducerFields,
    /// Records in all.
    count: u32,
    /// Where it could have been parted otherwise, if this is a repeat.
    destinations: Option<Destinations>,
}

/// Where the records of one portion went: one result per partition.
pub(super) type Results = Vec<v1::AppendResult>;

/// Looks a topic up.
pub(super) fn find_topic(shared: &Shared, name: &TopicName) -> Result<Arc<Topic>, Failure> {
    let found = shared.broker.topic(name);
    Ok(found.ok_or_else(|| CommitError::TopicNotFound { topic: name.clone() })?)
}

/// Looks a topic up that is to be written.
pub(super) fn find_own_topic(shared: &Shared, name: &TopicName) -> Result<Arc<Topic>, Failure> {
    not_reserved(name)?;
    find_topic(shared, name)
}

/// The partition that a precondition without one means: the only one there is.
pub(super) fn only_partition(
    topic: &Topic,
    partition: Option<u32>,
) -> Result<PartitionId, Failure> {
    match (partition, topic.settings.partitions) {
        (Some(partition), _) => Ok(PartitionId(partition)),
        (None, 1) => Ok(PartitionId(0)),
        (None, several) => Err(partition_needed(topic, several)),
    }
}

/// Checks an idempotency key: quoted as the standard has it, or bare.
pub(super) fn idempotency_key(text: &str) -> Result<String, Failure> {
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    match bare.len() {
        0 => Err(Failure::invalid("the idempotency key is empty: say one, or leave it out")),
        1..=IDEMPOTENCY_KEY_BYTES_MAX => Ok(bare.to_owned()),
        long => Err(Failure::invalid(format!(
            "the idempotency key has {long} bytes, at most {IDEMPOTENCY_KEY_BYTES_MAX} are allowed"
        ))),
    }
}

/// The idempotency key of a message, where none is empty.
pub(super) fn idempotency_key_of_message(text: &str) -> Result<Option<String>, Failure> {
    (!text.is_empty()).then(|| idempotency_key(text)).transpose()
}

/// Commits portions, all or nothing. The results are in the order of the portions.
pub(super) async fn commit(
    shared: &Shared,
    portions: Vec<Portion>,
    terms: Terms,
) -> Result<(Committed, Vec<Results>), Failure> {
    let mut left = REQUEST_RECORDS_MAX;
    let mut fingerprint = terms.idempotency_key.is_some().then(Fingerprint::new);
    let mut parted = Vec::with_capacity(portions.len());
    for portion in portions {
        let part = part(shared, portion, &terms, left, fingerprint.as_mut())?;
        left -= part.count;
        parted.push(part);
    }
    let producer = producer(&terms, &parted)?;
    if let Some(fingerprint) = &mut fingerprint {
        for settlement in &terms.settlements {
            fingerprint.add_settlement(settlement);
        }
        for cancel in &terms.cancels {
            fingerprint.add_cancel(cancel);
        }
    }
    let key = terms.idempotency_key.zip(fingerprint);
    let commit = Commit {
        preconditions: terms.preconditions,
        appends: parted
            .iter_mut()
            .filter(|part| part.deliver_at.is_none())
            .flat_map(appends)
            .collect(),
        scheduled: parted.iter_mut().flat_map(scheduled).collect(),
        cancels: terms.cancels,
        settlements: terms.settlements,
        producer,
        idempotency_key: key
            .map(|(key, print)| IdempotencyKey { key, fingerprint: print.finish() }),
        durability: terms.durability,
    };
    let committed = shared.broker.commit(commit).await;
    let committed = committed.map_err(|error| match terms.event {
        Some(event) => failure_of_event(error, &event),
        None => error.into(),
    })?;
    let mut places = Places::of(&committed);
    let mut results = Vec::with_capacity(parted.len());
    for part in parted {
        results.push(part.results(&mut places)?);
    }
    Ok((committed, results))
}

/// What an event failed with. Its sender knows of no idempotency key.
fn failure_of_event(error: CommitError, event: &EventName) -> Failure {
    let CommitError::IdempotencyKeyReused { topic, .. } = error else { return error.into() };
    let detail = format!(
        "a CloudEvent with {event} was sent to topic {topic} with another payload; give each event an id of its own"
    );
    Failure::new(Code::IdempotencyKeyReused, detail)
}

impl Parted {
    /// Where each of its parts went.
    fn results(mut self, places: &mut Places<'_>) -> Result<Results, Failure> {
        let records = match self.parts_of_repeat(places)? {
            Some(records) => records,
            None => self.routes.iter_mut().map(|r| std::mem::take(&mut r.record_indexes)).collect(),
        };
        let put_off = self.deliver_at.is_some();
        let results = records.into_iter().map_while(|record_indexes| {
            let (result, _) = places.next(put_off)?;
            Some(v1::AppendResult { record_indexes, ..result })
        });
        Ok(results.collect())
    }

    /// Which records each of its parts had when it came first, if its topic may have had fewer partitions then.
    fn parts_of_repeat(&self, places: &Places<'_>) -> Result<Option<Vec<Vec<u32>>>, Failure> {
        let Some(destinations) = self.destinations.as_ref().filter(|_| places.of_repeat()) else {
            return Ok(None);
        };
        let (mut ahead, mut went, mut left) = (places.clone(), Vec::new(), self.count);
        let mut partitions = self.topic.settings.partitions;
        while left > 0
            && let Some((place, of_topic)) = ahead.next(self.deliver_at.is_some())
        {
            partitions = of_topic.filter(|of_topic| *of_topic > 0).unwrap_or(partitions);
            left = left.saturating_sub(place.count);
            went.push((place.partition, place.count));
        }
        destinations.parted(&went, partitions).map_err(Failure::from)
    }
}

/// The batches of a portion that is put off.
fn scheduled(part: &mut Parted) -> Vec<Scheduled> {
    let Some(deliver_at) = part.deliver_at else { return Vec::new() };
    appends(part).into_iter().map(|append| Scheduled { append, deliver_at }).collect()
}

/// The batches of a portion, moved out of it.
fn appends(part: &mut Parted) -> Vec<Append> {
    let topic = part.topic.name.clone();
    let append = |route: &mut Route| Append {
        topic: topic.clone(),
        partition: PartitionId(route.partition),
        batch: Batch {
            body: std::mem::take(&mut route.body.bytes),
            body_crc: route.body.crc,
            record_count: route.body.records,
        },
    };
    part.routes.iter_mut().map(append).collect()
}

/// Checks a portion and parts it among the partitions of its topic.
fn part(
    shared: &Shared,
    portion: Portion,
    terms: &Terms,
    records_left: u32,
    fingerprint: Option<&mut Fingerprint>,
) -> Result<Parted, Failure> {
    let Portion { topic, partition, mut records, deliver_at } = portion;
    if let Records::List(list) = &mut records {
        // For which group a redriven record is, is for the broker to say.
        for incoming in list {
            incoming.record.headers.retain(|header| header.name != ONLY_FOR);
        }
    }
    let partitions = topic.settings.partitions;
    for wanted in partition.iter().chain(explicit_partitions(&records)) {
        if *wanted >= partitions {
            let (topic, partition) = (topic.name.clone(), PartitionId(*wanted));
            return Err(CommitError::PartitionNotFound { topic, partition, partitions }.into());
        }
    }
    if let Some(partition) = partition {
        elsewhere(&records, partition)?;
    }
    let limits = ScanLimits {
        records: records_left,
        record_bytes: topic.settings.record_bytes_max,
        inflated_bytes: REQUEST_BYTES_MAX,
        limit_headers: true,
    };
    let (producer, mut bytes) = match &records {
        Records::Batch(batch) => split(batch.clone())?,
        Records::List(list) => {
            let records = list.iter().map(|incoming| &incoming.record);
            (ProducerFields::default(), Body::from_records(records).bytes)
        }
    };
    let mut scanned = scan(&bytes, limits)?;
    if scanned.redriven {
        // Rare, so that a batch may be written anew for it.
        bytes = scanned.without_header(ONLY_FOR)?.bytes;
        scanned = scan(&bytes, limits)?;
    }
    if let Some(fingerprint) = fingerprint {
        fingerprint.add_topic(topic.name.as_str());
        for index in 0..scanned.records.len() {
            let record = scanned.decode(index)?;
            fingerprint.add_record(record.key.as_deref(), record.value.as_deref());
        }
    }
    let count = scanned.count();
    let unkeyed_by = unkeyed_by(terms, producer);
    let may_go_elsewhere = partition.is_none() && partitions > 1;
    let destinations = unkeyed_by.as_ref().filter(|_| may_go_elsewhere).map(|unkeyed| {
        let (bytes, unkeyed) = (bytes.clone(), unkeyed.clone());
        Destinations { bytes, limits, named: named(&records), unkeyed }
    });
    let body = Body::of(bytes, count);
    let unkeyed = || shared.broker.partition_for(&topic, unkeyed_by.as_deref()).0;
    let routes = match (partition, &records) {
        (Some(partition), _) => vec![Route { partition, record_indexes: Vec::new(), body }],
        (None, _) if partitions == 1 => {
            vec![Route { partition: 0, record_indexes: Vec::new(), body }]
        }
        (None, Records::List(list)) if list.iter().any(|record| record.partition.is_some()) => {
            by_request(shared, &topic, list, unkeyed())
        }
        (None, _) => route(body, &scanned, partitions, unkeyed())?,
    };
    Ok(Parted { topic, deliver_at, routes, producer, count, destinations })
}

/// Refuses a record that names another partition than its request does.
fn elsewhere(records: &Records, partition: u32) -> Result<(), Failure> {
    let Records::List(list) = records else { return Ok(()) };
    let own = |(index, record): (usize, &IncomingRecord)| Some((index, record.partition?));
    let other = list.iter().enumerate().filter_map(own).find(|(_, own)| *own != partition);
    let Some((index, own)) = other else { return Ok(()) };
    let detail = format!(
        "record {index} names partition {own} and the request partition {partition}; name one of them"
    );
    Err(Failure::invalid(detail).with("index", index))
}

fn explicit_partitions(records: &Records) -> impl Iterator<Item = &u32> {
    let list = match records {
        Records::List(list) => list.as_slice(),
        Records::Batch(_) => &[],
    };
    list.iter().filter_map(|record| record.partition.as_ref())
}

/// The partitions that records name themselves; none when no record does.
fn named(records: &Records) -> Vec<Option<u32>> {
    match records {
        Records::List(list) if list.iter().any(|record| record.partition.is_some()) => {
            list.iter().map(|record| record.partition).collect()
        }
        _ => Vec::new(),
    }
}

/// What records without a key go by when a repeat must find the same partition: what makes it a repeat. None: they go to the
/// next partition in turn.
fn unkeyed_by(terms: &Terms, fields: ProducerFields) -> Option<Vec<u8>> {
    let stamp = terms.producer.map(|stamp| (stamp.id, stamp.sequence));
    let own = (fields.producer_id != 0).then_some((fields.producer_id, fields.base_sequence));
    match (&terms.idempotency_key, stamp.or(own)) {
        (Some(key), _) => Some(key.as_bytes().to_vec()),
        (None, Some((id, sequence))) => Some([id.to_le_bytes(), sequence.to_le_bytes()].concat()),
        (None, None) => None,
    }
}

/// Parts records of which some say their partition themselves.
fn by_request(shared: &Shared, topic: &Topic, list: &[IncomingRecord], unkeyed: u32) -> Vec<Route> {
    let mut targets: Vec<(u32, u32)> = list
        .iter()
        .zip(0..)
        .map(|(incoming, index)| {
            let by_key = |key: &Bytes| shared.broker.partition_for(topic, Some(key)).0;
            let key = incoming.record.key.as_ref();
            let target = incoming.partition.or_else(|| key.map(by_key)).unwrap_or(unkeyed);
            (target, index)
        })
        .collect();
    targets.sort_unstable();
    let one = |part: &[(u32, u32)]| {
        let mut builder = BodyBuilder::default();
        for (_, index) in part {
            builder.push(&list[*index as usize].record);
        }
        let record_indexes = part.iter().map(|(_, index)| *index).collect();
        Route { partition: part[0].0, record_indexes, body: builder.finish() }
    };
    targets.chunk_by(|one, other| one.0 == other.0).map(one).collect()
}

/// The producer's stamp: of the request's headers, or of its batches, which must agree.
fn producer(terms: &Terms, parted: &[Parted]) -> Result<Option<ProducerStamp>, Failure> {
    let mut stamps =
        parted.iter().map(|part| part.producer).filter(|fields| fields.producer_id != 0);
    let first = stamps.next().map(|fields| ProducerStamp {
        id: fields.producer_id,
        epoch: fields.producer_epoch,
        sequence: fields.base_sequence,
    });
    let others_agree = stamps.all(|fields| {
        first.is_some_and(|first| {
            (first.id, first.epoch) == (fields.producer_id, fields.producer_epoch)
        })
    });
    match (terms.producer, first) {
        _ if !others_agree => {
            Err(Failure::invalid("the batches of one commit must come from one producer and epoch"))
        }
        (Some(stamp), Some(first)) if stamp != first => Err(Failure::invalid(
            "the producer headers and the producer fields of the batch say different things; send one of them",
        )),
        (stamp, first) => Ok(stamp.or(first)),
    }
}

/// The precondition that the next offset is this one.
pub(super) fn next_offset_is(topic: &Topic, partition: PartitionId, offset: u64) -> Precondition {
    Precondition::NextOffset { topic: topic.name.clone(), partition, offset: Offset(offset) }
}

/// The durability in words.
pub(super) fn durability_of(text: &str) -> Result<Durability, Failure> {
    match text {
        "fsync" => Ok(Durability::Fsync),
        "os" => Ok(Durability::Os),
        other => Err(Failure::new(
            Code::InvalidArgument,
            format!("durability is {other:?}, expected fsync or os"),
        )),
    }
}
