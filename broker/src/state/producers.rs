//! Who produced what: the last commits of each producer of a topic, so that a repeat gets its original answer.
//!
//! A producer is remembered until it was silent for the producer window. The queue holds each producer exactly once,
//! with a time at or before the moment when it expires; what is found there too early goes back to the end.

use std::collections::VecDeque;
use std::sync::Arc;

use embermq_storage::{Position, Timestamp};
use imbl::{OrdMap, Vector};

use super::StoredAppend;
use crate::commit::ProducerStamp;

/// How many of a producer's last commits can be repeated.
pub(crate) const REPEATABLE_COMMITS: usize = 16;

/// The producers of one topic. Cloning is cheap: a snapshot shares all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    by_id: OrdMap<u64, Arc<Producer>>,
    expiry: Vector<(Timestamp, u64)>,
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
    pub(crate) fn note(&mut self, id: u64, epoch: u32, count: u64, expires: Timestamp, sent: Sent) {
        let next = sent.sequence.saturating_add(count);
        if let Some(known) = self.by_id.get_mut(&id) {
            let known = Arc::make_mut(known);
            if known.epoch != epoch || sent.sequence == 0 {
                known.recent.clear();
            }
            if known.recent.len() == REPEATABLE_COMMITS {
                known.recent.pop_front();
            }
            known.recent.push_back(sent);
            (known.epoch, known.next, known.expires) = (epoch, next, expires);
        } else {
            let recent = VecDeque::from([sent]);
            self.restore(id, Producer { epoch, next, expires, recent });
        }
    }

    /// Puts a producer back as a snapshot kept it.
    pub(crate) fn restore(&mut self, id: u64, producer: Producer) {
        self.expiry.push_back((producer.expires, id));
        self.by_id.insert(id, Arc::new(producer));
    }

    /// Forgets up to `most` producers that were silent too long.
    pub(crate) fn expire(&mut self, now: Timestamp, most: usize) {
        for _ in 0..most {
            match self.expiry.front() {
                Some(&(due, id)) if due <= now => {
                    self.expiry.pop_front();
                    match self.by_id.get(&id).map(|producer| producer.expires) {
                        Some(expires) if expires > now => self.expiry.push_back((expires, id)),
                        Some(_) => {
                            self.by_id.remove(&id);
                        }
                        None => {}
                    }
                }
                _ => break,
            }
        }
    }

    /// All of them, for a snapshot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, &**producer))
    }
}
