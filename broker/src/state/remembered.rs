//! How much the topics remember of their producers and of their idempotency keys, all together.
//!
//! Both are bounded in bytes, and at the bound it is the new ones that are refused. To forget others before their time would
//! make a repeat of theirs a second commit: a promise to them would be broken because of somebody else. Whoever is known goes
//! on. A producer then keeps fewer of its commits to be repeated, if it has to, and always the last one: a repeat of those
//! that it does not keep is refused as a gap, and not taken for a new commit.
//!
//! Bytes are counted by what things take at least, so that the same frames give the same numbers. What is decided is in the
//! frame: [`State::apply`](super::State::apply) knows no bound.

use std::sync::Arc;
use std::time::Duration;

use embermq_storage::Timestamp;
use imbl::OrdSet;

use super::keys::{self, Keys};
use super::producers::{self, Producers};
use super::{EXPIRED_PER_FRAME, State, TopicState};
use crate::commit::ProducerStamp;
use crate::error::CommitError;
use crate::topic::TopicId;

/// The shortest time after which somebody who was refused is told to come again.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// What all topics remember of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    bytes: u64,
    /// When each topic has something to forget for the first time.
    due: OrdSet<(Timestamp, TopicId)>,
}

/// What one topic remembers of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) bytes: u64,
    /// When the first of it is to be forgotten, or looked at again.
    pub(super) due: Option<Timestamp>,
}

impl Remembered {
    fn change(&mut self, topic: TopicId, before: Share, after: Share) {
        self.bytes = self.bytes + after.bytes - before.bytes;
        if before.due == after.due {
            return;
        }
        if let Some(due) = before.due {
            self.due.remove(&(due, topic));
        }
        if let Some(due) = after.due {
            self.due.insert((due, topic));
        }
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The topic that has to forget something at `now`.
    fn due_at(&self, now: Timestamp) -> Option<TopicId> {
        self.due.get_min().filter(|(due, _)| *due <= now).map(|(_, topic)| *topic)
    }

    /// How long it is until something is forgotten.
    fn retry_after(&self, now: Timestamp) -> Duration {
        let due = self.due.get_min().map_or(0, |(due, _)| due.0.saturating_sub(now.0));
        Duration::from_micros(u64::try_from(due).unwrap_or(0)).max(RETRY_AFTER_MIN)
    }
}

impl State {
    /// Changes what a topic remembers of producers, and counts.
    pub(super) fn change_producers(&mut self, id: TopicId, change: impl FnOnce(&mut Producers)) {
        let Some(topic) = self.topics.get_mut(&id) else { return };
        let producers = &mut Arc::make_mut(topic).producers;
        let before = producers.share();
        change(producers);
        self.producers.change(id, before, producers.share());
    }

    /// Changes what a topic remembers of idempotency keys, and counts.
    pub(super) fn change_keys(&mut self, id: TopicId, change: impl FnOnce(&mut Keys)) {
        let Some(topic) = self.topics.get_mut(&id) else { return };
        let keys = &mut Arc::make_mut(topic).keys;
        let before = keys.share();
        change(keys);
        self.keys.change(id, before, keys.share());
    }

    /// Takes what a topic remembered from the count: it is gone.
    pub(super) fn forget_repeats_of(&mut self, topic: &TopicState) {
        self.producers.change(topic.id, topic.producers.share(), Share::default());
        self.keys.change(topic.id, topic.keys.share(), Share::default());
    }

    /// Forgets some of what was remembered long enough, wherever it is: its topic may never see a commit again.
    pub(super) fn forget_expired(&mut self) {
        let now = self.time;
        if let Some(topic) = self.producers.due_at(now) {
            self.change_producers(topic, |producers| producers.expire(now, EXPIRED_PER_FRAME));
        }
        if let Some(topic) = self.keys.due_at(now) {
            self.change_keys(topic, |keys| keys.expire(now, EXPIRED_PER_FRAME));
        }
    }

    /// Refuses a key that is new when there is no room for it.
    pub(super) fn check_room_for_key(
        &self,
        key: &str,
        appends: usize,
        now: Timestamp,
        limit: u64,
    ) -> Result<(), CommitError> {
        let (kept, more) = (self.keys.bytes, keys::bytes_of(key, appends));
        if kept + more <= limit {
            return Ok(());
        }
        // What the frame of this commit will clear away first.
        let due = self.keys.due_at(now).and_then(|topic| self.topic(topic));
        let freed = due.map_or(0, |topic| topic.keys.expired_bytes(now, EXPIRED_PER_FRAME));
        if kept - freed + more <= limit {
            return Ok(());
        }
        let retry_after = self.keys.retry_after(now);
        Err(CommitError::TooManyIdempotencyKeys {
            kept_bytes: kept,
            limit_bytes: limit,
            retry_after,
        })
    }

    /// How many of its earlier commits a producer has to forget to have room for this one.
    pub(super) fn room_for_producer(
        &self,
        topic: &TopicState,
        (stamp, appends): (ProducerStamp, usize),
        now: Timestamp,
        limit: u64,
    ) -> Result<u32, CommitError> {
        let kept = self.producers.bytes;
        if kept + producers::bytes_of([appends]) <= limit {
            return Ok(0);
        }
        // What the frame of this commit will clear away first.
        let due = self.producers.due_at(now).and_then(|topic| self.topic(topic));
        let freed = due.map_or(0, |topic| topic.producers.expired_bytes(now, EXPIRED_PER_FRAME));
        let room = limit.saturating_sub(kept - freed);
        topic.producers.to_forget((stamp, appends), now, room).ok_or_else(|| {
            CommitError::TooManyProducers {
                kept_bytes: kept,
                limit_bytes: limit,
                retry_after: self.producers.retry_after(now),
            }
        })
    }
}
