//! What a group is told when it is created: order, leases, attempts, backoff and limits.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::backoff::Backoff;

/// The shortest lease.
pub(crate) const LEASE_US_MIN: u64 = 1_000_000;
/// The longest lease, also after an extension.
pub(crate) const LEASE_US_MAX: u64 = 12 * 3_600 * 1_000_000;
/// The longest that a record may wait for its next attempt.
pub(crate) const DELAY_US_MAX: u64 = 30 * 24 * 3_600 * 1_000_000;
/// The most attempts; more would be a loop by another name.
pub(crate) const ATTEMPTS_MAX: u32 = 1_000_000;
/// The most leases at a time: each is kept in memory.
pub(crate) const IN_FLIGHT_MAX: u32 = 1_000_000;
/// The longest filter, in bytes.
pub(crate) const FILTER_BYTES_MAX: usize = 4_096;

/// In which order records are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    /// None: a work queue.
    #[default]
    None,
    /// One record per key at a time, those of a key in the order of their offsets; keys go in parallel.
    Key,
    /// One batch per partition at a time, in the order of offsets; a partition stays with its member.
    Partition,
}

impl Ordering {
    /// In a word, as people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Key => "key",
            Self::Partition => "partition",
        }
    }
}

impl fmt::Display for Ordering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The settings of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupSettings {
    /// The order; never changes.
    pub(crate) ordering: Ordering,
    /// How long a lease lasts unless its taker wishes otherwise.
    pub(crate) lease_us: u64,
    /// A record that failed this often is dead.
    pub(crate) attempts_max: u32,
    /// How long a failed record waits; has nothing to do with the lease.
    pub(crate) backoff: Backoff,
    /// The most live leases; records that wait do not count.
    pub(crate) in_flight_max: u32,
    /// Where dead records go; only the shell reads it.
    pub(crate) dead_letter_topic: String,
    /// Which records are offered; only the shell reads it. Empty: all.
    pub(crate) filter: String,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            ordering: Ordering::None,
            lease_us: 30_000_000,
            attempts_max: 5,
            backoff: Backoff::default(),
            in_flight_max: 1_000,
            dead_letter_topic: String::new(),
            filter: String::new(),
        }
    }
}

/// What a number counts, so that it is shown as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Pieces,
    Micros,
    Permille,
}

impl Unit {
    fn show(self, number: u64) -> String {
        match self {
            Self::Pieces => number.to_string(),
            Self::Micros => format!("{:?}", Duration::from_micros(number)),
            Self::Permille => format!("{}.{:03}", number / 1_000, number % 1_000)
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned(),
        }
    }
}

/// Why settings are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingInvalid {
    /// A number is too small or too large.
    #[error("{setting} is {}: it can be {} to {}", unit.show(*given), unit.show(*least), unit.show(*most))]
    OutOfBounds { setting: &'static str, unit: Unit, given: u64, least: u64, most: u64 },
    /// A filter is too long.
    #[error("the filter has {bytes} bytes: it can have {FILTER_BYTES_MAX}")]
    FilterTooLong { bytes: usize },
    /// The order of a group that is there already.
    #[error(
        "the ordering of a group cannot change from {is} to {given}: create another group and seek it to where \
         this one stands"
    )]
    OrderingFixed { is: Ordering, given: Ordering },
}

impl GroupSettings {
    /// Checks all limits.
    ///
    /// # Errors
    /// The first setting that is out of its bounds, with the bounds.
    pub(crate) fn check(&self) -> Result<(), SettingInvalid> {
        let attempts_max = u64::from(self.attempts_max);
        let in_flight_max = u64::from(self.in_flight_max);
        let pieces = Unit::Pieces;
        within("lease", Unit::Micros, self.lease_us, LEASE_US_MIN..=LEASE_US_MAX)?;
        within("max_attempts", pieces, attempts_max, 1..=u64::from(ATTEMPTS_MAX))?;
        within("max_in_flight", pieces, in_flight_max, 1..=u64::from(IN_FLIGHT_MAX))?;
        self.backoff.check()?;
        if self.filter.len() > FILTER_BYTES_MAX {
            return Err(SettingInvalid::FilterTooLong { bytes: self.filter.len() });
        }
        Ok(())
    }

    /// Checks that a group with these settings may get `new` ones.
    ///
    /// # Errors
    /// When `new` is out of bounds, or has another order.
    pub(crate) fn check_edit(&self, new: &Self) -> Result<(), SettingInvalid> {
        if new.ordering != self.ordering {
            return Err(SettingInvalid::OrderingFixed { is: self.ordering, given: new.ordering });
        }
        new.check()
    }
}

impl GroupSettings {
    /// In what these settings are not the ones that were asked for, as people write both.
    pub(crate) fn difference(&self, asked: &Self) -> String {
        let (is, asked) = (self.shown(), asked.shown());
        let others = is.iter().zip(&asked).filter(|(is, asked)| is != asked);
        let others = others.map(|((name, is), (_, asked))| format!("{name} is {is}, not {asked}"));
        others.collect::<Vec<_>>().join("; ")
    }

    fn shown(&self) -> [(&'static str, String); 10] {
        let micros = |number| Unit::Micros.show(number);
        let or = |text: &str, none: &str| match text {
            "" => none.to_owned(),
            text => format!("{text:?}"),
        };
        [
            ("ordering", self.ordering.to_string()),
            ("lease", micros(self.lease_us)),
            ("max_attempts", self.attempts_max.to_string()),
            ("backoff.initial", micros(self.backoff.initial_us)),
            ("backoff.max", micros(self.backoff.max_us)),
            ("backoff.multiplier", Unit::Permille.show(self.backoff.multiplier_permille.into())),
            ("backoff.jitter", self.backoff.jitter.to_string()),
            ("max_in_flight", self.in_flight_max.to_string()),
            ("dead_letter_topic", or(&self.dead_letter_topic, "the default")),
            ("filter", or(&self.filter, "null")),
        ]
    }
}

pub(super) fn within(
    setting: &'static str,
    unit: Unit,
    given: u64,
    bounds: RangeInclusive<u64>,
) -> Result<(), SettingInvalid> {
    if bounds.contains(&given) {
        return Ok(());
    }
    let (least, most) = bounds.into_inner();
    Err(SettingInvalid::OutOfBounds { setting, unit, given, least, most })
}
