//! What a stage is to do.

use std::time::Duration;

use embermq_protocol::limits::LEASE_RECORDS_MAX;
use embermq_protocol::names::{GroupName, TopicName};

use crate::consume::filter::Filter;
use crate::consume::{Backoff, GroupSettings, Ordering};

/// The settings of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageSettings {
    /// Its name, which is that of its group on the input topic.
    pub name: GroupName,
    /// What it reads.
    pub input: TopicName,
    /// Where its outputs go. A record's output has its key, and goes into the partition of the same number where the output has that
    /// many, else into its key's.
    pub output: TopicName,
    /// In which order: by partition unless set otherwise.
    pub ordering: Ordering,
    /// Records that are processed together, at most.
    pub batch_size_max: u32,
    /// Bytes that are processed together, at most; one record alone may have more.
    pub batch_bytes_max: u64,
    /// How long a record waits for others to fill its batch, at most; nobody waits while records for a full one are there. 0: nothing is
    /// held back.
    pub queue_delay_max: Duration,
    /// Threads that process at the same time.
    pub instances: u32,
    /// How long one call may take.
    pub timeout: Duration,
    /// A record that failed this often goes to the dead-letter topic.
    pub attempts_max: u32,
    /// How long a record waits that failed.
    pub backoff: Backoff,
    /// Where they go. None: `<input>.<name>.dlq`.
    pub dead_letter_topic: Option<TopicName>,
    /// Only records that pass: see [`filter`](crate::filter).
    pub filter: Option<String>,
    /// Outputs may go to the input topic itself.
    pub loops: bool,
    /// What becomes of a record whose output has numbers that are none.
    pub on_nonfinite: OnNonfinite,
    /// Where an output has the answer.
    pub answer: AnswerIn,
}

/// Where an output has the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerIn {
    /// The answer is the payload.
    #[default]
    Payload,
    /// The payload is the input's, and so are its headers; the answer is in more headers.
    Headers,
}

/// What becomes of a record whose output has NaN or an infinity in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNonfinite {
    /// It goes to the dead-letter topic.
    #[default]
    DeadLetter,
    /// The output is taken as it is.
    Pass,
}

/// Why settings are no stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StageInvalid {
    /// A number that must not be 0, or is too large.
    #[error("{name} is {found}; it can be 1 to {max}")]
    Number {
        /// Which.
        name: &'static str,
        /// What it is.
        found: u64,
        /// The largest.
        max: u64,
    },
    /// The stage would read what it writes.
    #[error(
        "stage {stage} would read what it writes: its output {output} is its input; write elsewhere, or say that it may loop (loops: true)"
    )]
    Loop {
        /// The stage.
        stage: GroupName,
        /// The topic.
        output: TopicName,
    },
    /// A wait that is out of bounds.
    #[error("queue_delay_max is {found:?}; it can be 0 to 1 min")]
    QueueDelay {
        /// What it is.
        found: Duration,
    },
    /// A time that is out of bounds.
    #[error("the timeout is {found:?}; it can be 1 ms to 1 h")]
    Timeout {
        /// What it is.
        found: Duration,
    },
    /// A wait after failures that is out of bounds.
    #[error("backoff.{name} is {found:?}; it can be {least:?} to {most:?}")]
    Backoff {
        /// Which.
        name: &'static str,
        /// What it is.
        found: Duration,
        /// The least.
        least: Duration,
        /// The most.
        most: Duration,
    },
    /// A wait after failures that would shrink, or grow too fast.
    #[error("backoff.multiplier is {found}; it can be 1 to 100")]
    Multiplier {
        /// What it is, as text.
        found: String,
    },
    /// A filter that is none.
    #[error("filter {filter:?}: {what}")]
    Filter {
        /// How it begins.
        filter: String,
        /// What is wrong with it.
        what: String,
    },
    /// Dead letters cannot go there.
    #[error("dead_letter_topic: {what}")]
    DeadLetters {
        /// What is wrong with it.
        what: String,
    },
    /// Its group cannot be like that.
    #[error("{what}")]
    Group {
        /// What is wrong.
        what: String,
    },
}

/// The largest batch.
const BATCH_SIZE_MAX: u64 = 1_024;
/// More threads than any machine has cores to spare.
pub(super) const INSTANCES_MAX: u32 = 256;
/// One call.
const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// A wait for a full batch.
const QUEUE_DELAY_MAX: Duration = Duration::from_secs(60);

/// The shortest wait after a failure, and the longest.
const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_micros(crate::group::DELAY_US_MAX));

/// Calls whose records are sorted by length among each other, for each instance.
const SORTED_CALLS: u32 = 4;

/// Leases outlast a call, whatever else happens; they are extended while there is work.
const LEASE_MIN: Duration = Duration::from_secs(30);

impl StageSettings {
    /// A stage with the defaults: order by partition, batches of 8, one instance for each core but one, 5 attempts.
    #[must_use]
    pub fn new(name: GroupName, input: TopicName, output: TopicName) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let instances = u32::try_from(cores.saturating_sub(1)).unwrap_or(1).max(1);
        Self {
            name,
            input,
            output,
            ordering: Ordering::Partition,
            batch_size_max: 8,
            batch_bytes_max: 64 << 20,
            queue_delay_max: Duration::ZERO,
            instances,
            timeout: Duration::from_secs(30),
            attempts_max: 5,
            backoff: Backoff::default(),
            dead_letter_topic: None,
            filter: None,
            loops: false,
            on_nonfinite: OnNonfinite::default(),
            answer: AnswerIn::default(),
        }
    }

    /// Whether they can be run.
    ///
    /// # Errors
    /// [`StageInvalid`].
    pub fn check(&self) -> Result<(), StageInvalid> {
        let within = |name: &'static str, found: u64, max: u64| {
            if (1..=max).contains(&found) {
                Ok(())
            } else {
                Err(StageInvalid::Number { name, found, max })
            }
        };
        within("batch_size_max", u64::from(self.batch_size_max), BATCH_SIZE_MAX)?;
        within("batch_bytes_max", self.batch_bytes_max, 1 << 40)?;
        within("instances", u64::from(self.instances), u64::from(INSTANCES_MAX))?;
        within("attempts_max", u64::from(self.attempts_max), 1_000)?;
        if !(Duration::from_millis(1)..=TIMEOUT_MAX).contains(&self.timeout) {
            return Err(StageInvalid::Timeout { found: self.timeout });
        }
        if self.queue_delay_max > QUEUE_DELAY_MAX {
            return Err(StageInvalid::QueueDelay { found: self.queue_delay_max });
        }
        if self.input == self.output && !self.loops {
            let (stage, output) = (self.name.clone(), self.output.clone());
            return Err(StageInvalid::Loop { stage, output });
        }
        self.check_group()
    }

    /// Whether its group can have them: a stage that is put must not be stopped for settings that its group then refuses.
    fn check_group(&self) -> Result<(), StageInvalid> {
        let Backoff { initial, max, multiplier, .. } = self.backoff;
        let within = |name, found, least, most| {
            let invalid = StageInvalid::Backoff { name, found, least, most };
            if (least..=most).contains(&found) { Ok(()) } else { Err(invalid) }
        };
        let (shortest, longest) = BACKOFF;
        within("initial", initial, shortest, longest)?;
        within("max", max, initial, longest)?;
        if !(1.0..=100.0).contains(&multiplier) {
            return Err(StageInvalid::Multiplier { found: multiplier.to_string() });
        }
        if let Some(filter) = &self.filter {
            Filter::parse(filter).map_err(|error| StageInvalid::Filter {
                filter: filter.chars().take(120).collect(),
                what: error.to_string(),
            })?;
        }
        let letters = |what| StageInvalid::DeadLetters { what };
        let group = self.group();
        let dead = group
            .dead_letter_topic(&self.input, &self.name)
            .map_err(|error| letters(error.to_string()))?;
        if dead == self.output {
            return Err(letters(format!(
                "{dead} is the output too: whoever reads it would take dead letters for answers; name another topic"
            )));
        }
        // What is left, like the length of a filter.
        group.to_core().map(drop).map_err(|error| StageInvalid::Group { what: error.to_string() })
    }

    /// How long a lease lasts before it is extended.
    pub(super) fn lease(&self) -> Duration {
        self.timeout.saturating_mul(2).max(LEASE_MIN)
    }

    /// The name under which a lane leases.
    pub(super) fn member(&self, lane: u32) -> String {
        format!("{}#{lane}", self.name)
    }

    /// The settings of its group.
    pub(super) fn group(&self) -> GroupSettings {
        GroupSettings {
            ordering: self.ordering,
            lease: self.lease(),
            attempts_max: self.attempts_max,
            backoff: self.backoff,
            dead_letter_topic: self.dead_letter_topic.clone(),
            filter: self.filter.clone(),
            ..GroupSettings::default()
        }
    }

    /// Lanes: one more than instances, so that a batch is leased while others are processed.
    pub(super) const fn lanes(&self) -> u32 {
        self.instances + 1
    }

    /// What a lane may lease: all that may be in flight where a partition's records are one lane's anyway, else as much as each other lane.
    pub(super) fn lane_records_max(&self) -> u32 {
        let lanes = if self.ordering == Ordering::Partition { 1 } else { self.lanes() };
        self.group().in_flight_max / lanes
    }

    /// Records that are leased together, at least. In order, one lease has to keep all instances busy; else each lane is its own. For `sorted`
    /// calls there have to be more records than one takes.
    pub(super) fn lease_records(&self, sorted: bool) -> u32 {
        let calls = match self.ordering {
            Ordering::Partition => self.instances,
            _ => 1,
        };
        let more = if sorted { SORTED_CALLS } else { 1 };
        self.batch_size_max.saturating_mul(calls).saturating_mul(more).min(LEASE_RECORDS_MAX)
    }
}
