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
use crate::frame::FrameHead;
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
    /// When the first of it is to be forgotten.
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
    /// What idempotency keys take, and what producers take.
    pub(crate) const fn remembered_bytes(&self) -> (u64, u64) {
        (self.keys.bytes, self.producers.bytes)
    }

    /// Changes what a topic remembers of producers, and counts.
    pub(super) fn change_producers<T: Default>(
        &mut self,
        id: TopicId,
        change: impl FnOnce(&mut Producers) -> T,
    ) -> T {
        let Some(topic) = self.topics.get_mut(&id) else { return T::default() };
        let producers = &mut Arc::make_mut(topic).producers;
        let before = producers.share();
        let changed = change(producers);
        self.producers.change(id, before, producers.share());
        changed
    }

    /// Changes what a topic remembers of idempotency keys, and counts.
    pub(super) fn change_keys<T: Default>(
        &mut self,
        id: TopicId,
        change: impl FnOnce(&mut Keys) -> T,
    ) -> T {
        let Some(topic) = self.topics.get_mut(&id) else { return T::default() };
        let keys = &mut Arc::make_mut(topic).keys;
        let before = keys.share();
        let changed = change(keys);
        self.keys.change(id, before, keys.share());
        changed
    }

    /// Takes what a topic remembered from the count: it is gone.
    pub(super) fn forget_repeats_of(&mut self, topic: &TopicState) {
        self.producers.change(topic.id, topic.producers.share(), Share::default());
        self.keys.change(topic.id, topic.keys.share(), Share::default());
    }

    /// Forgets some of what was remembered long enough, wherever it is: its topic may never see a commit again. So many with each
    /// frame, and more when that is less than what the frame itself wants to be remembered, so that nobody is refused for
    /// want of room that is only taken by what is over.
    pub(super) fn forget_expired(&mut self, head: &FrameHead) {
        let now = self.time;
        let appends = || head.appends.len().saturating_sub(head.letters());
        let mut wanted = head.producer.as_ref().map_or(0, |_| producers::bytes_of([appends()]));
        let mut forgotten = 0;
        while (forgotten < EXPIRED_PER_FRAME || wanted > 0)
            && let Some(topic) = self.producers.due_at(now)
        {
            let freed = self.change_producers(topic, Producers::forget_first);
            if freed == 0 {
                break;
            }
            (forgotten, wanted) = (forgotten + 1, wanted.saturating_sub(freed));
        }
        wanted = head.key.as_ref().map_or(0, |key| keys::bytes_of(&key.key, appends()));
        forgotten = 0;
        while (forgotten < EXPIRED_PER_FRAME || wanted > 0)
            && let Some(topic) = self.keys.due_at(now)
        {
            let freed = self.change_keys(topic, Keys::forget_first);
            if freed == 0 {
                break;
            }
            (forgotten, wanted) = (forgotten + 1, wanted.saturating_sub(freed));
        }
    }

    /// What a frame that wants so many bytes will find free of what is over, up to that.
    fn to_be_freed(
        &self,
        of: &Remembered,
        now: Timestamp,
        wanted: u64,
        in_topic: impl Fn(&TopicState, u64) -> u64,
    ) -> u64 {
        let mut freed = 0;
        for (_, topic) in of.due.iter().take_while(|(due, _)| *due <= now) {
            if freed >= wanted {
                break;
            }
            freed += self.topic(*topic).map_or(0, |topic| in_topic(topic, wanted - freed));
        }
        freed.min(wanted)
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
        let expired = |topic: &TopicState, wanted| topic.keys.expired_bytes(now, wanted);
        let freed = self.to_be_freed(&self.keys, now, more, expired);
        // Where the bound was higher before, what does not add to it is taken.
        if freed >= more || kept.saturating_sub(freed) + more <= limit {
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
        let wanted = producers::bytes_of([appends]);
        if kept + wanted <= limit {
            return Ok(0);
        }
        let expired = |topic: &TopicState, wanted| topic.producers.expired_bytes(now, wanted);
        let freed = self.to_be_freed(&self.producers, now, wanted, expired);
        let room = limit.saturating_sub(kept.saturating_sub(freed)).max(freed);
        topic.producers.to_forget((stamp, appends), now, room).ok_or_else(|| {
            CommitError::TooManyProducers {
                kept_bytes: kept,
                limit_bytes: limit,
                retry_after: self.producers.retry_after(now),
            }
        })
    }
}
