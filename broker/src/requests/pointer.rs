//! Pointers: where the record of a request ended, in the topic [`TOPIC`], by the record's place.
//!
//! The key is `group/partition/offset`, in numbers, the value says the kind of end, topic and partition in JSON. What ended it was
//! appended by the same commit, so it has the pointer's own append time: only records of that one moment have to be looked at.

use std::time::Duration;

use embermq_protocol::names::TopicName;

use crate::broker::Broker;
use crate::error::CommitError;
use crate::group::Place;
use crate::record::Record;
use crate::state::GroupId;
use crate::topic::{PartitionId, TopicSettings};

/// The topic of pointers.
pub const TOPIC: &str = "_requests";

/// Names, on an input, the stage whose answer somebody wants to find.
pub const CALL_HEADER: &str = "x-call";

/// How long a result can be found at least.
pub const RESULT_AGE: Duration = Duration::from_secs(24 * 3600);

/// Where a record ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// A dead letter, not an output.
    pub(crate) dead: bool,
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionId,
}

/// Whether somebody wants to find what this stage makes of a record.
pub(crate) fn wants_answer(record: &Record, stage: &str) -> bool {
    record.header_value(CALL_HEADER) == Some(stage.as_bytes())
}

/// The key of a record's pointer.
pub(super) fn key_of(group: GroupId, place: Place) -> String {
    format!("{}/{}/{}", group.0, place.partition.0, place.offset)
}

/// The pointer of a record.
pub(crate) fn pointer_of(group: GroupId, place: Place, ended: &Ended) -> Record {
    let kind = if ended.dead { "dead_letter" } else { "output" };
    // A topic's name needs no escapes.
    let value = format!(
        r#"{{"kind":"{kind}","topic":"{}","partition":{}}}"#,
        ended.topic, ended.partition.0
    );
    Record::new(value)
        .with_key(key_of(group, place))
        .with_header("content-type", "application/json")
}

/// What a pointer says. `None`: somebody else wrote it.
pub(super) fn read(record: &Record) -> Option<Ended> {
    let text = std::str::from_utf8(record.value.as_deref()?).ok()?;
    let rest = text.strip_prefix(r#"{"kind":""#)?;
    let (kind, rest) = rest.split_once(r#"","topic":""#)?;
    let (topic, rest) = rest.split_once(r#"","partition":"#)?;
    let partition = PartitionId(rest.strip_suffix('}')?.parse().ok()?);
    let dead = match kind {
        "dead_letter" => true,
        "output" => false,
        _ => return None,
    };
    Some(Ended { dead, topic: topic.parse().ok()?, partition })
}

/// Makes the topic, if it is not there.
pub(crate) async fn ensure_topic(broker: &Broker) -> Result<TopicName, CommitError> {
    let name: TopicName = TOPIC
        .parse()
        .map_err(|error| CommitError::Invalid { detail: format!("topic {TOPIC}: {error}") })?;
    if broker.topic(&name).is_none() {
        let settings =
            TopicSettings { retention_age: Some(RESULT_AGE), ..TopicSettings::default() };
        match broker.create_topic(&name, settings).await {
            // Somebody made it, with settings of their own.
            Ok(_) | Err(CommitError::TopicExists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use embermq_storage::Offset;

    use super::*;

    #[test]
    fn a_pointer_reads_back_and_rubbish_is_none() {
        let place = Place { partition: PartitionId(2), offset: Offset(9) };
        for dead in [true, false] {
            let topic = "in.s_1-x.dlq".parse().unwrap();
            let ended = Ended { dead, topic, partition: PartitionId(7) };
            let record = pointer_of(GroupId(1), place, &ended);
            assert_eq!(record.key.as_deref(), Some(&b"1/2/9"[..]));
            assert_eq!(read(&record), Some(ended));
            let json = record.value.unwrap();
            assert!(json.starts_with(b"{\"kind\":\""));
        }
        for text in ["", "{}", r#"{"kind":"output","topic":"a/b","partition":0}"#] {
            assert_eq!(read(&Record::new(text)), None, "{text}");
        }
    }
}
