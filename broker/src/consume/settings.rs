//! A group's settings, as a program gives them.

use std::time::Duration;

use embermq_protocol::names::{GroupName, TopicName};

use super::filter::Filter;
use crate::error::CommitError;
use crate::group;
pub use crate::group::Ordering;
use crate::state::may_be_store;

/// The settings of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSettings {
    /// In which order records are handed out; never changes.
    pub ordering: Ordering,
    /// How long a lease lasts unless its taker wishes otherwise: 1 s to 12 h.
    pub lease: Duration,
    /// A record that failed this often goes to the dead-letter topic.
    pub attempts_max: u32,
    /// How long a record waits that failed; has nothing to do with the lease.
    pub backoff: Backoff,
    /// The most live leases; records that wait do not count.
    pub in_flight_max: u32,
    /// Where dead records go. None: `<topic>.<group>.dlq`. Made when it is first needed.
    pub dead_letter_topic: Option<TopicName>,
    /// Which records the group gets, by their headers: see [`filter`](crate::filter). None: all.
    pub filter: Option<String>,
}

/// How long a record waits that failed: `initial * multiplier^(attempt - 1)`, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// After the first attempt: 1 ms or more.
    pub initial: Duration,
    /// The most.
    pub max: Duration,
    /// From one attempt to the next: 1 to 100, in steps of 0.001.
    pub multiplier: f64,
    /// Wait a random part of it, so that what failed together does not come back together.
    pub jitter: bool,
}

impl Default for Backoff {
    /// 1 s doubling to 60 s, with jitter.
    fn default() -> Self {
        let (initial, max) = (Duration::from_secs(1), Duration::from_secs(60));
        Self { initial, max, multiplier: 2.0, jitter: true }
    }
}

impl Default for GroupSettings {
    /// A work queue: leases of 30 s, 5 attempts, 1,000 in flight.
    fn default() -> Self {
        Self {
            ordering: Ordering::None,
            lease: Duration::from_secs(30),
            attempts_max: 5,
            backoff: Backoff::default(),
            in_flight_max: 1_000,
            dead_letter_topic: None,
            filter: None,
        }
    }
}

/// A change of settings: what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupEdit {
    /// How long a lease lasts from now on.
    pub lease: Option<Duration>,
    /// Attempts before a record is dead.
    pub attempts_max: Option<u32>,
    /// How long a record waits that failed.
    pub backoff: Option<Backoff>,
    /// The most live leases.
    pub in_flight_max: Option<u32>,
    /// `Some(None)`: the default name.
    pub dead_letter_topic: Option<Option<TopicName>>,
    /// `Some(None)`: all records.
    pub filter: Option<Option<String>>,
}

impl GroupEdit {
    pub(crate) fn on(self, settings: GroupSettings) -> GroupSettings {
        GroupSettings {
            ordering: settings.ordering,
            lease: self.lease.unwrap_or(settings.lease),
            attempts_max: self.attempts_max.unwrap_or(settings.attempts_max),
            backoff: self.backoff.unwrap_or(settings.backoff),
            in_flight_max: self.in_flight_max.unwrap_or(settings.in_flight_max),
            dead_letter_topic: self.dead_letter_topic.unwrap_or(settings.dead_letter_topic),
            filter: self.filter.unwrap_or(settings.filter),
        }
    }
}

impl GroupSettings {
    /// The topic for the dead letters of `group` on `topic`.
    ///
    /// # Errors
    /// [`CommitError::Invalid`] when the default name would be too long.
    pub fn dead_letter_topic(
        &self,
        topic: &TopicName,
        group: &GroupName,
    ) -> Result<TopicName, CommitError> {
        if let Some(name) = &self.dead_letter_topic {
            if name == topic {
                return Err(CommitError::Invalid {
                    detail: format!(
                        "the dead letters of group {group} cannot go to {topic}, which it reads: they would come back"
                    ),
                });
            }
            return Ok(name.clone());
        }
        let name = format!("{topic}.{group}.dlq");
        TopicName::new(&name).map_err(|error| CommitError::Invalid {
            detail: format!("the dead-letter topic would be {name:?}: {error}; name another one"),
        })
    }

    /// Refuses a dead-letter topic that would lose letters. Groups that had one before this was checked still bury there.
    fn check_dead_letter_topic(&self) -> Result<(), CommitError> {
        match &self.dead_letter_topic {
            Some(name) if may_be_store(name) => Err(CommitError::Invalid {
                detail: format!(
                    "dead letters cannot go to {name}: topics whose name ends so keep what is scheduled, and are trimmed behind \
                     what is delivered; name another one"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// As the core has them, checked.
    pub(crate) fn to_core(&self) -> Result<group::GroupSettings, CommitError> {
        self.check_dead_letter_topic()?;
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let multiplier = (self.backoff.multiplier * 1_000.0).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a float saturates, and what is out of bounds is refused below"
        )]
        let multiplier_permille = multiplier as u32;
        let core = group::GroupSettings {
            ordering: self.ordering,
            lease_us: micros(self.lease),
            attempts_max: self.attempts_max,
            backoff: group::Backoff {
                initial_us: micros(self.backoff.initial),
                max_us: micros(self.backoff.max),
                multiplier_permille,
                jitter: self.backoff.jitter,
            },
            in_flight_max: self.in_flight_max,
            dead_letter_topic: self
                .dead_letter_topic
                .as_ref()
                .map_or_else(String::new, |name| name.as_str().to_owned()),
            filter: self.filter.clone().unwrap_or_default(),
        };
        core.check().map_err(|error| CommitError::Invalid { detail: error.to_string() })?;
        if let Some(filter) = &self.filter {
            Filter::parse(filter)
                .map_err(|error| CommitError::Invalid { detail: error.to_string() })?;
        }
        Ok(core)
    }

    pub(crate) fn of_core(core: &group::GroupSettings) -> Self {
        Self {
            ordering: core.ordering,
            lease: Duration::from_micros(core.lease_us),
            attempts_max: core.attempts_max,
            backoff: Backoff {
                initial: Duration::from_micros(core.backoff.initial_us),
                max: Duration::from_micros(core.backoff.max_us),
                multiplier: f64::from(core.backoff.multiplier_permille) / 1_000.0,
                jitter: core.backoff.jitter,
            },
            in_flight_max: core.in_flight_max,
            dead_letter_topic: TopicName::new(&core.dead_letter_topic).ok(),
            filter: (!core.filter.is_empty()).then(|| core.filter.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_are_not_sent_where_schedules_are_kept() {
        let with = |name: &str| GroupSettings {
            dead_letter_topic: Some(name.parse().unwrap()),
            ..GroupSettings::default()
        };
        let refused = with("jobs.scheduled").to_core().unwrap_err();
        assert!(
            refused.to_string().starts_with("dead letters cannot go to jobs.scheduled: "),
            "{refused}"
        );
        assert!(with("jobs.scheduled.dead").to_core().is_ok());
    }
}
