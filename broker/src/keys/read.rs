//! The latest record of a key, and its history.

use std::sync::Arc;

use bytes::Bytes;
use embermq_protocol::batch::partition_for_key;
use embermq_protocol::limits::FETCH_BYTES_MAX;
use embermq_protocol::names::TopicName;
use embermq_storage::Offset;

use super::find::{LOOK_BYTES_MAX, Place};
use super::hand::Hand;
use super::question::{AsOf, KeyHistory, KeyHistoryQuery, KeyQuery, KeyRecord, NoKey};
use super::shelf::KeyShelf;
use super::turn::Turn;
use crate::broker::Broker;
use crate::error::ReadError;
use crate::topic::{PartitionId, Topic};

impl Broker {
    /// The latest record of a key, now or as of a moment of the past.
    ///
    /// The first question about a partition reads it from its end until the key is found, to learn where keys are; later
    /// ones read little.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(async {
    /// use embermq::{AsOf, Broker, Commit, KeyQuery, Offset, Options, Record, TopicSettings};
    ///
    /// let broker = Broker::open(dir.path(), Options::default())?;
    /// let users: embermq::TopicName = "users".parse()?;
    /// broker.create_topic(&users, TopicSettings::default()).await?;
    /// for name in ["Ada", "Ada Lovelace"] {
    ///     broker.commit(Commit::of_record(&users, &Record::new(name).with_key("17"))).await?;
    /// }
    /// let now = broker.read_key(&users, b"17", KeyQuery::default()).await?;
    /// assert_eq!((now.offset, now.record.value.as_deref()), (Offset(1), Some(&b"Ada Lovelace"[..])));
    ///
    /// let then = KeyQuery { as_of: Some(AsOf::Offset(Offset(0))), ..KeyQuery::default() };
    /// assert_eq!(broker.read_key(&users, b"17", then).await?.offset, Offset(0));
    /// broker.shutdown().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError::KeyNotFound`] when there is no record of it, or a tombstone; what can befall any read.
    pub async fn read_key(
        &self,
        topic: &TopicName,
        key: &[u8],
        query: KeyQuery,
    ) -> Result<KeyRecord, ReadError> {
        let key = Bytes::copy_from_slice(key);
        let number = |topic: &Topic| own_partition(topic, &key, query.partition);
        let topic = self.topic_to_read(topic)?;
        let asked = Asked { number: number(&topic), key, query };
        self.ask_keys(topic, asked.number, move |topic, shelf| {
            let (place, found) = asked.find(topic, shelf, &mut Hand::default())?;
            if place.is_tombstone(&found) {
                return Err(asked.no_key(topic, found.partition, Some(found.offset)));
            }
            Ok(found)
        })
        .await
    }

    /// A page of all records of a key in its partition (or the one that was named), newest first.
    ///
    /// # Errors
    /// [`ReadError::KeyNotFound`] when there is no record of it; what can befall any read.
    pub async fn key_history(
        &self,
        topic: &TopicName,
        key: &[u8],
        wanted: KeyHistoryQuery,
    ) -> Result<KeyHistory, ReadError> {
        let key = Bytes::copy_from_slice(key);
        let topic = self.topic_to_read(topic)?;
        let query = wanted.query;
        let asked = Asked { number: own_partition(&topic, &key, query.partition), key, query };
        self.ask_keys(topic, asked.number, move |topic, shelf| asked.history(topic, shelf, &wanted))
            .await
    }

    pub(super) fn topic_to_read(&self, topic: &TopicName) -> Result<Arc<Topic>, ReadError> {
        self.topic(topic).ok_or_else(|| ReadError::TopicNotFound { topic: topic.clone() })
    }

    /// Answers a question on a blocking thread when it is its turn.
    pub(super) async fn ask_keys<T: Send + 'static>(
        &self,
        topic: Arc<Topic>,
        number: PartitionId,
        answer: impl FnOnce(&Topic, &KeyShelf) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shelf = self.key_shelf();
        let partition = Arc::clone(Place::of(&topic, number, &shelf)?.partition);
        let turn = Turn::wait(&partition, &shelf).await;
        let name = topic.name.clone();
        let answered = tokio::task::spawn_blocking(move || {
            // Held to the end, also when nobody waits for the answer any more.
            let _turn = turn;
            answer(&topic, &shelf)
        })
        .await;
        answered.map_err(|error| ReadError::Io {
            topic: name,
            partition: number,
            detail: format!("the reading thread ended: {error}"),
        })?
    }
}

/// The partition that was named, else the one that producing chooses for the key.
pub(super) fn own_partition(topic: &Topic, key: &[u8], named: Option<PartitionId>) -> PartitionId {
    named.unwrap_or_else(|| chosen_partition(key, topic.settings.partitions))
}

/// The partition that producing chooses for a key among so many.
pub(super) fn chosen_partition(key: &[u8], partitions: u32) -> PartitionId {
    PartitionId(partition_for_key(key, partitions.max(1)))
}

/// Keys that no record should have are no keys to ask for.
pub(super) fn check_key(key: &[u8]) -> Result<(), ReadError> {
    if key.is_empty() {
        return Err(ReadError::Invalid { detail: "the key is empty: name one".to_owned() });
    }
    Ok(())
}

/// A question about one key.
struct Asked {
    number: PartitionId,
    key: Bytes,
    query: KeyQuery,
}

impl Asked {
    /// The latest record, wherever it is.
    fn find<'t>(
        &self,
        topic: &'t Topic,
        shelf: &'t KeyShelf,
        hand: &mut Hand,
    ) -> Result<(Place<'t>, KeyRecord), ReadError> {
        check_key(&self.key)?;
        let own = Place::of(topic, self.number, shelf)?;
        let bound = own.bound(self.query.as_of)?;
        if let Some(found) = own.latest(&self.key, bound, hand)? {
            return Ok((own, found));
        }
        let elsewhere =
            self.query.partition.is_none() && !matches!(self.query.as_of, Some(AsOf::Offset(_)));
        let newest =
            if elsewhere { own.elsewhere(&self.key, self.query.as_of, hand)? } else { None };
        newest.ok_or_else(|| self.no_key(topic, self.number, None))
    }

    fn history(
        &self,
        topic: &Topic,
        shelf: &KeyShelf,
        wanted: &KeyHistoryQuery,
    ) -> Result<KeyHistory, ReadError> {
        check_key(&self.key)?;
        let mut hand = Hand::default();
        // A page behind the first one goes on where that was.
        let (place, mut next) = match wanted.before {
            Some(before) => {
                let place = Place::of(topic, self.number, shelf)?;
                let bound = place.bound(self.query.as_of)?;
                (place, place.latest(&self.key, bound.min(before), &mut hand)?)
            }
            None => {
                let (place, found) = self.find(topic, shelf, &mut hand)?;
                (place, Some(found))
            }
        };
        let mut history = KeyHistory { partition: place.number, records: Vec::new(), before: None };
        let mut room = u64::from(FETCH_BYTES_MAX);
        while let Some(record) = next {
            let bytes = record.bytes();
            let full = history.records.len() >= wanted.limit.max(1)
                || bytes > room
                || hand.bytes() > LOOK_BYTES_MAX;
            if let Some(last) = history.records.last().filter(|_| full) {
                history.before = Some(last.offset);
                break;
            }
            room = room.saturating_sub(bytes);
            next = place.latest(&self.key, record.offset, &mut hand)?;
            history.records.push(record.detached());
        }
        Ok(history)
    }

    fn no_key(
        &self,
        topic: &Topic,
        partition: PartitionId,
        tombstone: Option<Offset>,
    ) -> ReadError {
        let place = topic.partitions.get(partition.0 as usize);
        let past = self.query.as_of.and(place).map(|partition| partition.start());
        ReadError::KeyNotFound(Box::new(NoKey {
            topic: topic.name.clone(),
            partition,
            key: self.key.clone(),
            tombstone,
            kept_from: past,
        }))
    }
}
