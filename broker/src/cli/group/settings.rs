//! Settings of a group, as flags.

use std::time::Duration;

use clap::{Args, ValueEnum};
use embermq_protocol::TopicName;
use embermq_protocol::v1;

use crate::config::parse_duration;

/// The one setting that never changes.
#[derive(Debug, Args)]
pub(super) struct Ordered {
    /// In which order records are handed out; never changes
    #[arg(long, value_enum, value_name = "KIND", default_value_t)]
    ordering: OrderingFlag,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OrderingFlag {
    /// A work queue
    #[default]
    None,
    /// One record per key at a time, keys in parallel
    Key,
    /// One batch per partition at a time; a partition stays with its member
    Partition,
}

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// How long a record is its worker's, 1s to 12h [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    lease: Option<Duration>,
    /// A record that failed so often goes to the dead-letter topic [default: 5]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// How long a record waits after its first failure; doubles with each further one [default: 1s]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    backoff_initial: Option<Duration>,
    /// The longest that a record waits after a failure [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    backoff_max: Option<Duration>,
    /// How many records may be leased at a time [default: 1000]
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,
    /// Where dead records go [default: TOPIC.GROUP.dlq]
    #[arg(long, value_name = "TOPIC")]
    dead_letter_topic: Option<TopicName>,
    /// Which records the group gets, by their key and headers: name == "text", has name, .. joined with and, or, not; '' means all
    /// [default: '']
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
}

impl Ordered {
    pub(super) const fn ordering(&self) -> v1::Ordering {
        match self.ordering {
            OrderingFlag::None => v1::Ordering::None,
            OrderingFlag::Key => v1::Ordering::Key,
            OrderingFlag::Partition => v1::Ordering::Partition,
        }
    }
}

impl Settings {
    /// The settings that were named, for a new group.
    pub(super) fn of_new(&self) -> v1::GroupSettings {
        self.on(&v1::GroupSettings::default())
    }

    /// The settings that were named. Backoff is replaced as a whole: the half of it that was not named is as it is now.
    pub(super) fn on(&self, now: &v1::GroupSettings) -> v1::GroupSettings {
        let backoff = (self.backoff_initial.is_some() || self.backoff_max.is_some()).then(|| {
            let now = now.backoff.unwrap_or_default();
            v1::Backoff {
                initial: self.backoff_initial.map(Into::into).or(now.initial),
                max: self.backoff_max.map(Into::into).or(now.max),
                ..now
            }
        });
        v1::GroupSettings {
            lease: self.lease.map(Into::into),
            max_attempts: self.max_attempts,
            backoff,
            max_in_flight: self.max_in_flight,
            dead_letter_topic: self.dead_letter_topic.as_ref().map(ToString::to_string),
            filter: self.filter.clone(),
            ..v1::GroupSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_of_the_backoff_was_not_named_stays() {
        let settings = Settings {
            lease: None,
            max_attempts: Some(3),
            backoff_initial: Some(Duration::from_millis(10)),
            backoff_max: None,
            max_in_flight: None,
            dead_letter_topic: None,
            filter: None,
        };
        let max = Some(Duration::from_secs(9).into());
        let backoff = v1::Backoff { max, multiplier: Some(3.0), ..v1::Backoff::default() };
        let now = v1::GroupSettings { backoff: Some(backoff), ..v1::GroupSettings::default() };
        let edit = settings.on(&now);
        let expected = v1::Backoff { initial: Some(Duration::from_millis(10).into()), ..backoff };
        assert_eq!((edit.backoff, edit.max_attempts), (Some(expected), Some(3)));
        assert_eq!(edit.lease, None, "what was not named is not sent");
    }
}
