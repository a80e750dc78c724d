//! What a scheduled append is known by: its moment and a number, so that the order of ids is the order of delivery.
//!
//! As text: both in base 36 with a hyphen between them, `ho9vm6h1j4-10`. Callers take it as it is.

use std::fmt;
use std::str::FromStr;

use embermq_storage::Timestamp;

/// The digits of the text form.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The digits of the largest number.
const DIGITS_MAX: usize = 13;

/// Names a scheduled append of a topic. It stays the same until the append is delivered or cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleId {
    /// When it is to be delivered.
    pub due: Timestamp,
    /// Which of those that its topic ever had.
    pub seq: u64,
}

/// A text is no id of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no id of a schedule; take one from the answer to a produce, or from the list of schedules"
)]
pub struct ScheduleIdInvalid(pub String);

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(2 * DIGITS_MAX + 1);
        put(&mut text, self.due.0.cast_unsigned());
        text.push('-');
        put(&mut text, self.seq);
        f.write_str(&text)
    }
}

impl FromStr for ScheduleId {
    type Err = ScheduleIdInvalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('-').and_then(|(due, seq)| {
            Some(Self { due: Timestamp(take(due)?.cast_signed()), seq: take(seq)? })
        });
        // One id has one text.
        let exact = parsed.filter(|id| id.to_string() == text);
        exact.ok_or_else(|| ScheduleIdInvalid(text.chars().take(64).collect()))
    }
}

fn put(text: &mut String, mut number: u64) {
    let mut digits = [0; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    loop {
        at -= 1;
        digits[at] = DIGITS[(number % 36) as usize];
        number /= 36;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

fn take(text: &str) -> Option<u64> {
    let fits = (1..=DIGITS_MAX).contains(&text.len());
    fits.then(|| u64::from_str_radix(text, 36).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_survives_being_written_down(due: i64, seq: u64) {
            let id = ScheduleId { due: Timestamp(due), seq };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "-", "1-", "-1", "1", "1-2-3", "01-2", "A-1", "+1-2", "1 -2", "é-1"] {
            assert!(text.parse::<ScheduleId>().is_err(), "{text}");
        }
        assert!("zzzzzzzzzzzzz-1".parse::<ScheduleId>().is_err(), "a number too large");
        let id = ScheduleId { due: Timestamp(1_795_000_000_000_000), seq: 36 };
        assert_eq!(id.to_string(), "ho9vm6h1j4-10");
    }
}
