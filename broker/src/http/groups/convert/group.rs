//! Groups: their settings, how they are doing, seek and redrive.

use std::time::Duration;

use embermq_protocol::code::Code;
use embermq_protocol::limits::{LEASE_MAX, LEASE_MIN, REQUEST_RECORDS_MAX, RETRY_DELAY_MAX};
use embermq_protocol::names::{GroupName, TopicName};
use embermq_protocol::v1;
use embermq_storage::Offset;

use super::{span, time_message};
use crate::http::catalog::{not_reserved, topic_name};
use crate::http::failure::Failure;
use crate::{Backoff, GroupEdit, GroupInfo, GroupSettings, Ordering, Redrive, Sought};

/// The shortest first delay of a backoff.
const BACKOFF_MIN: Duration = Duration::from_millis(1);

/// Settings for a new group: what is unset gets its default.
pub(in crate::http::groups) fn settings(
    topic: &TopicName,
    group: &GroupName,
    message: &v1::GroupSettings,
) -> Result<GroupSettings, Failure> {
    let defaults = GroupSettings::default();
    let edit = edit(topic, group, message)?;
    Ok(GroupSettings {
        ordering: ordering(message.ordering)?.unwrap_or(defaults.ordering),
        lease: edit.lease.unwrap_or(defaults.lease),
        attempts_max: edit.attempts_max.unwrap_or(defaults.attempts_max),
        backoff: edit.backoff.unwrap_or(defaults.backoff),
        in_flight_max: edit.in_flight_max.unwrap_or(defaults.in_flight_max),
        dead_letter_topic: edit.dead_letter_topic.flatten(),
        filter: edit.filter.flatten(),
    })
}

/// A change of settings: what is unset stays. The ordering is not part of it.
pub(in crate::http::groups) fn edit(
    topic: &TopicName,
    group: &GroupName,
    message: &v1::GroupSettings,
) -> Result<GroupEdit, Failure> {
    let lease =
        message.lease.map(|lease| span("lease", lease, LEASE_MIN, LEASE_MAX)).transpose()?;
    let dead_letters = message.dead_letter_topic.as_deref();
    Ok(GroupEdit {
        lease,
        attempts_max: message.max_attempts,
        backoff: message.backoff.as_ref().map(backoff).transpose()?,
        in_flight_max: message.max_in_flight,
        dead_letter_topic: dead_letters
            .map(|name| dead_letter_topic(topic, group, name))
            .transpose()?,
        filter: message
            .filter
            .as_ref()
            .map(|filter| (!filter.trim().is_empty()).then(|| filter.clone())),
    })
}

/// None for no name and for the default one, so that settings that were shown can be sent back.
fn dead_letter_topic(
    topic: &TopicName,
    group: &GroupName,
    name: &str,
) -> Result<Option<TopicName>, Failure> {
    if name.is_empty() || name == format!("{topic}.{group}.dlq") {
        return Ok(None);
    }
    let name = topic_name(name)?;
    not_reserved(&name)?;
    Ok(Some(name))
}

fn backoff(message: &v1::Backoff) -> Result<Backoff, Failure> {
    let defaults = Backoff::default();
    let delay = |name, delay, default| match delay {
        Some(delay) => span(name, delay, BACKOFF_MIN, RETRY_DELAY_MAX),
        None => Ok(default),
    };
    Ok(Backoff {
        initial: delay("backoff.initial", message.initial, defaults.initial)?,
        max: delay("backoff.max", message.max, defaults.max)?,
        multiplier: message.multiplier.unwrap_or(defaults.multiplier),
        jitter: message.jitter.unwrap_or(defaults.jitter),
    })
}

/// Reads an ordering; none when it is unset.
pub(in crate::http::groups) fn ordering(value: i32) -> Result<Option<Ordering>, Failure> {
    match v1::Ordering::try_from(value) {
        Ok(v1::Ordering::Unspecified) => Ok(None),
        Ok(v1::Ordering::None) => Ok(Some(Ordering::None)),
        Ok(v1::Ordering::Key) => Ok(Some(Ordering::Key)),
        Ok(v1::Ordering::Partition) => Ok(Some(Ordering::Partition)),
        Err(_) => {
            let detail =
                format!("there is no ordering {value}: 1 is none, 2 is by key, 3 is by partition");
            Err(Failure::invalid(detail).with("field", "ordering"))
        }
    }
}

/// A group as a message; lists leave the partitions out.
pub(in crate::http::groups) fn group_message(info: &GroupInfo, with_partitions: bool) -> v1::Group {
    let partitions = if with_partitions { info.partitions.as_slice() } else { &[] };
    let partitions = partitions.iter().map(|partition| v1::GroupPartition {
        partition: partition.partition.0,
        next_offset: partition.next.0,
        first_open_offset: partition.first_open.0,
        open: partition.open,
        lag_records: partition.lag_records,
    });
    v1::Group {
        topic: info.topic.as_str().to_owned(),
        group: info.group.as_str().to_owned(),
        settings: Some(settings_message(info)),
        create_time: time_message(info.created),
        lag_records: info.lag_records,
        lag: Some(info.lag.unwrap_or_default().into()),
        in_flight: info.in_flight,
        waiting: info.waiting,
        held: info.held,
        dead: info.dead,
        scheduled: info.scheduled,
        partitions: partitions.collect(),
    }
}

fn settings_message(info: &GroupInfo) -> v1::GroupSettings {
    let settings = &info.settings;
    let ordering = match settings.ordering {
        Ordering::None => v1::Ordering::None,
        Ordering::Key => v1::Ordering::Key,
        Ordering::Partition => v1::Ordering::Partition,
    };
    v1::GroupSettings {
        ordering: ordering.into(),
        lease: Some(settings.lease.into()),
        max_attempts: Some(settings.attempts_max),
        backoff: Some(v1::Backoff {
            initial: Some(settings.backoff.initial.into()),
            max: Some(settings.backoff.max.into()),
            multiplier: Some(settings.backoff.multiplier),
            jitter: Some(settings.backoff.jitter),
        }),
        max_in_flight: Some(settings.in_flight_max),
        dead_letter_topic: Some(info.dead_letter_topic.as_str().to_owned()),
        filter: Some(settings.filter.clone().unwrap_or_default()),
    }
}

/// What a seek did to a partition, as a message.
pub(in crate::http::groups) fn sought_message(sought: &Sought) -> v1::SoughtPartition {
    v1::SoughtPartition {
        partition: sought.partition.0,
        from_offset: sought.from.0,
        to_offset: sought.to.0,
        read_again: sought.read_again,
        skipped: sought.skipped,
        leases_lost: sought.leases_lost,
    }
}

/// Which dead letters a redrive is about.
pub(in crate::http::groups) fn redrive(message: v1::RedriveRequest) -> Result<Redrive, Failure> {
    if message.offsets.len() > REQUEST_RECORDS_MAX as usize {
        let detail = format!(
            "a redrive names at most {REQUEST_RECORDS_MAX} offsets; redrive the others with another one"
        );
        let failure = Failure::new(Code::TooManyRecords, detail);
        return Err(failure.with("limit_records", REQUEST_RECORDS_MAX));
    }
    Ok(Redrive {
        offsets: message.offsets.into_iter().map(Offset).collect(),
        contains: message.contains,
        records_max: (message.max_records > 0).then_some(message.max_records),
        dry_run: message.dry_run,
        drop: message.drop,
    })
}

#[cfg(test)]
mod tests {
    use embermq_protocol::time;

    use super::*;

    fn names() -> (TopicName, GroupName) {
        (TopicName::new("t").unwrap(), GroupName::new("g").unwrap())
    }

    fn seconds(seconds: i64) -> time::Duration {
        time::Duration { seconds, nanos: 0 }
    }

    #[test]
    fn what_is_unset_is_the_default_or_stays() {
        let (topic, group) = names();
        let nothing = v1::GroupSettings::default();
        assert_eq!(settings(&topic, &group, &nothing).unwrap(), GroupSettings::default());
        assert_eq!(edit(&topic, &group, &nothing).unwrap(), GroupEdit::default());
        let backoff = v1::Backoff { max: Some(seconds(5)), ..v1::Backoff::default() };
        let some = v1::GroupSettings {
            ordering: v1::Ordering::Key.into(),
            backoff: Some(backoff),
            filter: Some(String::new()),
            ..nothing
        };
        let read = settings(&topic, &group, &some).unwrap();
        assert_eq!(read.ordering, Ordering::Key);
        let max = Duration::from_secs(5);
        assert_eq!(read.backoff, Backoff { max, ..Backoff::default() });
        assert_eq!(edit(&topic, &group, &some).unwrap().filter, Some(None));
    }

    #[test]
    fn the_default_dead_letter_topic_is_no_setting() {
        let (topic, group) = names();
        let named = |name: &str| {
            let dead_letter_topic = Some(name.to_owned());
            let message = v1::GroupSettings { dead_letter_topic, ..v1::GroupSettings::default() };
            edit(&topic, &group, &message).map(|edit| edit.dead_letter_topic)
        };
        assert_eq!(named("").unwrap(), Some(None));
        assert_eq!(named("t.g.dlq").unwrap(), Some(None));
        assert_eq!(named("x.dlq").unwrap(), Some(Some(TopicName::new("x.dlq").unwrap())));
        assert!(named("a/b").is_err());
    }

    #[test]
    fn limits_are_named() {
        let (topic, group) = names();
        for (lease, text) in [(-5, "-5s"), (0, "0s"), (43_201, "43201s"), (i64::MIN, "s")] {
            let lease = Some(seconds(lease));
            let message = v1::GroupSettings { lease, ..v1::GroupSettings::default() };
            let failure = edit(&topic, &group, &message).unwrap_err();
            let detail = &failure.problem().detail;
            assert!(detail.contains(text) && detail.contains("1s to 43200s"), "{detail}");
        }
        assert!(ordering(7).is_err());
        let many = v1::RedriveRequest { offsets: vec![0; 10_001], ..v1::RedriveRequest::default() };
        assert!(redrive(many).is_err());
    }
}
