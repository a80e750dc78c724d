//! From outcomes to the one commit that ends a batch.

use std::collections::BTreeMap;

use embermq_protocol::names::TopicName;
use embermq_storage::Offset;
use prost::Message as _;

use super::answer::in_headers;
use super::instances::{Failure, Outcome};
use super::processor::{Identity, Output};
use super::settings::{AnswerIn, OnNonfinite, StageSettings};
use crate::commit::{Append, Batch, Commit};
use crate::consume::{Lease, Settlement, Verdict};
use crate::record::Record;
use crate::topic::{PartitionId, Topic, TopicId};

const STAGE: &str = "x-stage";
const INPUT: &str = "x-input";
const OVERRIDES: &str = "x-overrides";

/// What outputs say of what made them.
pub(crate) const PROVENANCE: [&str; 9] = [
    "x-model",
    "x-model-digest",
    OVERRIDES,
    STAGE,
    INPUT,
    "x-output-id",
    "x-attempt",
    "x-batch-size",
    "x-millis",
];

/// The commit of a batch, and which output is whose.
pub(super) struct Planned {
    pub(super) commit: Commit,
    /// For each lease the partition of its output, and its place among the outputs that go there.
    pub(super) outputs: Vec<Option<(PartitionId, u64)>>,
}

/// The commit of a batch: outputs in the order of their inputs, and what becomes of each lease.
pub(super) fn commit_of(
    settings: &StageSettings,
    identity: &Identity,
    (input, output): (TopicId, &Topic),
    ended: &[(Lease, Outcome)],
    partition_for: impl Fn(&Topic, Option<&[u8]>) -> PartitionId,
) -> Planned {
    let mut by_partition: BTreeMap<PartitionId, Vec<Record>> = BTreeMap::new();
    let mut settlements = Vec::with_capacity(ended.len());
    let mut outputs = Vec::with_capacity(ended.len());
    for (lease, outcome) in ended {
        let mut place = None;
        let verdict = match outcome {
            Ok(made) if made.nonfinite && settings.on_nonfinite == OnNonfinite::DeadLetter => {
                let reason =
                    "nonfinite: the model's answer has numbers that are none (NaN or infinity)";
                Verdict::Reject { reason: reason.to_owned() }
            }
            Ok(made) => match fitting(record_of(settings, identity, input, lease, made), output) {
                Err(reason) => Verdict::Reject { reason },
                Ok(record) => {
                    let partition = if (lease.partition.0 as usize) < output.partitions.len() {
                        lease.partition
                    } else {
                        partition_for(output, lease.record.key.as_deref())
                    };
                    let there = by_partition.entry(partition).or_default();
                    place = Some((partition, there.len() as u64));
                    there.push(record);
                    Verdict::Ack
                }
            },
            Err(Failure::Fault(fault)) if fault.retryable => {
                Verdict::Nack { delay: None, error: fault.to_string() }
            }
            Err(Failure::Fault(fault)) => Verdict::Reject { reason: fault.to_string() },
            Err(Failure::NotTried) => Verdict::Release,
        };
        settlements.push(Settlement { token: lease.token.clone(), verdict });
        outputs.push(place);
    }
    let append = |(partition, records): (PartitionId, Vec<Record>)| Append {
        topic: settings.output.clone(),
        partition,
        batch: Batch::of(&records),
    };
    let appends = by_partition.into_iter().map(append).collect();
    let commit = Commit { appends, settlements, ..Commit::default() };
    Planned { commit, outputs }
}

/// The output, or why its topic does not take it, as it would not from anybody else.
fn fitting(record: Result<Record, String>, output: &Topic) -> Result<Record, String> {
    let record = record?;
    let (bytes, limit) = (record.encoded_len(), output.settings.record_bytes_max);
    if bytes as u64 <= u64::from(limit) {
        return Ok(record);
    }
    let name = &output.name;
    Err(format!(
        "too_large: the output has {bytes} bytes with its headers, topic {name} takes {limit} a record (record_bytes_max)"
    ))
}

/// An input's place, as its output says it.
pub(crate) fn input_text(input: &TopicName, partition: PartitionId, offset: Offset) -> String {
    format!("{input}/{}/{offset}", partition.0)
}

/// Whether a record says that there is nothing any more under its key. No model is asked: its output says the same of the answer.
pub(super) const fn is_tombstone(record: &Record) -> bool {
    record.value.is_none()
}

/// Whether a record is what a stage made of this input.
pub(crate) fn is_output_of(record: &Record, stage: &str, input: &str) -> bool {
    record.header_value(STAGE) == Some(stage.as_bytes())
        && record.header_value(INPUT) == Some(input.as_bytes())
}

/// An output says what it came from and what made it. Its id is the same whenever the same model, with the same overrides, makes it of the
/// same record, and no other's: a topic that is made anew has other records at the same places.
fn record_of(
    settings: &StageSettings,
    identity: &Identity,
    input: TopicId,
    lease: &Lease,
    made: &Output,
) -> Result<Record, String> {
    let stage = &settings.name;
    let place = input_text(&settings.input, lease.partition, lease.offset);
    let digest = identity.digest.get(..16).unwrap_or(&identity.digest);
    // Whoever ran it has said; alone is what a record is at least.
    let batch_size = made.batch_size.unwrap_or(1);
    let told = match settings.answer {
        _ if is_tombstone(&lease.record) => Record { value: None, ..Record::default() },
        AnswerIn::Payload => {
            Record::new(made.value.clone()).with_header("content-type", made.content_type.clone())
        }
        AnswerIn::Headers => {
            // Overrides are named where there are some.
            let provenance = PROVENANCE.len() - usize::from(identity.overrides.is_none());
            in_headers(stage, &lease.record, made, provenance)?
        }
    };
    let id = format!("{place}/{}/{stage}/{digest}", input.0);
    let (otherwise, id) = match &identity.overrides {
        None => (None, id),
        Some(overrides) => (Some(overrides), format!("{id}-{overrides}")),
    };
    let mut record = told
        .with_header("x-model", format!("{}@{}", identity.name, identity.version))
        .with_header("x-model-digest", identity.digest.clone())
        .with_header(STAGE, stage.to_string())
        .with_header(INPUT, place)
        .with_header("x-output-id", id)
        .with_header("x-attempt", lease.attempt.to_string())
        .with_header("x-batch-size", batch_size.to_string())
        .with_header("x-millis", format!("{:.3}", made.took.as_secs_f64() * 1_000.0));
    record.key.clone_from(&lease.record.key);
    record.event_time_us = lease.record.event_time_us;
    if let Some(overrides) = otherwise {
        record = record.with_header(OVERRIDES, overrides.clone());
    }
    Ok(record)
}
