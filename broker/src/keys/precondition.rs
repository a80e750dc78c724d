//! Preconditions on keys: the step that the caller's task makes.
//!
//! The caller finds the version of the key as of the published end of its partition. When it is the expected one, the commit
//! goes to the committer with that end, and counts if nothing of the key was appended at or above it
//! (`shard/recent_keys.rs`); otherwise the caller looks again. When it is not the expected one, the commit goes all the same
//! if it may be a repeat, which is answered as the first one was.
//!
//! When the key's own partition has no record of it, and none was named, the caller looks at the others, as reads do: a key
//! that is there is not absent. The committer confirms the own partition only, which is where others create the key too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use embermq_storage::Offset;
use embermq_storage::keys::KeyHash;

use super::find::Place;
use super::hand::Hand;
use super::hash::{AppendKeys, append_keys, key_hash};
use super::question::KeyRecord;
use super::read::{check_key, chosen_partition};
use super::shelf::KeyShelf;
use super::turn::Turn;
use crate::broker::Broker;
use crate::commit::{Commit, KeyExpectation, Precondition};
use crate::error::{CommitError, KeyConflict, ReadError};
use crate::topic::{Partition, PartitionId, Topic, TopicId};

/// How often a commit is sent again because something came in between.
pub(crate) const ATTEMPTS_MAX: usize = 16;

/// A precondition that holds as of `as_of`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyCheck {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) hash: KeyHash,
    pub(crate) as_of: Offset,
}

/// What a commit has to do with keys, beside what it says itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyFacts {
    /// Its preconditions on keys; a refusal counts only when the commit is no repeat.
    pub(crate) checks: Vec<Result<KeyCheck, CommitError>>,
    /// The keys of its appends, in order, as far as somebody watches for them. Shorter than they are: of the others nothing is known.
    pub(crate) appended: Vec<Option<AppendKeys>>,
}

impl KeyFacts {
    pub(crate) fn refusal(&self) -> Option<&CommitError> {
        self.checks.iter().find_map(|check| check.as_ref().err())
    }
}

/// Whether any partition is watched at all: commits of a broker that has no preconditions on keys look no further.
#[derive(Debug, Default)]
pub(crate) struct AnyWatched(AtomicBool);

/// A precondition whose topic was found.
struct Question {
    topic: Arc<Topic>,
    number: PartitionId,
    partition: Arc<Partition>,
    /// The partition was named: no other counts.
    is_named: bool,
    key: Bytes,
    expected: KeyExpectation,
    shelf: Arc<KeyShelf>,
}

impl Commit {
    /// Whether it has a precondition on a key.
    pub(crate) fn asks_for_keys(&self) -> bool {
        self.preconditions.iter().any(|wanted| matches!(wanted, Precondition::Key { .. }))
    }

    /// Whether it may have been committed before.
    pub(crate) const fn may_be_repeat(&self) -> bool {
        self.producer.is_some() || self.idempotency_key.is_some()
    }
}

impl Broker {
    /// Looks at the keys that a commit has preconditions on.
    pub(crate) async fn key_facts(&self, commit: &Commit) -> Result<KeyFacts, CommitError> {
        let questions = self.key_questions(commit)?;
        let Some(first) = questions.first().map(|question| Arc::clone(&question.partition)) else {
            return Ok(KeyFacts { checks: Vec::new(), appended: self.append_keys(commit) });
        };
        // One turn for all of them: whoever holds one never waits for another.
        let turn = Turn::wait(&first, &self.key_shelf()).await;
        let checks = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            questions.iter().map(Question::answer).collect()
        });
        let checks = checks.await.map_err(|error| CommitError::ReadFailed {
            detail: format!("the reading thread ended: {error}"),
        })?;
        Ok(KeyFacts { checks, appended: self.append_keys(commit) })
    }

    /// The same for a thread that may block.
    pub(crate) fn key_facts_blocking(&self, commit: &Commit) -> Result<KeyFacts, CommitError> {
        let questions = self.key_questions(commit)?;
        let checks = questions.iter().map(Question::answer).collect();
        Ok(KeyFacts { checks, appended: self.append_keys(commit) })
    }

    fn key_questions(&self, commit: &Commit) -> Result<Vec<Question>, CommitError> {
        let mut questions = Vec::new();
        for wanted in &commit.preconditions {
            let Precondition::Key { topic, partition, seen, key, expected } = wanted else {
                continue;
            };
            let topic = self
                .topic(topic)
                .filter(|topic| seen.is_none_or(|seen| seen.id == topic.id))
                .ok_or_else(|| CommitError::TopicNotFound { topic: topic.clone() })?;
            check_key(key).map_err(|error| CommitError::Invalid { detail: error.to_string() })?;
            let partitions = seen.map_or(topic.settings.partitions, |seen| seen.partitions);
            let number = partition.unwrap_or_else(|| chosen_partition(key, partitions));
            let found = topic.partitions.get(number.0 as usize).cloned();
            let is_named = partition.is_some();
            let partition = found.ok_or_else(|| CommitError::PartitionNotFound {
                topic: topic.name.clone(),
                partition: number,
                partitions: topic.settings.partitions,
            })?;
            self.any_watched().0.store(true, Ordering::Release);
            let (key, expected, shelf) = (key.clone(), *expected, self.key_shelf());
            questions.push(Question { topic, number, partition, is_named, key, expected, shelf });
        }
        Ok(questions)
    }

    /// The keys of what a commit appends, where somebody watches for them.
    pub(crate) fn append_keys(&self, commit: &Commit) -> Vec<Option<AppendKeys>> {
        if !self.any_watched().0.load(Ordering::Acquire) {
            return Vec::new();
        }
        let keys = commit.appends.iter().map(|append| {
            let topic = self.topic(&append.topic)?;
            let partition = topic.partitions.get(append.partition.0 as usize)?;
            if partition.keys.is_watched() { append_keys(&append.batch.body) } else { None }
        });
        keys.collect()
    }
}

impl Question {
    fn answer(&self) -> Result<KeyCheck, CommitError> {
        // Before the end is looked at: what is appended from then on is known to the committer.
        self.partition.keys.watch();
        let as_of = self.partition.end();
        let mut hand = Hand::default();
        let Self { topic, number, partition, shelf, .. } = self;
        let own = Place { topic, number: *number, partition, shelf };
        let latest =
            own.latest(&self.key, as_of, &mut hand).map_err(|error| self.unreadable(&error))?;
        let found = match latest {
            Some(record) => Some((own, record)),
            None if self.is_named => None,
            None => own
                .elsewhere(&self.key, None, &mut hand)
                .map_err(|error| self.unreadable(&error))?,
        };
        if !self.holds(found.as_ref()) {
            return Err(CommitError::KeyConflict(Box::new(KeyConflict {
                topic: self.topic.name.clone(),
                partition: found.as_ref().map_or(own.number, |(place, _)| place.number),
                own: own.number,
                key: self.key.clone(),
                expected: self.expected,
                actual: found.map(|(_, record)| record.offset),
            })));
        }
        let (topic, partition) = (self.topic.id, self.number);
        Ok(KeyCheck { topic, partition, hash: key_hash(&self.key), as_of })
    }

    fn holds(&self, found: Option<&(Place<'_>, KeyRecord)>) -> bool {
        match self.expected {
            KeyExpectation::Absent => {
                found.is_none_or(|(place, record)| place.is_tombstone(record))
            }
            // An offset elsewhere is no version here: the own partition may come to have a record at the same one, and
            // whoever saw the other would take it for that.
            KeyExpectation::Version(offset) => found.is_some_and(|(place, record)| {
                (place.number, record.offset) == (self.number, offset)
            }),
        }
    }

    fn unreadable(&self, error: &ReadError) -> CommitError {
        match error {
            ReadError::TopicNotFound { topic } => {
                CommitError::TopicNotFound { topic: topic.clone() }
            }
            ReadError::DataLoss { .. } => CommitError::KeyUnknown {
                topic: self.topic.name.clone(),
                detail: error.to_string(),
            },
            ReadError::ShuttingDown => CommitError::ShuttingDown,
            ReadError::TooManyOpenFiles { detail, .. } => {
                CommitError::TooManyOpenFiles { detail: detail.clone() }
            }
            other => CommitError::ReadFailed { detail: other.to_string() },
        }
    }
}
