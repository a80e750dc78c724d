//! Who produced what: the last commits of each producer of a topic, so that a repeat gets its original answer.
//!
//! A producer is remembered until it was silent for the producer window.

use std::collections::VecDeque;
use std::sync::Arc;

use embermq_storage::{Position, Timestamp};
use imbl::{OrdMap, OrdSet};

use super::StoredAppend;
use super::remembered::Share;
use crate::commit::ProducerStamp;
use crate::frame::FrameProducer;

/// How many of a producer's last commits can be repeated.
pub(crate) const REPEATABLE_COMMITS: usize = 16;

/// About what a producer takes in memory beside its commits, and a commit beside the places of its appends.
const PRODUCER_BYTES: u64 = 160;
const COMMIT_BYTES: u64 = 72;
/// A producer counts for so much from its first commit on, so that its next ones find room.
const PRODUCER_BYTES_MIN: u64 = 1 << 10;

/// What a producer counts for that can repeat commits of so many appends each.
pub(super) fn bytes_of(commits: impl IntoIterator<Item = usize>) -> u64 {
    let places = |appends: usize| (appends * size_of::<StoredAppend>()) as u64;
    let commits = commits.into_iter().map(|appends| COMMIT_BYTES + places(appends));
    (PRODUCER_BYTES + commits.sum::<u64>()).max(PRODUCER_BYTES_MIN)
}

/// The producers of one topic. Cloning is cheap: a snapshot shares all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    by_id: OrdMap<u64, Arc<Producer>>,
    /// Each once, in the order of their expiry.
    expiry: OrdSet<(Timestamp, u64)>,
    bytes: u64,
}

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Producer {
    pub(crate) epoch: u32,
    /// The sequence that its next commit must have.
    pub(crate) next: u64,
    pub(crate) expires: Timestamp,
    /// Its last commits, oldest first.
    pub(crate) recent: VecDeque<Sent>,
}

impl Producer {
    fn bytes(&self) -> u64 {
        bytes_of(self.recent.iter().map(|sent| sent.appends.len()))
    }
}

/// One commit of a producer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) sequence: u64,
    pub(crate) position: Position,
    pub(crate) time: Timestamp,
    pub(crate) appends: Arc<[StoredAppend]>,
}

impl Sent {
    fn records(&self) -> u64 {
        self.appends.iter().map(|append| u64::from(append.count)).sum()
    }
}

/// What a producer's commit is.
#[derive(Debug)]
pub(crate) enum Arrival<'a> {
    /// The next one.
    Next,
    /// One that was committed before.
    Repeat(&'a Sent),
    /// Of an epoch that a newer one has fenced.
    Fenced { current: u32 },
    /// Not the next one, and not one that is still remembered.
    Gap { expected: u64 },
}

impl Producers {
    /// What a commit of `count` records with this stamp is, at `now`.
    pub(crate) fn arrival(&self, stamp: ProducerStamp, count: u64, now: Timestamp) -> Arrival<'_> {
        let ProducerStamp { id, epoch, sequence } = stamp;
        let known = self.by_id.get(&id).filter(|producer| producer.expires > now);
        match known {
            Some(known) if epoch < known.epoch => Arrival::Fenced { current: known.epoch },
            Some(known) if epoch == known.epoch && sequence == known.next => Arrival::Next,
            Some(known) if epoch == known.epoch => known
                .recent
                .iter()
                .find(|sent| sent.sequence == sequence && sent.records() == count)
                .map_or(Arrival::Gap { expected: known.next }, Arrival::Repeat),
            _ if sequence == 0 => Arrival::Next,
            _ => Arrival::Gap { expected: 0 },
        }
    }

    /// Notes a commit that was the next one.
    pub(crate) fn note(&mut self, stamp: &FrameProducer, count: u64, sent: Sent) {
        let (next, epoch) = (sent.sequence.saturating_add(count), stamp.epoch);
        let expires = Timestamp(stamp.expires_us);
        if let Some(known) = self.by_id.get_mut(&stamp.id) {
            let known = Arc::make_mut(known);
            self.bytes -= known.bytes();
            if known.expires != expires {
                self.expiry.remove(&(known.expires, stamp.id));
                self.expiry.insert((expires, stamp.id));
            }
            if known.epoch != epoch || sent.sequence == 0 {
                known.recent.clear();
            }
            if known.recent.len() == REPEATABLE_COMMITS {
                known.recent.pop_front();
            }
            known.recent.drain(..known.recent.len().min(stamp.forget as usize));
            known.recent.push_back(sent);
            (known.epoch, known.next, known.expires) = (epoch, next, expires);
            self.bytes += known.bytes();
        } else {
            let recent = VecDeque::from([sent]);
            self.restore(stamp.id, Producer { epoch, next, expires, recent });
        }
    }

    /// How many of its earlier commits a producer has to forget so that with this one, which has so many appends, it counts
    /// for up to `room` bytes more than now. None: it counts for more even if it forgets all.
    pub(super) fn to_forget(
        &self,
        (stamp, appends): (ProducerStamp, usize),
        now: Timestamp,
        room: u64,
    ) -> Option<u32> {
        let known = self.by_id.get(&stamp.id).filter(|producer| producer.expires > now);
        let most = room.saturating_add(known.map_or(0, |known| known.bytes()));
        let goes_on = |known: &&Arc<Producer>| known.epoch == stamp.epoch && stamp.sequence != 0;
        let recent = known.filter(goes_on).map(|known| known.recent.iter().rev());
        let recent = recent.into_iter().flatten().take(REPEATABLE_COMMITS - 1);
        let earlier = recent.clone().count();
        let fits = |kept: &usize| {
            let kept = recent.clone().take(*kept).map(|sent| sent.appends.len());
            bytes_of(kept.chain([appends])) <= most
        };
        let kept = (0..=earlier).rev().find(fits)?;
        u32::try_from(earlier - kept).ok()
    }

    /// Puts a producer back as a snapshot kept it.
    pub(crate) fn restore(&mut self, id: u64, producer: Producer) {
        let expires = producer.expires;
        self.expiry.insert((expires, id));
        self.bytes += producer.bytes();
        if let Some(earlier) = self.by_id.insert(id, Arc::new(producer)) {
            self.bytes -= earlier.bytes();
            if earlier.expires != expires {
                self.expiry.remove(&(earlier.expires, id));
            }
        }
    }

    /// What those count for that were silent too long, looked at until it is `wanted`.
    pub(super) fn expired_bytes(&self, now: Timestamp, wanted: u64) -> u64 {
        let mut bytes = 0;
        for (_, id) in self.expiry.iter().take_while(|(due, _)| *due <= now) {
            if bytes >= wanted {
                break;
            }
            bytes += self.by_id.get(id).map_or(0, |producer| producer.bytes());
        }
        bytes
    }

    /// Forgets the first; gives what it counted for.
    pub(super) fn forget_first(&mut self) -> u64 {
        let Some((_, id)) = self.expiry.remove_min() else { return 0 };
        let bytes = self.by_id.remove(&id).map_or(0, |producer| producer.bytes());
        self.bytes -= bytes;
        bytes
    }

    /// What they count for, and when the first is to be forgotten.
    pub(super) fn share(&self) -> Share {
        Share { bytes: self.bytes, due: self.expiry.get_min().map(|(due, _)| *due) }
    }

    /// All of them, for a snapshot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, &**producer))
    }
}
