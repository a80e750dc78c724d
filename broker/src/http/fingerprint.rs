//! A number that two payloads share when their keys and values are the same: what tells a repeat from the reuse of an
//! idempotency key. Headers do not count, because a client that tries again may send another trace.
//!
//! FNV-1a over eight bytes at a time with a final mix: fast, and the same in every version, because it is kept on disk.

use crate::{ScheduleRef, Settlement, Verdict};

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// A fingerprint under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) const fn new() -> Self {
        Self(OFFSET)
    }

    /// What follows goes to this topic.
    pub(super) fn add_topic(&mut self, name: &str) {
        self.add(0, name.as_bytes());
    }

    /// A record of that topic.
    pub(super) fn add_record(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        for part in [key, value] {
            match part {
                Some(bytes) => self.add(1, bytes),
                None => self.add(2, &[]),
            }
        }
    }

    /// A lease that is settled, and how: what is said of it does not count, as headers do not.
    pub(super) fn add_settlement(&mut self, settlement: &Settlement) {
        let verdict = match settlement.verdict {
            Verdict::Ack => 3,
            Verdict::Nack { .. } => 4,
            Verdict::Reject { .. } => 5,
            Verdict::Extend { .. } => 6,
            Verdict::Release => 7,
        };
        self.add(verdict, settlement.token.as_bytes());
    }

    /// Something scheduled that is cancelled.
    pub(super) fn add_cancel(&mut self, cancel: &ScheduleRef) {
        self.add(16, cancel.topic.as_str().as_bytes());
        self.add(16, cancel.id.to_string().as_bytes());
    }

    /// The number.
    pub(super) const fn finish(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }

    fn add(&mut self, kind: u64, bytes: &[u8]) {
        self.word(kind);
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
    }

    fn word(&mut self, word: u64) {
        // The rotation carries high bits down, which multiplication alone never does.
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(PRIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[(Option<&str>, Option<&str>)]) -> u64 {
        let mut print = Fingerprint::new();
        print.add_topic("t");
        for (key, value) in records {
            print.add_record(key.map(str::as_bytes), value.map(str::as_bytes));
        }
        print.finish()
    }

    #[test]
    fn equal_payloads_agree_and_others_do_not() {
        let some = of(&[(Some("k"), Some("value of some length"))]);
        assert_eq!(some, of(&[(Some("k"), Some("value of some length"))]));
        let others = [
            of(&[(None, Some("value of some length"))]),
            of(&[(Some("kv"), Some("alue of some length"))]),
            of(&[(Some("k"), Some("value of some lengti"))]),
            of(&[(Some("k"), None)]),
            of(&[(Some("k"), Some(""))]),
            of(&[(Some(""), Some("k"))]),
            of(&[]),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(some, *other, "{at}");
            assert!(!others[..at].contains(other), "{at}");
        }
    }

    #[test]
    fn the_number_never_changes() {
        assert_eq!(Fingerprint::new().finish(), Fingerprint::new().finish());
    }
}
